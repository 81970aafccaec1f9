"""What Gymnasium, Stable-Baselines3 and our own learners may rely on."""

import gymnasium as gym
import numpy as np
import pytest
from conftest import ROOT, make_env
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common import env_checker as sb3

from so101rl import gym_ids
from so101rl.config.errors import UnknownOptionError
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.envs.wrappers.single_env import SingleEnv
from so101rl.errors import ConfigError, DivergedError
from so101rl.rendering import gl
from so101rl.robots.actions import BadActionError

PUSH = "so101rl/PaperPush-v0"
SILENT = [  # nothing that is drawn while an episode runs, but all that begins one
    f"randomization.terms.noise_{name}.{end}=0"
    for name in ("qpos", "qvel", "object_position", "object_yaw")
    for end in ("low", "high")
]
INSIDE = ["env.check_feasibility=false", "env.start_pose=[0.25,0.06,0.0]"]
SHORT = "env.max_episode_steps=40"
SEEDS = [11, 12, 13]
FINAL = ("final_obs", "_final_obs", "final_info", "_final_info")


def actions(steps, n, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, n, 6))


@pytest.fixture(scope="module")
def env():
    """A batch of three with everything that is random, and short episodes."""
    return make_env(SHORT, n=3)


def test_seeds_decide_every_byte_whatever_the_threads(env):
    played = []
    for each in (env, env, *(make_env(SHORT, n=3, threads=k) for k in (1, 2, 3))):
        found = [each.reset(seed=SEEDS)[0].tobytes()]
        for action in actions(60, 3):
            parts = [*each.step(action)[:4], each.env.hardware.state]
            found += [part.tobytes() for part in parts]
        played.append(found)
    assert all(found == played[0] for found in played)


def test_seeds_differ_and_without_one_the_generators_go_on(env):
    starts, again = (
        [env.reset(seed=seed)[0] for seed in (5, None, None, 6)] for _ in range(2)
    )
    assert len(np.unique(np.concatenate(starts), axis=0)) == 10  # 6 and 7 twice
    np.testing.assert_array_equal(starts, again)
    with pytest.raises(ConfigError, match="2 seeds"):
        env.reset(seed=[1, 2])
    # A batch of one once drew its noise from a copy of the generator of its starts.
    single = make_env(n=1).env
    single.reset(seed=[3])
    assert single.generators.noise.random() != np.random.default_rng(3).random()


def test_without_autoreset_what_has_ended_stands_still_until_it_is_reset():
    env = make_env("env.max_episode_steps=10", n=3)
    env.env.autoreset = False
    for _ in range(2):
        env.reset(seed=SEEDS)
        env.env.elapsed[1] = 5  # the second episode ends first
        steps = (env.step(action) for action in actions(8, 3))
        states = [env.env.hardware.state.copy() for _ in steps]
        moved = (np.diff(states, axis=0) != 0).any(axis=2)
        assert moved.sum(axis=0).tolist() == [7, 4, 7]


def test_success_takes_its_control_steps_at_rest_in_every_episode():
    env = make_env("randomization=none", "base_policy=zero", *INSIDE, n=1)
    env.reset(seed=0)
    ended = [env.step(np.zeros((1, 6)))[2][0] for _ in range(10)]
    assert list(np.flatnonzero(ended)) == [4, 9]
    for speed in 5 * (0.1, -0.1):  # nudged to and fro, inside the square
        env.env.hardware.qvel[0, 6] = speed
        assert not env.step(np.zeros((1, 6)))[2].any()


def test_a_bad_action_is_refused_by_both_envs(env):
    wrong = np.zeros((3, 6))
    wrong[1, 2] = np.nan
    for refuses in (env, env.env):
        with pytest.raises(DivergedError, match="is not finite in environment 1"):
            refuses.step(wrong)
        with pytest.raises(BadActionError, match=r"\(3, 6\), got \(1, 6\)"):
            refuses.step(wrong[:1])


def test_sb3_gets_the_ends_of_episodes_and_a_restored_batch_goes_on_to_the_bit():
    typed = ["randomization=hard", "env.max_episode_steps=15"]
    first, second = (SB3VecEnv(make_env(*typed, n=3, threads=t), SEEDS) for t in (1, 2))
    np.testing.assert_array_equal(first.reset(), second.env.reset(seed=SEEDS)[0])
    wanted = {"TimeLimit.truncated": True, "is_success": False}
    for step, action in enumerate(actions(32, 3), start=1):
        obs, reward, done, infos = first.step(action)
        assert (reward.dtype, list(done)) == (np.float32, [step % 15 == 0] * 3)
        for now, info in zip(obs, infos, strict=True) if done[0] else ():
            assert wanted.items() <= info.items()
            assert info["episode"]["l"] == 15
            assert (info["terminal_observation"] != now).any()
    second.load_state_dict(first.state_dict())
    for action in actions(20, 3, seed=1):
        for ours, theirs in zip(first.step(action), second.step(action), strict=True):
            np.testing.assert_equal(ours, theirs)
    metrics = first.episode_statistics.read()
    assert metrics == second.episode_statistics.read()
    assert metrics["rollout/episodes"] == 9


@pytest.mark.filterwarnings("error", "ignore:.*is -?infinity")
def test_both_checkers_pass():
    env = gym.make(PUSH, base_policy="jacobian").unwrapped
    for check in (check_env, sb3.check_env):
        check(env, skip_render_check=True)


def test_every_env_yaml_has_an_id_whose_keywords_reach_the_config():
    options = {path.stem for path in (ROOT / "conf" / "env").glob("*.yaml")}
    ids = {key for key in gym.registry if key.startswith("so101rl/")}
    assert ids == {gym_ids.env_id(option) for option in options}
    batches, half = [], ["residual.alpha=0.5"]
    for keywords in ({}, {"base_policy": "jacobian", "overrides": half}):
        env = gym.make(PUSH, **keywords)
        env.reset()
        info = env.step(np.zeros(6, np.float32))[4]
        assert info["is_success"] is False
        assert type(info["reward_terms"]["reach"]) is float
        batches.append(env.unwrapped._batch)
    plain, typed = batches
    assert (type(plain.base_policy).__name__, *set(plain.alpha)) == ("Zero", 1)
    assert (type(typed.base_policy).__name__, *set(typed.alpha)) == ("Jacobian", 0.5)
    assert not np.array_equal(*(batch.env.obs["object_pose"] for batch in batches))
    with pytest.raises(UnknownOptionError, match="jacobian"):
        gym.make(PUSH, base_policy="jacobain")
    with pytest.raises(ConfigError, match="rgb_array"):
        SingleEnv(plain, render_mode="ansi")


def row(info, i):
    """What `info` says of environment `i`, masks included."""
    return {k: row(v, i) if isinstance(v, dict) else v[i] for k, v in info.items()}


def test_the_batch_is_what_gymnasium_makes_of_single_envs():
    """Also: an environment does not depend on its batch."""
    overrides = [
        *SILENT,
        *INSIDE,  # at one start, so that episodes end at different times
        "env.max_episode_steps=25",
        "randomization.terms.start_pose.low=[-0.03,-0.03,-0.1]",
        "randomization.terms.start_pose.high=[0.03,0.03,0.1]",
    ]
    chosen = {"base_policy": "jacobian", "overrides": overrides}
    ours = gym.make_vec(PUSH, num_envs=4, **chosen)
    mode = AutoresetMode.SAME_STEP
    assert ours.metadata["autoreset_mode"] == mode
    singles = [lambda: gym.make(PUSH, **chosen)] * 4
    theirs = SyncVectorEnv(singles, autoreset_mode=mode)
    np.testing.assert_array_equal(ours.reset(seed=7)[0], theirs.reset(seed=7)[0])
    ends, solved = set(), []
    for action in 0.2 * actions(60, 4).astype(np.float32):
        *got, info = ours.step(action)
        *wanted, other = theirs.step(action)
        for mine, its in zip(got, wanted, strict=True):
            np.testing.assert_array_equal(mine, its, strict=True)
        assert not (got[2] & got[3]).any()  # success ends an episode, no truncation
        ends.add(tuple(got[2] | got[3]))
        for i in np.flatnonzero(got[2] | got[3]):
            mine, its = ({k: x[k] for k in FINAL} for x in (info, other))
            np.testing.assert_equal(row(mine, i), row(its, i))
            assert (info["final_info"]["failure"][i] == "none") == got[2][i]
        solved += list(got[1][got[2]])
    assert len(ends) > 2
    assert min(solved) > 4  # the reward of success


def test_a_single_env_draws_itself():
    env = gym.make(PUSH, render_mode="rgb_array")
    env.reset(seed=0)
    try:
        image = env.render()
    except gl.NoGraphicsError as error:
        pytest.skip(str(error))
    env.step(np.ones(6, np.float32))
    assert not np.array_equal(env.render(), image)
    assert (image.shape, env.metadata["render_fps"]) == ((480, 640, 3), 30)
    for _ in range(2):
        env.close()

"""What Gymnasium, Stable-Baselines3 and our own learners may rely on."""

import subprocess
import sys
import warnings

import gymnasium as gym
import numpy as np
import pytest
from conftest import ROOT, make_env
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from stable_baselines3.common import env_checker as sb3

from so101rl import gym_ids
from so101rl.config.errors import UnknownKeyError, UnknownOptionError
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.errors import ConfigError, DivergedError
from so101rl.rendering import gl
from so101rl.robots.actions import BadActionError

PUSH = "so101rl/PaperPush-v0"
SILENT = [  # nothing that is drawn while an episode runs, but all that begins one
    f"randomization.terms.noise_{name}.{end}=0"
    for name in ("qpos", "qvel", "object_position", "object_yaw")
    for end in ("low", "high")
]
SEEDS = [11, 12, 13]
FAILURES = {"never_touched", "wrong_yaw", "overshot", "jammed", "timed_out"}


def actions(steps, n, seed=0):
    return np.random.default_rng(seed).uniform(-1, 1, (steps, n, 6))


def play(env, residuals, seeds=SEEDS):
    """Everything an env says and all its states, as bytes, step for step."""
    obs, _ = env.reset(seed=seeds)
    said = [obs.tobytes()]
    for action in residuals:
        obs, reward, terminated, truncated, _ = env.step(action)
        world = env.env.hardware
        said += [
            part.tobytes()
            for part in (obs, reward, terminated, truncated, world.qpos, world.qvel)
        ]
    return said


@pytest.fixture(scope="module")
def env():
    """A batch of three with everything that is random, and short episodes."""
    return make_env("env.max_episode_steps=40", n=3)


# ---- seeds ----


def test_the_same_seed_gives_the_same_bytes(env):
    first, second = (play(env, actions(100, 3)) for _ in range(2))
    assert first == second
    assert play(make_env("env.max_episode_steps=40", n=3), actions(100, 3)) == first


def test_seeds_differ(env):
    first, second = (env.reset(seed=seed)[0] for seed in (1, 2))
    assert not np.array_equal(first, second)
    assert len(np.unique(first[:, 12], axis=0)) == 3


def test_without_a_seed_the_generators_go_on(env):
    starts = [env.reset(seed=5)[0], env.reset()[0], env.reset()[0]]
    assert not np.array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[1], starts[2])
    again = [env.reset(seed=5)[0], env.reset()[0], env.reset()[0]]
    np.testing.assert_array_equal(starts, again)


def test_a_wrong_number_of_seeds_is_refused(env):
    with pytest.raises(ConfigError, match="2 seeds"):
        env.reset(seed=[1, 2])


@pytest.mark.parametrize("threads", [2, 3])
def test_any_number_of_threads_gives_the_same_bytes(env, threads):
    other = make_env("env.max_episode_steps=40", n=3, threads=threads)
    assert play(other, actions(60, 3)) == play(env, actions(60, 3))


def test_an_environment_does_not_depend_on_its_batch():
    short = [*SILENT, "env.max_episode_steps=40"]
    batch, residuals = make_env(*short, n=3), actions(100, 3)
    obs, _ = batch.reset(seed=SEEDS)
    alone = [make_env(*short, n=1) for _ in SEEDS]
    for i, (env, seed) in enumerate(zip(alone, SEEDS, strict=True)):
        np.testing.assert_array_equal(env.reset(seed=[seed])[0][0], obs[i])
    for action in residuals:
        obs, reward, terminated, truncated, _ = batch.step(action)
        for i, env in enumerate(alone):
            one = env.step(action[i : i + 1])
            for got, whole in zip(
                one, (obs, reward, terminated, truncated), strict=False
            ):
                np.testing.assert_array_equal(got[0], whole[i])
            np.testing.assert_array_equal(
                env.env.hardware.qpos[0], batch.env.hardware.qpos[i]
            )


def test_noise_differs_from_every_other_number_of_an_episode():
    """A batch of one once drew its noise from a copy of the generator of its starts."""
    env = make_env(n=1).env
    env.reset(seed=[3])
    assert env._noise_rng.random() != np.random.default_rng(3).random()


# ---- episodes ----


def test_rewards_are_finite_and_the_sum_of_their_terms(env):
    env.reset(seed=SEEDS)
    for action in actions(60, 3):
        obs, reward, _, _, info = env.step(action)
        assert np.isfinite(reward).all()
        assert np.isfinite(obs).all()
        np.testing.assert_allclose(sum(info["reward_terms"].values()), reward)
        assert info["is_success"].shape == (3,)


def test_an_episode_is_truncated_at_its_length_and_the_next_begins(env):
    env.reset(seed=SEEDS)
    for step in range(1, 81):
        obs, _, terminated, truncated, info = env.step(np.zeros((3, 6)))
        assert not terminated.any()
        assert truncated.all() == (step % 40 == 0)
        assert ("final_obs" in info) == truncated.all()
    assert list(info["episode_length"]) == [40, 40, 40]
    assert set(info["failure"]) <= FAILURES
    np.testing.assert_array_equal(env.env.elapsed, 0)
    # A new episode begins at home: no velocity, and not where the old one ended.
    assert not any(np.array_equal(info["final_obs"][i], obs[i]) for i in range(3))
    assert np.abs(env.env.hardware.qvel).max() == 0


def test_without_autoreset_what_has_ended_stands_still_until_it_is_reset():
    env = make_env("env.max_episode_steps=10", n=3)
    env.env.autoreset = False
    env.reset(seed=SEEDS)
    env.env.elapsed[1] = 5  # the second episode ends first
    world, states = env.env.hardware, []
    for action in actions(8, 3):
        env.step(action)
        states.append(world._batch.state.copy())
    ended, going = [s[1] for s in states], [s[0] for s in states]
    assert not np.array_equal(ended[3], ended[4])
    assert all(np.array_equal(s, ended[4]) for s in ended[5:])
    assert not np.array_equal(going[4], going[5])
    env.reset(seed=SEEDS)
    env.step(actions(1, 3)[0])
    np.testing.assert_array_equal(world._batch.state, states[0])


def test_success_ends_an_episode_without_truncating_it():
    # The sheet starts inside and at rest, so holding still solves it.
    env = make_env("randomization=none", "env.check_feasibility=false",
               "env.start_pose=[0.25,0.06,0.0]", "base_policy=zero", n=2)  # fmt: skip
    env.reset(seed=0)
    for _ in range(5):
        _, reward, terminated, truncated, info = env.step(np.zeros((2, 6)))
    assert terminated.all()
    assert not truncated.any()
    assert info["is_success"].all()
    assert list(info["failure"]) == ["none", "none"]
    assert (reward > 4).all()


BAD = {
    "nan": (np.full((3, 6), np.nan), "environment 0"),
    "one infinity": (np.array([[0.0] * 6, [np.inf] * 6, [0.0] * 6]), "environment 1"),
    "one for all": (np.zeros(6), r"\(3, 6\), got \(6,\)"),
    "one row": (np.zeros((1, 6)), r"\(3, 6\), got \(1, 6\)"),
    "five joints": (np.zeros((3, 5)), r"\(3, 6\), got \(3, 5\)"),
    "another batch": (np.zeros((4, 6)), r"\(3, 6\), got \(4, 6\)"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_bad_action_is_refused_by_both_envs(env, case):
    action, message = BAD[case]
    env.reset(seed=0)
    for refuses in (env, env.env):
        with pytest.raises((BadActionError, DivergedError), match=message):
            refuses.step(action)


# ---- Gymnasium ----


def test_every_env_yaml_has_an_id():
    options = {path.stem for path in (ROOT / "conf" / "env").glob("*.yaml")}
    ids = {key for key in gym.registry if key.startswith("so101rl/")}
    assert ids == {gym_ids.env_id(option) for option in options}
    assert gym_ids.env_id("paper_push_hard") == "so101rl/PaperPushHard-v0"


@pytest.mark.parametrize("order", ["gymnasium, so101rl", "so101rl.gym_ids"])
def test_ids_are_known_after_an_import_that_stays_light(order):
    code = (
        f"import sys, {order}; import gymnasium\n"
        f"assert {PUSH!r} in gymnasium.registry\n"
        "print([m for m in ('torch', 'mujoco', 'hydra') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert (done.stdout, done.stderr) == ("[]\n", "")


@pytest.fixture(scope="module")
def single():
    return gym.make(PUSH, overrides=["env.max_episode_steps=30"])


@pytest.mark.parametrize("base_policy", ["zero", "jacobian"])
def test_both_checkers_pass(base_policy):
    env = gym.make(PUSH, base_policy=base_policy)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", message=".*is -?infinity")
        check_env(env.unwrapped, skip_render_check=True)
        sb3.check_env(env.unwrapped, skip_render_check=True)


def test_the_default_is_the_plain_task(single):
    plain = single.unwrapped._batch
    assert type(plain.base_policy).__name__ == "Zero"
    np.testing.assert_array_equal(plain.alpha, 1)
    assert single.observation_space.dtype == np.float32
    assert single.reset(seed=1)[0] in single.observation_space


def test_keywords_reach_the_config():
    env = gym.make(
        PUSH, base_policy="jacobian", overrides=["residual.alpha=0.5", "n_threads=2"]
    ).unwrapped
    assert type(env._batch.base_policy).__name__ == "Jacobian"
    np.testing.assert_array_equal(env._batch.alpha, 0.5)


@pytest.mark.parametrize(
    ("keywords", "error", "message"),
    [
        ({"overrides": ["residual.alfa=1"]}, UnknownKeyError, "residual.alpha"),
        ({"base_policy": "jacobain"}, UnknownOptionError, "jacobian"),
        ({"overrides": ["env.act_scale=-1"]}, ConfigError, "act_scale"),
        ({"render_mode": "ansi"}, ConfigError, "rgb_array"),
    ],
)
@pytest.mark.filterwarnings("ignore:.*render_mode")
def test_a_mistake_is_named(keywords, error, message):
    with pytest.raises(error, match=message):
        gym.make(PUSH, **keywords)


def test_infos_of_a_single_env_are_plain_values(single):
    single.reset(seed=1)
    for _ in range(30):
        _, _, terminated, truncated, info = single.step(np.zeros(6, np.float32))
    assert (terminated, truncated) == (False, True)
    assert info["is_success"] is False
    assert info["failure"] == "never_touched"
    assert info["episode_length"] == 30
    assert type(info["reward_terms"]["reach"]) is float
    assert "final_obs" not in info


def test_a_single_env_stays_at_its_end_until_it_is_reset(single):
    single.reset(seed=1)
    for action in actions(30, 1):
        obs, *_ = single.step(action[0].astype(np.float32))
    world = single.unwrapped._batch.env.hardware
    np.testing.assert_allclose(world.qpos[0, :6], obs[:6], atol=0.1)
    assert np.abs(world.qvel[0, :6]).max() > 0
    single.reset()
    assert np.abs(world.qvel).max() == 0


def test_who_gives_no_seed_gets_another_episode():
    first, second = (gym.make(PUSH).reset()[0] for _ in range(2))
    assert not np.array_equal(first, second)


def test_make_vec_gives_the_batch_itself():
    for mode in (None, "vector_entry_point"):
        env = gym.make_vec(PUSH, num_envs=4, vectorization_mode=mode)
        assert type(env).__name__ == "ResidualEnv"
        assert env.num_envs == 4
        assert env.metadata["autoreset_mode"] == AutoresetMode.SAME_STEP
        obs, _ = env.reset(seed=1)
        assert obs in env.observation_space
        env.close()


def same(ours, theirs, where="info"):
    """Compare infos of ended episodes, masks included, wherever the mask is set."""
    assert set(ours) == set(theirs), where
    for name, value in theirs.items():
        if isinstance(value, dict):
            same(ours[name], value, f"{where}[{name}]")
            continue
        mask = theirs.get(f"_{name}", slice(None))
        np.testing.assert_array_equal(ours[name][mask], value[mask], f"{where}[{name}]")


@pytest.mark.parametrize("base_policy", ["zero", "jacobian"])
def test_the_batch_is_what_gymnasium_makes_of_single_envs(base_policy):
    chosen = {
        "base_policy": base_policy,
        # One start is inside already, so that episodes end at different times.
        "overrides": [
            *SILENT,
            "env.max_episode_steps=25",
            "env.check_feasibility=false",
            "env.start_pose=[0.25,0.06,0.0]",
            "randomization.terms.start_pose.low=[-0.03,-0.03,-0.1]",
            "randomization.terms.start_pose.high=[0.03,0.03,0.1]",
        ],
    }
    ours = gym.make_vec(PUSH, num_envs=4, **chosen)
    theirs = SyncVectorEnv(
        [lambda: gym.make(PUSH, **chosen)] * 4, autoreset_mode=AutoresetMode.SAME_STEP
    )
    np.testing.assert_array_equal(ours.reset(seed=7)[0], theirs.reset(seed=7)[0])
    ends = set()
    for action in 0.2 * actions(60, 4).astype(np.float32):
        got, wanted = ours.step(action), theirs.step(action)
        for mine, other in zip(got[:4], wanted[:4], strict=True):
            np.testing.assert_array_equal(mine, other)
            assert mine.dtype == other.dtype
        info, other = got[4], wanted[4]
        assert ("final_obs" in info) == ("final_obs" in other)
        if "final_obs" in other:
            np.testing.assert_array_equal(info["_final_obs"], other["_final_obs"])
            np.testing.assert_array_equal(info["_final_info"], other["_final_info"])
            for mine, its in zip(info["final_obs"], other["final_obs"], strict=True):
                np.testing.assert_array_equal(mine, its)
            same(info["final_info"], other["final_info"])
            ends.add(tuple(info["_final_obs"]))
    assert len(ends) > 1


def test_gymnasiums_vector_wrappers_work():
    short = {"num_envs": 2, "overrides": ["env.max_episode_steps=5"]}
    env = gym.wrappers.vector.RecordEpisodeStatistics(gym.make_vec(PUSH, **short))
    env = gym.wrappers.vector.NormalizeReward(env)
    env = gym.wrappers.vector.DictInfoToList(env)
    env.reset(seed=0)
    for _ in range(5):
        _, _, _, truncated, info = env.step(np.zeros((2, 6)))
    assert truncated.all()
    assert [one["episode"]["l"] for one in info] == [5, 5]
    assert [one["final_info"]["failure"] for one in info] == ["never_touched"] * 2


def test_pictures():
    env = gym.make(PUSH, render_mode="rgb_array")
    env.reset(seed=0)
    try:
        picture = env.render()
    except gl.NoGraphicsError as error:
        pytest.skip(str(error))
    assert picture.shape == (480, 640, 3)
    assert picture.dtype == np.uint8
    assert picture.std() > 10
    env.step(np.ones(6, np.float32))
    assert not np.array_equal(env.render(), picture)
    assert env.metadata["render_fps"] == 30
    env.close()
    env.close()


# ---- Stable-Baselines3 -------------------------------------------------------


def test_sb3_gets_last_observations_and_success(env):
    vec_env = SB3VecEnv(env, SEEDS)
    first = vec_env.reset()
    np.testing.assert_array_equal(first, env.reset(seed=SEEDS)[0])
    for step in range(1, 41):
        obs, reward, done, infos = vec_env.step(np.zeros((3, 6), np.float32))
        assert (reward.dtype, reward.shape) == (np.float32, (3,))
        assert done.all() == (step == 40)
    for i, info in enumerate(infos):
        assert info["TimeLimit.truncated"]
        assert info["is_success"] is False
        assert info["episode"]["l"] == 40
        assert info["terminal_observation"].shape == obs[i].shape
        assert not np.array_equal(info["terminal_observation"], obs[i])

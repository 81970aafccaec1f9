"""Where base policy and residual meet, and how a learner starts."""

import numpy as np
import pytest
from conftest import config_of, make_env

from so101rl.base_policies.base import BasePolicy
from so101rl.build import build_algo, build_env
from so101rl.envs.wrappers.residual import Alpha, ResidualEnv
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.errors import ConfigError, DivergedError
from so101rl.robots import so101
from so101rl.robots.actions import BadActionError

N = 3
RNG = np.random.default_rng(0)
ACTIONS = RNG.uniform(-1, 1, (150, N, 6))
SHORT = "env.max_episode_steps=60"  # so that 150 steps cross two ends


def blend(base_policy, task=None, **keywords):
    """A residual environment around a policy of our own."""
    usual = {"alpha": 1.0, "penalty": 0.0, "observe_base_action": True}
    task = task or make_env("base_policy=zero", SHORT, n=N).env
    return ResidualEnv(task, base_policy, **(usual | keywords))


def state(env):
    """The whole state of every world, and what is observed of it."""
    task = getattr(env, "env", env)
    return task.hardware._batch.state.tobytes(), task.obs["qpos"].tobytes()


class Constant(BasePolicy):
    """Proposes the same for everyone, whatever it is."""

    def __init__(self, action):
        self.action = action

    def act(self, obs, ids):
        return np.tile(self.action, (len(ids), 1))


# ---- the two identities ----


def test_alpha_zero_is_the_base_bit_for_bit():
    residual = make_env("residual.alpha=0", "residual.penalty=0", SHORT, n=N)
    driven = make_env(SHORT, n=N)
    task, base = driven.env, driven.base_policy
    residual.reset(seed=[1, 2, 3])
    obs, _ = task.reset(seed=[1, 2, 3])
    ids, ends = np.arange(N), 0
    for action in ACTIONS:
        got = residual.step(action)
        obs, *wanted = task.step(
            base.act({name: obs[name] for name in base.needs}, ids)
        )
        for mine, its in zip(got[1:4], wanted[:3], strict=True):
            np.testing.assert_array_equal(mine, its)
        assert state(residual) == state(task)
        ends += "final_obs" in wanted[3]
    assert ends >= 2


def test_zero_base_with_alpha_one_is_plain_rl_bit_for_bit():
    residual = make_env("base_policy=zero", "residual.penalty=0", SHORT, n=N)
    task = make_env("base_policy=zero", SHORT, n=N).env
    residual.reset(seed=[1, 2, 3])
    task.reset(seed=[1, 2, 3])
    for action in ACTIONS:
        got, wanted = residual.step(action), task.step(action)
        for mine, its in zip(got[1:4], wanted[1:4], strict=True):
            np.testing.assert_array_equal(mine, its)
        assert state(residual) == state(task)


@pytest.mark.parametrize("penalty", [0.0, 0.5])
def test_the_penalty_is_its_weight_times_the_mean_square(penalty):
    env = blend(Constant(np.zeros(6)), penalty=penalty)
    env.reset(seed=0)
    action = np.array([[1.0] * 6, [0.5] * 6, [0.0] * 6])
    _, reward, _, _, info = env.step(action)
    cost = info["reward_terms"]["residual"]
    np.testing.assert_allclose(cost, -penalty * np.array([1, 0.25, 0]))
    np.testing.assert_allclose(reward, sum(info["reward_terms"].values()))


# ---- alpha ----


@pytest.mark.parametrize(
    ("alpha", "step", "expected"),
    [
        (0.5, 0, [0.5] * 6),
        (1, 10**6, [1.0] * 6),
        ([0, 0.1, 0.2, 0.3, 0.4, 1], 5, [0, 0.1, 0.2, 0.3, 0.4, 1]),
        ({"start": 0.0, "end": 1.0, "steps": 100}, 0, [0.0] * 6),
        ({"start": 0.0, "end": 1.0, "steps": 100}, 25, [0.25] * 6),
        ({"start": 0.0, "end": 1.0, "steps": 100}, 500, [1.0] * 6),
        ({"start": 0.8, "end": 0.2, "steps": 100}, 50, [0.5] * 6),
    ],
)
def test_alpha(alpha, step, expected):
    np.testing.assert_allclose(Alpha(alpha).at(step), expected)


def test_a_wrong_number_of_alphas_is_refused():
    with pytest.raises(ConfigError, match=r"residual\.alpha"):
        Alpha([0.5, 0.5])


@pytest.mark.parametrize(
    "typed", ["[0,0.5,1,0,0.5,1]", "0.25", "{start: 0.0, end: 1.0, steps: 40}"]
)
def test_the_command_is_base_plus_alpha_times_residual(typed):
    env = make_env(f"residual.alpha={typed}", "randomization=none", n=1)
    env.reset(seed=0)
    env.progress(10)
    alpha = Alpha(config_of(f"residual.alpha={typed}").residual.alpha).at(10)
    np.testing.assert_allclose(env.alpha, alpha)
    for action in ACTIONS[:20, :1]:
        base, before = env.base_action.copy(), env.env.target_qpos.copy()
        measured, _ = env.env.hardware.arm.read()
        _, _, _, _, info = env.step(action)
        wanted = np.clip(base + alpha * action, -1, 1)
        target = before + env.env.act_scale * wanted
        leash = env.env.leash
        target = np.clip(target, measured - leash, measured + leash)
        target = np.clip(target, *so101.joint_limits())
        np.testing.assert_allclose(env.env.target_qpos, target, atol=1e-12)
        length = np.linalg.norm(alpha * action)
        assert info["residual_l2"][0] == pytest.approx(length)
        clipped = np.mean(np.abs(base + alpha * action) > 1)
        assert info["clipped"][0] == pytest.approx(clipped)


# ---- base policies that misbehave ----


@pytest.mark.parametrize(
    ("action", "message"),
    [
        (np.zeros(5), r"Constant must have the shape .* got \(3, 5\)"),
        (np.zeros((6, 2)), r"Constant must have the shape"),
        (np.array([0, 0, np.nan, 0, 0, 0]), r"Constant is not finite in environment 0"),
        (np.array([0, 0, 0, -np.inf, 0, 0]), r"Constant is not finite .*inf"),
    ],
)
def test_a_base_policy_that_returns_no_action_stops_with_its_name(action, message):
    with pytest.raises((BadActionError, DivergedError), match=message):
        blend(Constant(action))


def test_a_base_policy_that_fails_later_stops_too():
    policy = Constant(np.zeros(6))
    env = blend(policy)
    env.reset(seed=0)
    policy.action = np.full(6, np.nan)
    with pytest.raises(DivergedError, match="Constant"):
        env.step(np.zeros((N, 6)))


def test_a_base_policy_is_clipped():
    env = blend(Constant(np.full(6, 7.0)))
    env.reset(seed=0)
    np.testing.assert_array_equal(env.base_action, 1)


def test_a_base_policy_that_needs_more_than_there_is_is_refused():
    class Seer(Constant):
        needs = frozenset({"qpos", "depth"})

    with pytest.raises(ConfigError, match=r"Seer, which needs \['depth'\]") as error:
        blend(Seer(np.zeros(6)))
    assert "object_pose" in str(error.value)


class Counter(BasePolicy):
    """Counts the steps of each episode, and hears which begin."""

    needs = frozenset({"qpos"})

    def __init__(self, n):
        self.steps, self.heard, self.names = np.zeros(n, int), [], set()

    def reset(self, ids):
        self.steps[ids] = 0
        self.heard.append(list(ids))

    def act(self, obs, ids):
        self.steps[ids] += 1
        self.names |= set(obs)
        assert len(obs["qpos"]) == len(ids)
        return np.repeat(self.steps[ids, None] / 1000, 6, axis=1)


def test_a_policy_with_a_memory_is_reset_for_ended_episodes_only():
    task = make_env("base_policy=zero", "env.max_episode_steps=10", n=N).env
    policy = Counter(N)
    env = blend(policy, task)
    env.reset(seed=0)
    assert policy.heard == [[0, 1, 2]]
    task.elapsed[:] = [0, 4, 7]  # let the episodes end at different times
    for step in range(1, 9):
        _, _, _, _, info = env.step(np.zeros((N, 6)))
        if "final_obs" in info:
            # The last observation shows what would have been proposed next.
            for i in np.flatnonzero(info["_final_obs"]):
                assert info["final_obs"][i][-1] == pytest.approx((step + 1) / 1000)
    assert policy.heard[1:] == [[2], [1]]
    assert list(policy.steps) == [9, 3, 6]
    np.testing.assert_allclose(env.base_action[:, 0] * 1000, policy.steps)
    assert policy.names == {"qpos"}


def test_the_learner_sees_the_base_action_if_asked():
    policy = Constant(np.linspace(-1, 1, 6))
    seeing, blind = (
        blend(policy, observe_base_action=value) for value in (True, False)
    )
    obs, _ = seeing.reset(seed=0)
    without, _ = blind.reset(seed=0)
    np.testing.assert_array_equal(obs[:, :-6], without)
    np.testing.assert_allclose(obs[:, -6:], np.tile(policy.action, (N, 1)), rtol=1e-6)


# ---- how a learner starts ----

SMALL = {
    "ppo": ["algo.n_steps=8", "algo.batch_size=16"],
    "sac": ["algo.buffer_size=1000", "algo.batch_size=16"],
    "td3": ["algo.buffer_size=1000", "algo.batch_size=16"],
}


def learner(algo, *typed):
    cfg = config_of(f"algo={algo}", "n_threads=1", *SMALL[algo], *typed)
    return build_algo(cfg, SB3VecEnv(build_env(cfg, 2), [0, 1]))


@pytest.mark.parametrize("algo", SMALL)
def test_the_first_deterministic_residual_is_exactly_zero(algo):
    model = learner(algo)
    obs = np.random.default_rng(0).normal(0, 3, (64, *model.observation_space.shape))
    action, _ = model.predict(obs.astype(np.float32), deterministic=True)
    np.testing.assert_array_equal(action, 0)


def test_the_target_actor_of_td3_starts_at_zero_too():
    model = learner("td3")
    obs = model.policy.obs_to_tensor(model.env.reset())[0]
    np.testing.assert_array_equal(model.actor_target(obs).detach().numpy(), 0)


@pytest.mark.parametrize("algo", SMALL)
def test_without_zero_init_the_learner_starts_as_usual(algo):
    model = learner(algo, "residual.zero_init=false")
    action, _ = model.predict(model.env.reset(), deterministic=True)
    assert np.abs(action).max() > 0


@pytest.mark.parametrize("algo", SMALL)
@pytest.mark.parametrize("std", [0.1, 0.6])
def test_first_residuals_vary_by_the_exploration_std(algo, std):
    model = learner(algo, f"residual.exploration_std={std}")
    obs = np.tile(model.env.reset(), (500, 1))
    if algo == "td3":
        noise = [model.action_noise() for _ in range(1000)]
        assert np.std(noise) == pytest.approx(std, rel=0.1)
        return
    action, _ = model.predict(obs, deterministic=False)
    if algo == "sac":  # squashed: what varies by std is before the tanh
        action = np.arctanh(np.clip(action, -0.999, 0.999))
    assert action.std() == pytest.approx(std, rel=0.1)


@pytest.mark.parametrize("algo", SMALL)
def test_plain_rl_keeps_the_stock_start(algo):
    import torch
    from hydra.utils import get_class

    model = learner(algo, "base_policy=zero", "seed=3")
    cfg = config_of(f"algo={algo}", *SMALL[algo], "base_policy=zero").algo
    stock = get_class(cfg._target_)(
        "MlpPolicy",
        SB3VecEnv(make_env("base_policy=zero", n=2), [0, 1]),
        seed=3,
        policy_kwargs={"net_arch": list(cfg.policy_kwargs.net_arch)},
    )
    mine, its = model.policy.state_dict(), stock.policy.state_dict()
    assert mine.keys() == its.keys()
    assert all(torch.equal(mine[name], its[name]) for name in mine)


@pytest.mark.parametrize("algo", SMALL)
def test_a_few_updates_move_the_residual(algo):
    model = learner(algo, *(["algo.learning_starts=8"] if algo != "ppo" else []))
    model.learn(48)
    action, _ = model.predict(model.env.reset(), deterministic=True)
    assert 0 < np.abs(action).max() <= 1

"""Where base policy and residual meet."""

import numpy as np
import pytest
from conftest import make_env

from so101rl.base_policies.base import BasePolicy
from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.errors import ConfigError, DivergedError
from so101rl.robots import so101
from so101rl.robots.actions import BadActionError

N, ALL = 3, np.arange(3)
ACTIONS = np.random.default_rng(0).uniform(-1, 1, (100, N, 6))
SHORT = "env.max_episode_steps=40"  # so that 100 steps cross two ends


@pytest.fixture(scope="module")
def task():
    return make_env("base_policy=zero", SHORT, n=N).env


def blend(task, policy, seen=True):
    """A residual environment around a policy of our own."""
    return ResidualEnv(task, policy, alpha=1, penalty=0, observe_base_action=seen)


class Constant(BasePolicy):
    def __init__(self, action):
        self.action = action

    def act(self, obs, ids):
        return np.tile(self.action, (len(ids), 1))


@pytest.mark.parametrize(
    ("base", "alpha"), [("zero", 0), ("jacobian", 0), ("hybrid", 0), ("zero", 1)]
)
def test_alpha_0_is_the_base_and_zero_with_alpha_1_is_plain_rl_bit_for_bit(
    base, alpha, task
):
    typed = [f"base_policy={base}", f"residual.alpha={alpha}", "residual.penalty=0"]
    env, ends = make_env(*typed, SHORT, n=N), 0
    policy = make_env(*typed, n=N).base_policy
    env.reset(seed=[1, 2, 3])
    obs, _ = task.reset(seed=[1, 2, 3])
    for action in ACTIONS:
        got = env.step(action)
        obs, *wanted = task.step(action if alpha else policy.act(obs, ALL))
        ends += "final_obs" in wanted[3]
        for mine, its in zip(got[1:4], wanted[:3], strict=True):
            np.testing.assert_array_equal(mine, its)
        np.testing.assert_array_equal(env.env.hardware.state, task.hardware.state)
        np.testing.assert_equal(dict(env.env.obs), dict(obs))
    assert ends >= 2


@pytest.mark.parametrize(
    ("base_policy", "alpha"), [("jacobian", [0, 0.5, 1, 0, 0.5, 1]), ("zero", 0.75)]
)
def test_the_command_is_base_plus_alpha_times_residual_within_leash(base_policy, alpha):
    typed = [f"base_policy={base_policy}", f"residual.alpha={alpha}"]
    env = make_env(*typed, "residual.penalty=0.5", "randomization=none", n=1)
    env.reset(seed=0)
    alpha, leash, widest = np.array(alpha), 0.12, 0.0
    pushes = 60 if base_policy == "zero" else 0  # jacobian would end the episode
    down = np.repeat([[[0.0, 1, 0, 0, 0, 0]]], pushes, axis=0)  # into the table
    for action in [*ACTIONS[:20, :1], *down]:
        base, before = env.base_action.copy(), env.env.target_qpos.copy()
        measured, _ = env.env.hardware.arm.read()
        _, reward, _, _, info = env.step(action)
        terms = info["reward_terms"]
        np.testing.assert_allclose(terms["residual"], -0.5 * np.mean(action**2))
        np.testing.assert_allclose(reward, sum(terms.values()))
        total = base + alpha * action
        target = before + env.env.act_scale * np.clip(total, -1, 1)
        target = np.clip(target, measured - leash, measured + leash)
        target = np.clip(target, *so101.SO101().limits)
        np.testing.assert_allclose(env.env.target_qpos, target, atol=1e-12)
        widest = max(widest, np.abs(target - measured).max())
        assert info["residual_l2"] == pytest.approx(np.linalg.norm(alpha * action))
        assert info["clipped"] == pytest.approx(np.mean(np.abs(total) > 1))
    assert widest == pytest.approx(leash) or not pushes


def test_a_base_policy_without_an_action_or_its_needs_is_named(task):
    policy = Constant(np.full(6, 7.0))
    env = blend(task, policy)
    env.reset(seed=0)
    np.testing.assert_array_equal(env.base_action, 1)  # clipped
    for action, message in (
        (np.zeros(5), r"Constant must have the shape .* got \(3, 5\)"),
        (np.array([0, 0, 0, -np.inf, 0, 0]), "Constant is not finite in .* 0.*inf"),
    ):
        policy.action = action
        with pytest.raises((BadActionError, DivergedError), match=message):
            env.step(np.zeros((N, 6)))
    policy.needs = frozenset({"qpos", "depth"})
    with pytest.raises(ConfigError, match=r"needs \['depth'\].*object_pose"):
        blend(task, policy)


class Counter(BasePolicy):
    needs = frozenset({"qpos"})

    def __init__(self, n):
        self.steps, self.resets = np.zeros(n, int), []

    def reset(self, ids, seeds):
        self.steps[ids] = 0
        self.resets.append(list(ids))

    def act(self, obs, ids):
        self.steps[ids] += 1
        assert {name: len(value) for name, value in obs.items()} == {"qpos": len(ids)}
        return np.repeat(self.steps[ids, None] / 1000, 6, axis=1)


def test_a_policy_with_a_memory_is_reset_for_ended_episodes_only(task):
    policy = Counter(N)
    blind, env = blend(task, policy, seen=False), blend(task, policy)
    assert env.reset(seed=0)[0].shape[1] == blind.single_observation_space.shape[0] + 6
    task.elapsed[:] = [30, 34, 37]  # let the episodes end at different times
    for step in range(1, 9):
        info = env.step(np.zeros((N, 6)))[4]
        for final in info.get("final_obs", np.empty(0))[info.get("_final_obs", [])]:
            # The last observation shows what would have been proposed next.
            assert final[-1] == pytest.approx((step + 1) / 1000)
    assert policy.resets == [[0, 1, 2], [2], [1]]
    assert list(policy.steps) == [9, 3, 6]
    np.testing.assert_allclose(env.base_action[:, 0] * 1000, policy.steps)

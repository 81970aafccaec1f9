"""What holds for every algorithm: it starts at the base policy, and it may remember."""

import numpy as np
import pytest
import torch
from conftest import config_of, make_env
from learners import TINY, tiny

from so101rl.build import build_algo, build_env
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.evaluation.rollout import run_episodes
from so101rl.policies.policy import Learned
from so101rl.seeds import episode_seeds

SILENT = [
    f"randomization.terms.noise_{name}.{end}=0"
    for name in ("qpos", "qvel", "object_position", "object_yaw")
    for end in ("low", "high")
]


def learner(algo, *typed):
    cfg = config_of(*tiny(algo), "n_threads=1", *typed)
    return build_algo(cfg, SB3VecEnv(build_env(cfg, 2), [0, 1]))


def observations(model, n):
    rng = np.random.default_rng(0)
    size = (n, *model.observation_space.shape)
    return rng.normal(0, 3, size).astype(np.float32)


# ---- how a learner starts ----


@pytest.mark.parametrize("algo", TINY)
def test_the_first_residual_is_exactly_zero(algo):
    model = learner(algo)
    action = Learned(model).act(observations(model, 64))
    np.testing.assert_array_equal(action, np.zeros((64, 6)))


@pytest.mark.parametrize("algo", TINY)
@pytest.mark.parametrize("std", [0.1, 0.3])
def test_first_residuals_vary_by_the_exploration_std(algo, std):
    model = learner(algo, f"residual.exploration_std={std}")
    if model.__dict__.get("action_noise") is not None:  # the policy itself draws none
        action = np.array([model.action_noise() for _ in range(1000)])
    else:
        action, _ = model.predict(observations(model, 1000), deterministic=False)
        if model.policy.squash_output:  # what varies by std is before the tanh
            action = np.arctanh(action)
    np.testing.assert_allclose(action.std(axis=0), std, rtol=0.15)


# ---- policies with a memory ----


@pytest.fixture
def recurrent():
    """A policy all of whose weights matter."""
    model = learner("recurrent_ppo", *SILENT)
    torch.manual_seed(0)
    with torch.no_grad():
        for weight in model.policy.parameters():
            weight.normal_(std=0.5)
    return Learned(model)


def test_a_recurrent_policy_remembers_its_episode_and_no_other(recurrent):
    obs = observations(recurrent.model, 3) / 10
    first, second = recurrent.act(obs), recurrent.act(obs)
    assert (np.abs(second - first).max(axis=1) > 0.01).all()
    recurrent.reset(np.array([1]))
    third = recurrent.act(obs)
    np.testing.assert_allclose(third[1], first[1], atol=1e-5)
    assert (np.abs(third - first).max(axis=1)[[0, 2]] > 0.01).all()
    recurrent.reset()
    np.testing.assert_allclose(recurrent.act(obs), first, atol=1e-5)


class Forgetful(Learned):
    """Begins its episode anew at every step."""

    def act(self, obs):
        self.reset()
        return super().act(obs)


def test_an_episode_with_a_recurrent_policy_depends_on_no_other(recurrent):
    seeds = episode_seeds(0, "select", 3)

    def motions(policy, n):
        env = make_env(*SILENT, "env.max_episode_steps=12", n=n)
        return [episode.qpos for episode in run_episodes(env, policy, seeds)]

    alone = motions(recurrent, 1)
    np.testing.assert_allclose(motions(recurrent, 2), alone, atol=1e-4)
    without_memory = motions(Forgetful(recurrent.model), 2)
    assert np.abs(np.subtract(without_memory, alone)).max() > 0.01  # [rad]

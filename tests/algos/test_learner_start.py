"""Every learner starts at the base policy; memory ends with its episode."""

import numpy as np
import pytest
import torch
from conftest import config_of
from learners import TINY, tiny

from so101rl.build import build_algo, build_env
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.policies.policy import ModelPolicy


def learner(algo, *typed):
    cfg = config_of(*tiny(algo), "n_threads=1", "seed=3", *typed)
    return build_algo(cfg, SB3VecEnv(build_env(cfg, 2), [0, 1]))


def observations(model, n):
    rng = np.random.default_rng(0)
    return rng.normal(0, 3, (n, *model.observation_space.shape)).astype(np.float32)


@pytest.mark.parametrize("algo", TINY)
def test_the_first_residual_is_zero_and_explores_by_its_std(algo):
    model = learner(algo, "residual.exploration_std=0.3")
    assert not ModelPolicy(model).act(observations(model, 64)).any()
    if model.__dict__.get("action_noise") is not None:  # the policy itself draws none
        action = np.array([model.action_noise() for _ in range(1000)])
    else:
        action, _ = model.predict(observations(model, 1000), deterministic=False)
        if model.policy.squash_output:  # the std is that of before the tanh
            action = np.arctanh(action)
    np.testing.assert_allclose(action.std(axis=0), 0.3, rtol=0.15)


@pytest.mark.parametrize("algo", ["ppo", "sac", "td3"])
def test_plain_rl_starts_as_stock_does_and_a_residual_learner_learns(algo):
    plain, model = learner(algo, "base_policy=zero"), learner(algo)
    layers = {"net_arch": [8]}
    stock = type(plain)("MlpPolicy", plain.env, seed=3, policy_kwargs=layers)
    mine, its = (list(one.policy.parameters()) for one in (plain, stock))
    torch.testing.assert_close(mine, its, rtol=0, atol=0)
    obs = observations(model, 64)
    if algo == "td3":
        assert not model.actor_target.predict(obs)[0].any()
    model.learn(48)
    assert 0 < np.abs(ModelPolicy(model).act(obs)).max() <= 1


def test_memory_of_a_recurrent_policy_belongs_to_one_episode():
    model = learner("recurrent_ppo")
    torch.manual_seed(0)
    for weight in model.policy.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    policy, obs = ModelPolicy(model), observations(model, 3) / 10
    first, second = policy.act(obs), policy.act(obs)
    assert (np.abs(second - first).max(axis=1) > 0.01).all()
    policy.reset(np.array([1]))
    third = policy.act(obs)
    np.testing.assert_allclose(third[1], first[1], atol=1e-5)
    assert (np.abs(third - first).max(axis=1)[[0, 2]] > 0.01).all()

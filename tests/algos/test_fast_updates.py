"""Our updates of SAC and TD3 are the stock ones, only faster."""

import copy
import io
from unittest.mock import Mock

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.logger import Logger
from torch.testing import assert_close

from so101rl.algos.fast_sac import FastSAC
from so101rl.algos.fast_td3 import FastTD3

OBSERVATION, ACTION, BATCH = 11, 3, 50  # no multiples of what a processor likes
PAIRS = {"sac": (FastSAC, SAC), "td3": (FastTD3, TD3)}
CLOSE, EQUAL = {"rtol": 1e-5, "atol": 1e-5}, {"rtol": 0, "atol": 0}


class Spaces(gym.Env):
    observation_space = gym.spaces.Box(-np.inf, np.inf, (OBSERVATION,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (ACTION,), np.float32)


def learner(kind, seed=0, **settings):
    """A learner with random weights and a buffer full of random transitions."""
    # Adam's usual eps of 1e-8 turns the rounding of a gradient of 0 into a full step.
    policy = {"net_arch": [32, 24], "optimizer_kwargs": {"eps": 1e-3}}
    policy |= settings.pop("policy_kwargs", {})
    settings = {"gamma": 0.9, "tau": 0.1, "learning_rate": 1e-2} | settings
    settings |= {"seed": seed, "policy_kwargs": policy, "device": "cpu"}
    model = kind("MlpPolicy", Spaces(), buffer_size=400, **copy.deepcopy(settings))
    model.set_logger(Logger(folder=None, output_formats=[]))
    buffer, rng = model.replay_buffer, np.random.default_rng(7)
    for array in (buffer.observations, buffer.next_observations, buffer.rewards):
        array[:] = rng.normal(size=array.shape)
    buffer.actions[:] = rng.uniform(-1, 1, buffer.actions.shape)
    buffer.dones[:] = rng.uniform(size=buffer.dones.shape) < 0.2
    buffer.timeouts[:] = buffer.dones * (rng.uniform(size=buffer.dones.shape) < 0.5)
    buffer.full = True
    return model


def train(model, times=1, steps=1):
    """Update with the same draws of minibatches and noise whoever learns."""
    for seed in range(times):
        np.random.seed(seed)
        torch.manual_seed(seed)
        model.train(steps, BATCH)
    return model


def numbers(model):
    """Everything that an update changes."""
    found = {name: value.clone() for name, value in model.policy.state_dict().items()}
    if getattr(model, "log_ent_coef", None) is not None:
        found["log_ent_coef"] = model.log_ent_coef.detach().clone()
    return found


@pytest.mark.parametrize(
    ("algo", "settings", "tolerance"),
    [
        ("sac", {"policy_kwargs": {"net_arch": {"pi": [8], "qf": [16, 8]}}}, CLOSE),
        ("sac", {"ent_coef": 0.3, "policy_kwargs": {"n_critics": 3}}, CLOSE),
        ("sac", {"ent_coef": "auto_0.1", "target_entropy": -1.5}, CLOSE),
        ("td3", {"policy_kwargs": {"n_critics": 3}}, CLOSE),
        ("td3", {"policy_kwargs": {"net_arch": [16]}, "n_steps": 3}, CLOSE),
        # Other networks get the stock update itself.
        ("sac", {"policy_kwargs": {"activation_fn": torch.nn.ELU}}, EQUAL),
        ("sac", {"use_sde": True}, EQUAL),
        ("td3", {"policy_kwargs": {"activation_fn": torch.nn.ELU}}, EQUAL),
    ],
)
def test_updates_are_the_stock_ones(algo, settings, tolerance):
    ours, stock = (learner(kind, **settings) for kind in PAIRS[algo])
    before = numbers(ours)
    assert_close(before, numbers(stock), **EQUAL)
    for times in (1, 6):
        after = numbers(train(ours, times))
        assert_close(after, numbers(train(stock, times)), **tolerance)
    assert all(not torch.equal(after[name], before[name]) for name in before)
    ours, stock = (model.logger.name_to_value for model in (ours, stock))
    assert ours == pytest.approx(stock, rel=1e-4, abs=1e-5)


@pytest.mark.parametrize("bias", [-25.0, 3.0])
def test_a_clamped_standard_deviation_has_no_gradient(bias):
    ours, stock = (learner(kind) for kind in PAIRS["sac"])
    for model in (ours, stock):
        with torch.no_grad():
            model.actor.log_std.bias[0] = bias
    before = numbers(ours)["actor.log_std.weight"]
    after = numbers(train(ours))["actor.log_std.weight"]
    assert torch.equal(after[0], before[0])
    assert not torch.equal(after[1], before[1])
    if bias > 0:  # stock divides the rounding of mean + std * noise by a std of e^-20
        assert_close(numbers(ours), numbers(train(stock)), **CLOSE)


@pytest.mark.parametrize("algo", PAIRS)
def test_several_updates_in_one_call_are_stock_ones_of_different_minibatches(
    algo, monkeypatch
):
    draw = "so101rl.algos.layers.BATCHES_PER_DRAW"
    monkeypatch.setattr(draw, 1)
    rhythm = {"sac": {"target_update_interval": 2}, "td3": {"policy_delay": 3}}[algo]
    ours, stock = (train(learner(cls, **rhythm), 2, steps=4) for cls in PAIRS[algo])
    assert_close(numbers(ours), numbers(stock), **CLOSE)
    monkeypatch.setattr(draw, 3)
    first, second, once = (learner(PAIRS[algo][0]) for _ in range(3))
    buffer, before = first.replay_buffer, numbers(first)
    buffer.sample = Mock(wraps=buffer.sample)
    after, single = numbers(train(first, steps=7)), numbers(train(once))
    drawn = [call.args[0] for call in buffer.sample.call_args_list]
    assert drawn == [3 * BATCH, 3 * BATCH, BATCH]
    assert first._n_updates == 7
    name = "critic.qf0.0.weight"
    far, near = ((x[name] - before[name]).norm() for x in (after, single))
    assert far > 2 * near
    assert_close(after, numbers(train(second, steps=7)), **EQUAL)  # same seed


@pytest.mark.parametrize("algo", PAIRS)
def test_files_go_both_ways_between_ours_and_stock(algo):
    policy = {"optimizer_kwargs": {"eps": 1e-3, "fused": algo == "sac"}}
    for kind, other in (PAIRS[algo], PAIRS[algo][::-1]):
        model, file = train(learner(kind, policy_kwargs=policy), 2), io.BytesIO()
        model.save(file)
        file.seek(0)
        loaded = other.load(file, env=Spaces(), device="cpu")
        assert_close(numbers(model), numbers(loaded), **EQUAL)
        loaded.set_logger(Logger(folder=None, output_formats=[]))
        loaded.replay_buffer = model.replay_buffer
        kept, before = copy.deepcopy(model.policy), numbers(model)
        # Optimizer states went along: both learn on alike, and no copy with them.
        assert_close(numbers(train(model, 2)), numbers(train(loaded, 2)), **CLOSE)
        assert all(torch.equal(v, before[k]) for k, v in kept.state_dict().items())

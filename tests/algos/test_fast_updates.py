"""Our updates of SAC and TD3 are the stock ones, only faster."""

import copy
import io

import gymnasium as gym
import numpy as np
import pytest
import torch
from stable_baselines3 import SAC, TD3
from stable_baselines3.common.logger import Logger

from so101rl.algos.fast_sac import FastSAC
from so101rl.algos.fast_td3 import FastTD3

OBSERVATION, ACTION, BATCH = 11, 3, 50  # no multiples of what a processor likes
PAIRS = {"sac": (FastSAC, SAC), "td3": (FastTD3, TD3)}


class Nothing(gym.Env):
    """The spaces that a learner asks for."""

    observation_space = gym.spaces.Box(-np.inf, np.inf, (OBSERVATION,), np.float32)
    action_space = gym.spaces.Box(-1, 1, (ACTION,), np.float32)


def learner(kind, seed=0, **settings):
    """A learner with random weights and a buffer full of random transitions.

    Adam's first steps are gradient / (|gradient| + eps): with the usual eps of 1e-8
    they turn the rounding of a gradient that is almost zero into a full step.
    """
    policy = {"net_arch": [32, 24], "optimizer_kwargs": {"eps": 1e-3}}
    policy |= settings.pop("policy_kwargs", {})
    settings = {"gamma": 0.9, "tau": 0.1, "learning_rate": 1e-2} | settings
    settings |= {"seed": seed, "policy_kwargs": policy, "device": "cpu"}
    model = kind("MlpPolicy", Nothing(), buffer_size=400, **settings)
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


def assert_same(left, right, **tolerance):
    assert left.keys() == right.keys()
    for name in left:
        torch.testing.assert_close(
            left[name],
            right[name],
            **tolerance,
            msg=lambda text, name=name: f"{name}: {text}",
        )


@pytest.fixture(params=PAIRS)
def pair(request):
    return PAIRS[request.param]


SETTINGS = {
    "default": {},
    "three critics": {"policy_kwargs": {"n_critics": 3}},
    "one hidden layer": {"policy_kwargs": {"net_arch": [16]}},
    "other critics": {"policy_kwargs": {"net_arch": {"pi": [8], "qf": [16, 8, 8]}}},
    "n-step": {"n_steps": 3},
}


@pytest.mark.parametrize("settings", SETTINGS.values(), ids=SETTINGS.keys())
@pytest.mark.parametrize("times", [1, 6])
def test_updates_are_the_stock_ones(pair, settings, times):
    ours, stock = (learner(kind, **copy.deepcopy(settings)) for kind in pair)
    before = numbers(ours)
    assert_same(before, numbers(stock), rtol=0, atol=0)
    after = numbers(train(ours, times))
    assert_same(after, numbers(train(stock, times)), rtol=1e-5, atol=1e-5)
    if times > 1:  # TD3's actor learns every other time
        assert all(not torch.equal(after[name], before[name]) for name in before)


@pytest.mark.parametrize(
    "settings",
    [
        {"ent_coef": 0.3},
        {"ent_coef": "auto_0.1", "target_entropy": -1.5},
    ],
    ids=str,
)
def test_settings_of_sac_mean_what_they_mean_in_stock(settings):
    ours, stock = (train(learner(kind, **settings), 3) for kind in PAIRS["sac"])
    assert_same(numbers(ours), numbers(stock), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", PAIRS)
def test_several_updates_in_one_call_are_the_stock_ones(kind, monkeypatch):
    monkeypatch.setattr("so101rl.algos.layers.BATCHES_PER_DRAW", 1)
    rhythm = {"sac": {"target_update_interval": 2}, "td3": {"policy_delay": 3}}[kind]
    ours, stock = (train(learner(cls, **rhythm), 2, steps=4) for cls in PAIRS[kind])
    assert_same(numbers(ours), numbers(stock), rtol=1e-5, atol=1e-5)


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
        assert_same(numbers(ours), numbers(train(stock)), rtol=1e-5, atol=1e-5)


def test_it_logs_what_stock_logs(pair):
    ours, stock = (train(learner(kind), 2).logger.name_to_value for kind in pair)
    assert ours.keys() == stock.keys()
    for name in stock:
        assert ours[name] == pytest.approx(stock[name], rel=1e-4, abs=1e-5), name


def test_many_updates_at_once_draw_different_minibatches(pair, monkeypatch):
    monkeypatch.setattr("so101rl.algos.layers.BATCHES_PER_DRAW", 3)
    model = learner(pair[0])
    drawn = []
    sample = model.replay_buffer.sample
    monkeypatch.setattr(
        model.replay_buffer,
        "sample",
        lambda size, env=None: drawn.append(size) or sample(size, env=env),
    )
    before = numbers(model)
    train(model, steps=7)
    assert drawn == [3 * BATCH, 3 * BATCH, BATCH]
    assert model._n_updates == 7
    step = {name: (numbers(model)[name] - before[name]).norm() for name in before}
    once = numbers(train(learner(pair[0])))
    assert step["critic.qf0.0.weight"] > (
        2 * (once["critic.qf0.0.weight"] - before["critic.qf0.0.weight"]).norm()
    )


def test_same_seed_same_bytes(pair):
    first, second = (numbers(train(learner(pair[0]), 2, steps=3)) for _ in range(2))
    assert_same(first, second, rtol=0, atol=0)


@pytest.mark.parametrize("fused", [False, True])
def test_files_go_both_ways_between_ours_and_stock(pair, fused):
    policy = {"optimizer_kwargs": {"eps": 1e-3, "fused": fused}}
    for kind, other in (pair, pair[::-1]):
        model = train(learner(kind, policy_kwargs=policy), 2)
        file = io.BytesIO()
        model.save(file)
        file.seek(0)
        loaded = other.load(file, env=Nothing(), device="cpu")
        assert_same(numbers(model), numbers(loaded), rtol=0, atol=0)
        loaded.set_logger(Logger(folder=None, output_formats=[]))
        loaded.replay_buffer = model.replay_buffer
        # Optimizer states went along: both learn on alike.
        train(model, 2), train(loaded, 2)
        assert_same(numbers(model), numbers(loaded), rtol=1e-5, atol=1e-5)


def test_parameters_set_from_outside_are_learned_from(pair):
    ours, stock = (train(learner(kind), 2) for kind in pair)
    state = learner(pair[1], seed=5).policy.state_dict()
    for model in (ours, stock):
        model.policy.load_state_dict(state)
    assert_same(numbers(train(ours, 2)), numbers(train(stock, 2)), rtol=1e-5, atol=1e-5)


def test_a_copied_policy_does_not_learn_along(pair):
    model = train(learner(pair[0]))
    kept = copy.deepcopy(model.policy)
    before = {name: value.clone() for name, value in kept.state_dict().items()}
    train(model, 2)
    assert_same(kept.state_dict(), before, rtol=0, atol=0)


def unsuited(sac):
    settings = [{"policy_kwargs": {"activation_fn": torch.nn.ELU}}]
    return [*settings, {"use_sde": True}] if sac else settings


@pytest.mark.parametrize(
    "kind, settings",
    [("td3", s) for s in unsuited(False)] + [("sac", s) for s in unsuited(True)],
    ids=str,
)
def test_other_networks_get_the_stock_update(kind, settings):
    ours, stock = (
        numbers(train(learner(cls, **copy.deepcopy(settings)), 3))
        for cls in PAIRS[kind]
    )
    assert_same(ours, stock, rtol=0, atol=1e-7)

"""Gradient updates of SAC, stock and ours, against the bound by matrix products."""

import time
from collections.abc import Callable, Iterator
from functools import partial

import numpy as np
import torch
from omegaconf import DictConfig
from stable_baselines3 import SAC
from stable_baselines3.common.buffers import ReplayBuffer

from benchmarks.learners import ours
from benchmarks.measure import Effort, Result, Row, interleave, ratios
from so101rl.build import build_algo
from so101rl.config.compose import compose
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv

HIDDEN, BATCH = 256, 256
STOCK = (
    "algo._target_=stable_baselines3.SAC",
    "algo.policy_kwargs.optimizer_kwargs.fused=false",  # as SB3 makes it
)
LARGE = 1024  # edge of the matrices that reach the machine's best rate


def measure(effort: Effort) -> Result:
    """Updates per second of both, and the bound by matrix products."""
    cfg = _config()
    env = ours(cfg)
    models = {
        "SAC, stock": _model(_config(*STOCK), env),
        "SAC, ours": _model(cfg, env),
    }
    obs_dim, act_dim = env.observation_space.shape[0], env.action_space.shape[0]
    flops = sum(2 * m * k * n for m, k, n in _products(obs_dim, act_dim))
    sizes = {"network": (BATCH, HIDDEN, HIDDEN), "large": (LARGE,) * 3}
    cases: dict[str, Callable[[], float]] = {
        name: partial(_updates_per_s, model, effort.seconds)
        for name, model in models.items()
    }
    for update in cases.values():
        update()
    for name, size in sizes.items():
        cases[name] = _Product(size, effort.seconds / 2)
    values = interleave(cases, effort.repeats)
    env.close()
    best = [max(pair) for pair in zip(values["network"], values["large"], strict=True)]
    bound = [per_second / flops for per_second in best]
    stock, faster = values["SAC, stock"], values["SAC, ours"]
    edge = f"{BATCH} x {HIDDEN} x {HIDDEN}"
    rows = [
        Row("SAC, stock", "updates/s", stock),
        Row("SAC, ours", "updates/s", faster),
        Row("bound by matrix products", "updates/s", bound),
        Row("SAC, ours / bound", "x", ratios(faster, bound), 0.75),
        Row("SAC, stock / bound", "x", ratios(stock, bound)),
        Row("SAC, ours / stock", "x", ratios(faster, stock)),
        Row(f"float32 product {edge}", "GFLOP/s", _giga(values["network"])),
        Row(f"float32 product {LARGE}^3", "GFLOP/s", _giga(values["large"])),
    ]
    extra = {
        "mflop_per_update": flops / 1e6,
        "torch_threads": cfg.torch_threads,
        "observation": obs_dim,
    }
    return Result("sac", "Updates of SAC", rows, extra)


def _config(*typed: str) -> DictConfig:
    return compose(
        [
            "tracking=none",
            "algo=sac",
            "n_envs=4",
            f"algo.batch_size={BATCH}",
            f"algo.policy_kwargs.net_arch=[{HIDDEN},{HIDDEN}]",
            *typed,
        ]
    )


def _model(cfg: DictConfig, env: SB3VecEnv) -> SAC:
    model = build_algo(cfg, env)
    assert isinstance(model, SAC)
    _fill(model.replay_buffer)
    return model


def _products(obs: int, act: int) -> Iterator[tuple[int, int, int]]:
    """Every matrix product (m, k, n) that one SAC update needs.

    Forward: the actor twice, both critics three times (target, Bellman error, actor's
    loss). Backward: weights and hidden layers of critics and actor; in the actor's loss
    the critics need gradients of their inputs, not of their weights.
    """
    actor = [(obs, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 2 * act)]
    critic = [(obs + act, HIDDEN), (HIDDEN, HIDDEN), (HIDDEN, 1)] * 2
    first = {(obs, HIDDEN), (obs + act, HIDDEN)}
    forward = actor * 2 + critic * 3
    for fan_in, fan_out in forward:
        yield BATCH, fan_in, fan_out
    for fan_in, fan_out in actor + critic:  # gradients of weights
        yield fan_in, BATCH, fan_out
    for fan_in, fan_out in actor + critic:  # gradients of inputs, but observations
        if (fan_in, fan_out) not in first:
            yield BATCH, fan_out, fan_in
    for fan_in, fan_out in critic:  # of the action, through the critics
        yield BATCH, fan_out, act if (fan_in, fan_out) in first else fan_in


def _fill(buffer: ReplayBuffer) -> None:
    """Fill a buffer with random transitions; the arithmetic is the same."""
    rng = np.random.default_rng(0)
    for array in (buffer.observations, buffer.next_observations, buffer.actions):
        array[:] = rng.uniform(-1, 1, array.shape)
    buffer.rewards[:] = rng.uniform(-1, 1, buffer.rewards.shape)
    buffer.full = True


def _updates_per_s(model: SAC, seconds: float) -> float:
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        model.train(gradient_steps=8, batch_size=BATCH)
        done += 8
    return done / (time.perf_counter() - begin)


class _Product:
    """FLOP/s of a product of float32 matrices, with the threads of training."""

    def __init__(self, size: tuple[int, int, int], seconds: float):
        m, k, n = size
        self._flops, self._seconds = 2 * m * k * n, seconds
        self._a, self._b, self._out = (torch.rand(s) for s in ((m, k), (k, n), (m, n)))

    def __call__(self) -> float:
        done, begin = 0, time.perf_counter()
        while time.perf_counter() - begin < self._seconds:
            for _ in range(8):
                torch.mm(self._a, self._b, out=self._out)
            done += 8
        return done * self._flops / (time.perf_counter() - begin)


def _giga(values: list[float]) -> list[float]:
    return [value / 1e9 for value in values]

"""The classic stack against ours: environments alone, then PPO end to end."""

from collections.abc import Callable
from functools import partial

import torch
from gymnasium.vector import AsyncVectorEnv, AutoresetMode
from omegaconf import DictConfig
from stable_baselines3 import PPO
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.monitor import Monitor
from stable_baselines3.common.vec_env import DummyVecEnv, SubprocVecEnv, VecEnv

from benchmarks.measure import Effort, Residuals, Result, Row, interleave, rate, ratios
from benchmarks.rival import Rival
from benchmarks.trajectories import largest_difference
from so101rl.build import build_algo, build_env
from so101rl.config.compose import compose
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.errors import So101Error
from so101rl.seeds import episode_seeds

PROCESSES = 8
STD = 0.5  # of the residuals
WARM_UP = 100  # control steps
SAME = 1e-8  # largest difference of two equal worlds over an episode
CLASSIC = {"n_steps": 256, "batch_size": 256, "n_epochs": 10}  # else SB3's defaults
RIVALS = {
    "SubprocVecEnv": "start method forkserver, each environment in SB3's Monitor",
    "AsyncVectorEnv": "Gymnasium's own workers, start method forkserver, "
    "shared_memory=True, autoreset within the step as everywhere here, no Monitor",
    "DummyVecEnv": "one process, each environment in SB3's Monitor",
}


class RivalError(So101Error):
    """The rival's states differ from ours."""


def measure_environments(effort: Effort) -> Result:
    """Env steps per second of both, each through its own vector interface."""
    cfg = _config(effort)
    same = {name: _checked(name, effort) for name in ("none", "default")}
    envs: dict[str, VecEnv | AsyncVectorEnv] = {
        "ours": ours(cfg),
        "SubprocVecEnv": rivals(cfg, SubprocVecEnv, effort),
        "AsyncVectorEnv": asynchronous_rivals(cfg, effort),
        "DummyVecEnv": rivals(cfg, DummyVecEnv, effort),
    }
    steppers = {name: _stepper(env) for name, env in envs.items()}
    for step in steppers.values():
        for _ in range(2 if effort.quick else WARM_UP):
            step()
    cases = {
        name: partial(rate, step, effort.seconds) for name, step in steppers.items()
    }
    values = interleave(cases, effort.repeats)
    for env in envs.values():
        env.close()
    rows = [_speed(name, envs[name], values[name]) for name in envs]
    targets = {"SubprocVecEnv": 3.0, "AsyncVectorEnv": 3.0, "DummyVecEnv": None}
    for name, target in targets.items():
        quotient = ratios(values["ours"], values[name])
        label = f"ours / scalar envs in {name}"
        rows.append(Row(label, "x", quotient, target))
    extra = {"largest_difference": same, "rivals": RIVALS}
    return Result("rival", "The same task as scalar environments", rows, extra)


def measure_ppo(effort: Effort) -> Result:
    """PPO end to end, ours and classic, against the environment alone."""
    cfg = _config(effort)
    env, alone = ours(cfg), ours(cfg)
    model = build_algo(cfg, env)
    rival_env = rivals(cfg, SubprocVecEnv, effort)
    settings = CLASSIC | ({"n_steps": 8, "batch_size": 16} if effort.quick else {})
    torch.set_num_threads(cfg.torch_threads)  # the same for both
    classic = PPO("MlpPolicy", rival_env, device="cpu", seed=0, **settings)
    step = _stepper(alone)
    cases: dict[str, Callable[[], float]] = {
        "environment alone": partial(rate, step, effort.seconds),
        "PPO, ours": partial(_learn, model, effort.seconds),
        "PPO, classic": partial(_learn, classic, effort.seconds),
    }
    for measure in cases.values():
        measure()  # the first time is slower
    values = interleave(cases, effort.repeats)
    for used in (env, alone, rival_env):
        used.close()
    speeds = [Row(name, "env steps/s", values[name]) for name in cases]
    end_to_end = values["PPO, ours"]
    share = ratios(end_to_end, values["environment alone"])
    lead = ratios(end_to_end, values["PPO, classic"])
    rows = [
        *speeds,
        Row("PPO / environment alone", "x", share, 0.5),
        Row("PPO, ours / PPO, classic", "x", lead, 3.0),
    ]
    extra = {"torch_threads": cfg.torch_threads, "classic": settings}
    return Result("ppo", "PPO end to end", rows, extra)


def _checked(randomization: str, effort: Effort) -> dict[str, float]:
    """Difference of the worlds over an episode; raises a RivalError if it is large."""
    steps = 20 if effort.quick else 400
    found = largest_difference(randomization, steps=steps)
    if not found["done"] or max(found["qpos"], found["reward"]) > SAME:
        raise RivalError(f"the rival's states differ: {found}")
    return found


def ours(cfg: DictConfig) -> SB3VecEnv:
    """The package's environments, as `job=train` builds them."""
    seeds = episode_seeds(cfg.seed, "train", cfg.n_envs)
    return SB3VecEnv(build_env(cfg, cfg.n_envs), seeds)


def rivals(cfg: DictConfig, kind: type, effort: Effort) -> VecEnv:
    """Scalar environments, in processes or in a loop."""
    return kind([partial(monitored, cfg)] * (2 if effort.quick else PROCESSES))


def asynchronous_rivals(cfg: DictConfig, effort: Effort) -> AsyncVectorEnv:
    """Scalar environments in Gymnasium's processes.

    Without SB3's Monitor, which can only slow them down, and not forked, which is the
    default and unsafe in a process with simulation threads.
    """
    return AsyncVectorEnv(
        [partial(Rival, cfg)] * (2 if effort.quick else PROCESSES),
        context="forkserver",
        autoreset_mode=AutoresetMode.SAME_STEP,
    )


def monitored(cfg: DictConfig) -> Monitor:
    """A scalar environment in SB3's Monitor."""
    return Monitor(Rival(cfg))


def _config(effort: Effort) -> DictConfig:
    tiny = ["n_envs=4", "algo.n_steps=8", "algo.batch_size=16", "algo.n_epochs=1"]
    return compose(["tracking=none", "algo=ppo", *(tiny if effort.quick else [])])


def _stepper(env: VecEnv | AsyncVectorEnv) -> Callable[[], int]:
    """One vectorised step with random residuals; returns its env steps."""
    residuals = Residuals(env.num_envs, STD)
    if isinstance(env, VecEnv):
        env.seed(0)  # environment i gets seed i, as it does in Gymnasium's reset
        env.reset()
    else:
        env.reset(seed=0)

    def step() -> int:
        env.step(residuals())
        return env.num_envs

    return step


def _learn(model: BaseAlgorithm, seconds: float) -> float:
    """Env steps per second over whole iterations of rollout and update."""
    env = model.get_env()
    assert env is not None
    per_iteration = model.n_steps * env.num_envs  # type: ignore[attr-defined]

    def iterate() -> int:
        model.learn(per_iteration, reset_num_timesteps=False, log_interval=2**62)
        return per_iteration

    return rate(iterate, seconds)


def _speed(name: str, env: VecEnv | AsyncVectorEnv, values: list[float]) -> Row:
    kind = "batched" if name == "ours" else "scalar"
    return Row(f"{name}, {env.num_envs} {kind} envs", "env steps/s", values)

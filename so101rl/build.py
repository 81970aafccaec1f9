"""Builds all objects of a composed config; no other module connects them."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from gymnasium.spaces import Dict
from hydra.errors import InstantiationException
from hydra.utils import get_class, instantiate
from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger

from so101rl.algos.initialization import set_exploration, zero_last_layers
from so101rl.base_policies.base import BasePolicy, close_policy
from so101rl.config.threads import n_threads
from so101rl.envs.base import TaskEnv
from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.errors import ConfigError, So101Error
from so101rl.hardware.base import Hardware

OUR_ALGO_KEYS = ("total_timesteps",)  # keys of conf/algo that the learner does not get
# SB3's policies of one vector or picture, and those of several groups.
MULTI_INPUT = (("Mlp", "MultiInput"), ("Cnn", "MultiInput"))
# Errors of a learner for a wrong setting; for a wrong device, torch's RuntimeError.
SETTING_ERRORS = (ValueError, AssertionError, RuntimeError, MemoryError)


class BadAlgoError(So101Error):
    """A learner rejects a setting of `conf/algo` or of the command line.

    Args:
        target: Class of the learner.
        reason: Error that it raised; the message shows the first line.
    """

    def __init__(self, target: str, reason: BaseException):
        line = (str(reason).splitlines() or [type(reason).__name__])[0]
        super().__init__(f"algo: {target} refuses a setting: {line}")


def build_env(
    cfg: DictConfig, n_envs: int, *, beside: ResidualEnv | None = None
) -> ResidualEnv:
    """Build a batch of `n_envs` environments with base policy and residual.

    Args:
        cfg: composed config.
        n_envs: number of environments.
        beside: a batch, not smaller, whose base policy and ids serve here too.
    """
    task = build_task(cfg, n_envs)
    if beside is None:
        with _base_policy(cfg, [task]) as base_policy:
            return _with_residual(cfg, task, base_policy, 0, owns=True)
    first_id = beside.first_id
    return _with_residual(cfg, task, beside.base_policy, first_id, owns=False)


def build_envs(cfg: DictConfig, sizes: Sequence[int]) -> list[ResidualEnv]:
    """Build batches of environments with one base policy, which the caller closes.

    Args:
        cfg: composed config.
        sizes: number of environments of each batch; their ids follow one another.
    """
    tasks = [build_task(cfg, n) for n in sizes]
    with _base_policy(cfg, tasks) as base_policy:
        return [
            _with_residual(cfg, task, base_policy, sum(sizes[:i]), owns=False)
            for i, task in enumerate(tasks)
        ]


@contextmanager
def _base_policy(cfg: DictConfig, tasks: Sequence[TaskEnv]) -> Iterator[BasePolicy]:
    """Build the base policy of all environments; close it if the block fails."""
    base_policy = instantiate(
        cfg.base_policy,
        _convert_="all",
        n_envs=sum(task.num_envs for task in tasks),
        n_threads=n_threads(cfg.n_threads),
        action_names=tasks[0].control.names,
    )
    try:
        yield base_policy
    except BaseException:
        close_policy(base_policy)
        raise


def _with_residual(
    cfg: DictConfig,
    task: TaskEnv,
    base_policy: BasePolicy,
    first_id: int,
    *,
    owns: bool,
) -> ResidualEnv:
    residual: Any = OmegaConf.to_container(cfg.residual, resolve=True)
    keys = ("alpha", "penalty", "observe_base_action")
    own = {key: residual[key] for key in keys}
    return ResidualEnv(task, base_policy, **own, first_id=first_id, owns_base=owns)


def hardware_class(cfg: DictConfig) -> type[Hardware]:
    """Return the class of `cfg.hardware`, which tells what there can be of it."""
    return get_class(cfg.hardware._target_)


def build_task(cfg: DictConfig, n_envs: int) -> TaskEnv:
    """Build a batch of `n_envs` tasks, which move nothing before their first reset."""
    return instantiate(
        cfg.env,
        hardware=instantiate(cfg.hardware, _convert_="all"),
        randomization=instantiate(cfg.randomization, _convert_="all"),
        _convert_="all",
        n_envs=n_envs,
        n_threads=n_threads(cfg.n_threads),
    )


def build_algo(cfg: DictConfig, env: SB3VecEnv) -> BaseAlgorithm:
    """Build the learner of `cfg.algo`, untrained."""
    _check_policy(cfg.algo, grouped=isinstance(env.observation_space, Dict))
    torch.set_num_threads(cfg.torch_threads)
    keys = {key: value for key, value in cfg.algo.items() if key not in OUR_ALGO_KEYS}
    try:
        model = instantiate(keys, env=env, seed=cfg.seed, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, SETTING_ERRORS):
            raise BadAlgoError(cfg.algo._target_, error.__cause__) from error
        raise
    model.set_logger(Logger(folder=None, output_formats=[]))
    if cfg.residual.zero_init:
        zero_last_layers(model)
    if cfg.residual.exploration_std is not None:
        set_exploration(model, cfg.residual.exploration_std)
    return model


def _check_policy(algo: DictConfig, *, grouped: bool) -> None:
    """Raise unless a policy that SB3 knows by name fits the observation."""
    policy = algo.get("policy")
    if not isinstance(policy, str) or policy.startswith("MultiInput") == grouped:
        return
    groups = "has several groups" if grouped else "is one vector"
    for old, new in MULTI_INPUT if grouped else [("MultiInput", "Mlp")]:
        if policy.startswith(old):
            wanted = policy.replace(old, new)
            expected = f"{wanted}, because env.observation {groups}"
            aliases = getattr(get_class(algo._target_), "policy_aliases", (wanted,))
            if wanted not in aliases:
                expected += f"; {algo._target_} has no such policy"
            raise ConfigError("algo.policy", got=policy, expected=expected)

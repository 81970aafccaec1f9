"""From a composed config to objects: the only place where they are wired."""

from typing import Any

import torch
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.logger import Logger

from so101rl.algos.initialization import set_exploration, zero_last_layers
from so101rl.config.threads import n_threads
from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.errors import So101Error

NOT_FOR_THE_CLASS = ("total_timesteps",)  # keys of conf/algo that are ours
# What a learner answers to its settings; torch refuses a device with a RuntimeError.
REFUSALS = (ValueError, AssertionError, RuntimeError, MemoryError)


class BadAlgoError(So101Error):
    """A learner refuses what `conf/algo` or the command line tells it."""

    def __init__(self, target: str, reason: BaseException):
        """Pass on the first line of the learner's own reason."""
        said = (str(reason).splitlines() or [type(reason).__name__])[0]
        super().__init__(f"algo: {target} refuses a setting: {said}")


def build_env(cfg: DictConfig, n_envs: int) -> ResidualEnv:
    """A batch of `n_envs` environments with base policy and residual."""
    threads = n_threads(cfg.n_threads)
    size: dict[str, Any] = {"n_envs": n_envs, "n_threads": threads}
    task = instantiate(
        cfg.env,
        hardware=instantiate(cfg.hardware, _convert_="all"),
        randomization=instantiate(cfg.randomization, _convert_="all"),
        _convert_="all",
        **size,
    )
    base_policy = instantiate(cfg.base_policy, _convert_="all", **size)
    residual: Any = OmegaConf.to_container(cfg.residual, resolve=True)
    return ResidualEnv(
        task,
        base_policy,
        alpha=residual["alpha"],
        penalty=residual["penalty"],
        observe_base_action=residual["observe_base_action"],
    )


def build_algo(cfg: DictConfig, env: SB3VecEnv) -> BaseAlgorithm:
    """The learner of `cfg.algo`, at its start."""
    torch.set_num_threads(cfg.torch_threads)
    keys = {
        key: value for key, value in cfg.algo.items() if key not in NOT_FOR_THE_CLASS
    }
    try:
        model = instantiate(keys, env=env, seed=cfg.seed, _convert_="all")
    except InstantiationException as error:
        if isinstance(error.__cause__, REFUSALS):
            raise BadAlgoError(cfg.algo._target_, error.__cause__) from error
        raise
    model.set_logger(Logger(folder=None, output_formats=[]))
    if cfg.residual.zero_init:
        zero_last_layers(model)
    if cfg.residual.exploration_std is not None:
        set_exploration(model, cfg.residual.exploration_std)
    return model

"""Builds all objects of a composed config; no other module connects them."""

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

OUR_ALGO_KEYS = ("total_timesteps",)  # keys of conf/algo that the learner does not get
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


def build_env(cfg: DictConfig, n_envs: int) -> ResidualEnv:
    """Build a batch of `n_envs` environments with base policy and residual."""
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
    """Build the learner of `cfg.algo`, untrained."""
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

"""How a learner starts: at the base policy, with a chosen exploration."""

from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.noise import NormalActionNoise

from so101rl.algos.layers import linears
from so101rl.errors import ConfigError


def zero_last_layers(model: BaseAlgorithm) -> None:
    """Zero the last layer of every actor, so that the first residual is exactly zero.

    Silver et al. 2018 (Residual Policy Learning) start residuals this way. Target
    actors are zeroed too: the first bootstrapped values belong to the same policy.
    """
    with torch.no_grad():
        for layer in _last_layers(model):
            layer.weight.zero_()
            layer.bias.zero_()


def set_exploration(model: BaseAlgorithm, std: float) -> None:
    """Set the standard deviation of the first actions, in units of the residual."""
    policy: Any = model.policy
    with torch.no_grad():
        if isinstance(getattr(policy, "log_std", None), torch.nn.Parameter):
            policy.log_std.fill_(float(np.log(std)))
        elif isinstance(getattr(_actor(policy), "log_std", None), torch.nn.Linear):
            policy.actor.log_std.weight.zero_()
            policy.actor.log_std.bias.fill_(float(np.log(std)))
        elif hasattr(model, "action_noise"):
            mean = np.zeros(model.action_space.shape or ())
            model.action_noise = NormalActionNoise(mean, np.full_like(mean, std))
        else:
            raise _unsupported(model, "residual.exploration_std", "null")


def _last_layers(model: BaseAlgorithm) -> list[torch.nn.Linear]:
    policy: Any = model.policy
    if isinstance(getattr(policy, "action_net", None), torch.nn.Linear):
        return [policy.action_net]
    actors = [_actor(policy), getattr(policy, "actor_target", None)]
    layers = [linears(actor.mu)[-1] for actor in actors if actor is not None]
    if not layers:
        raise _unsupported(model, "residual.zero_init", "false")
    return layers


def _actor(policy: Any) -> Any:
    return getattr(policy, "actor", None)


def _unsupported(model: BaseAlgorithm, key: str, expected: str) -> ConfigError:
    reason = f"set, but {type(model).__name__} has no actor of a supported kind"
    return ConfigError(key, got=reason, expected=expected)

"""Two base policies, blended by weight or switched by distance."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from so101rl.base_policies.base import (
    BasePolicy,
    checked_act,
    checked_needs,
    checked_tells,
)
from so101rl.errors import ConfigError

MODES = ("blend", "switch")


class Hybrid(BasePolicy):
    """Combine the actions of two policies.

    Args:
        first: builds the first policy from the last three arguments.
        second: builds the second policy likewise.
        mode: `blend` takes the weighted mean of both actions; `switch` takes the first
            while the object is farther from its goal than `distance`, else the second.
        weight: weight of the first policy in a blend, in [0, 1].
        distance: distance of the switch [m].
        n_envs: number of environments.
        n_threads: number of threads of each policy.
        action_names: names of the action's elements.
    """

    def __init__(
        self,
        *,
        first: Callable[..., BasePolicy],
        second: Callable[..., BasePolicy],
        mode: str,
        weight: float,
        distance: float,
        n_envs: int,
        n_threads: int,
        action_names: Sequence[str],
    ):
        if mode not in MODES:
            raise ConfigError("base_policy.mode", got=mode, expected=" or ".join(MODES))
        if not 0 <= weight <= 1:
            raise ConfigError(
                "base_policy.weight", got=weight, expected="a number in [0, 1]"
            )
        own = {"n_envs": n_envs, "n_threads": n_threads, "action_names": action_names}
        self._policies = {"first": first(**own), "second": second(**own)}
        self._n_actions = len(action_names)
        self._mode, self._weight, self._distance = mode, weight, distance
        needs = (checked_needs(policy) for policy in self._policies.values())
        self.needs = frozenset({"goal"}).union(*needs)

    def reset(self, ids: np.ndarray, seeds: np.ndarray) -> None:
        for policy in self._policies.values():
            policy.reset(ids, seeds)

    def act(self, obs: Mapping[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        first, second = (
            checked_act(policy, obs, ids, self._n_actions)
            for policy in self._policies.values()
        )
        if self._mode == "blend":
            return self._weight * first + (1 - self._weight) * second
        far = np.linalg.norm(obs["goal"], axis=1, keepdims=True) > self._distance
        return np.where(far, first, second)

    def looks(self, ids: np.ndarray) -> np.ndarray:
        return np.any([policy.looks(ids) for policy in self._policies.values()], axis=0)

    def tells(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        return {
            f"{name}/{key}": value
            for name, policy in self._policies.items()
            for key, value in checked_tells(policy, ids).items()
        }

    def identity(self) -> dict[str, Any]:
        return {name: policy.identity() for name, policy in self._policies.items()}

    def state_dict(self, ids: np.ndarray) -> dict[str, Any]:
        return {name: policy.state_dict(ids) for name, policy in self._policies.items()}

    def load_state_dict(self, state: Mapping[str, Any], ids: np.ndarray) -> None:
        for name, policy in self._policies.items():
            policy.load_state_dict(state[name], ids)

    def close(self) -> None:
        for policy in self._policies.values():
            policy.close()

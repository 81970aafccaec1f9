"""A base policy that swings one joint to and fro, whatever it sees."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from so101rl.base_policies.base import BasePolicy
from so101rl.errors import ConfigError, check_positive


class Wiggle(BasePolicy):
    """Swings with `amplitude` and `period`, each environment in its own time.

    Args:
        joint: which element of the action.
        amplitude: largest action, in [0, 1].
        period: control steps of a swing.
        n_envs: number of environments.
        n_threads: unused.
        action_names: names of the action's elements.
    """

    def __init__(
        self,
        *,
        joint: str,
        amplitude: float,
        period: float,
        n_envs: int,
        n_threads: int,
        action_names: Sequence[str],
    ):
        del n_threads
        if joint not in action_names:
            expected = f"one of {', '.join(action_names)}"
            raise ConfigError("base_policy.joint", got=joint, expected=expected)
        check_positive({"base_policy.period": period})
        self._joint = action_names.index(joint)
        self._size = len(action_names)
        self._amplitude, self._period = amplitude, period
        self._steps = np.zeros(n_envs)

    def reset(self, ids: np.ndarray, seeds: np.ndarray) -> None:
        del seeds  # it draws no random numbers
        self._steps[ids] = 0

    def act(self, obs: Mapping[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        del obs  # what it looked at would stand in `needs`
        action = np.zeros((len(ids), self._size))
        phase = 2 * np.pi * self._steps[ids] / self._period
        action[:, self._joint] = self._amplitude * np.sin(phase)
        self._steps[ids] += 1
        return action

    def tells(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        return {"phase": (self._steps[ids, None] / self._period) % 1}

    def state_dict(self, ids: np.ndarray) -> dict[str, Any]:
        return {"steps": self._steps[ids]}

    def load_state_dict(self, state: Mapping[str, Any], ids: np.ndarray) -> None:
        self._steps[ids] = state["steps"]

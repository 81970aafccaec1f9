"""A base policy that swings one joint to and fro, whatever it sees."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from so101rl.base_policies.base import BasePolicy
from so101rl.errors import ConfigError, check_positive
from so101rl.robots import so101


class Wiggle(BasePolicy):
    """Swings with `amplitude` and `period`, each environment in its own time.

    Args:
        joint: which joint, counted from the base.
        amplitude: largest action, in [0, 1].
        period: control steps of a swing.
        n_envs: largest batch it is asked about.
        n_threads: unused.
    """

    def __init__(
        self,
        *,
        joint: int,
        amplitude: float,
        period: float,
        n_envs: int,
        n_threads: int,
    ):
        del n_threads
        if joint not in range(so101.N_JOINTS):
            raise ConfigError("base_policy.joint", got=joint, expected="0 to 5")
        check_positive({"base_policy.period": period})
        self._joint, self._amplitude, self._period = joint, amplitude, period
        self._steps = np.zeros(n_envs)

    def reset(self, ids: np.ndarray) -> None:
        self._steps[ids] = 0

    def act(self, obs: Mapping[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        del obs  # what it looked at would stand in `needs`
        action = np.zeros((len(ids), so101.N_JOINTS))
        phase = 2 * np.pi * self._steps[ids] / self._period
        action[:, self._joint] = self._amplitude * np.sin(phase)
        self._steps[ids] += 1
        return action

    def state_dict(self) -> dict[str, Any]:
        return {"steps": self._steps.copy()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        self._steps[:] = state["steps"]

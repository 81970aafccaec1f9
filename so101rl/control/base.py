"""The interface of controls: what the elements of an action mean."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any

import numpy as np


class Control(ABC):
    """Turns actions into servo targets; `a` is the action's size, `j` that of a robot.

    Attributes:
        names: names of the action's elements; their number is the size of every action.
    """

    names: tuple[str, ...]

    def reset(self, ids: np.ndarray) -> None:
        """Forget earlier commands of the environments `ids` (k,), before an episode."""
        del ids

    @abstractmethod
    def command(
        self, action: np.ndarray, *, measured: np.ndarray, target: np.ndarray
    ) -> np.ndarray:
        """Return servo targets (n, j) [rad].

        Args:
            action: actions (n, a) in [-1, 1].
            measured: measured joint angles (n, j) [rad].
            target: the targets that were sent last (n, j) [rad].
        """

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next commands depend on."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        del state

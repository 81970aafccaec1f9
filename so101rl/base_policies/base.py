"""The seam between a base policy and everything else."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from so101rl import robot
from so101rl.arrays import clip
from so101rl.errors import DivergedError, So101Error


class BadBasePolicyError(So101Error):
    """A base policy that returned something that is not an action."""


class BasePolicy(ABC):
    """Proposes actions for a batch of environments.

    Attributes:
        needs: names of the observations it reads.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    def reset(self, ids: np.ndarray) -> None:
        """Forget the episodes of the environments `ids` (k,)."""
        del ids

    @abstractmethod
    def act(self, obs: Mapping[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        """Propose actions.

        Args:
            obs: named observations of the environments `ids`, each (k, ...).
            ids: which environments they belong to (k,).

        Returns:
            Actions (k, 6) in [-1, 1], in units of `env.act_scale`.
        """

    def state_dict(self) -> dict[str, Any]:
        """Everything it remembers, as arrays and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Remember what `state_dict` returned."""
        del state


def checked_action(policy: BasePolicy, action: np.ndarray, n: int) -> np.ndarray:
    """The proposed action, clipped to [-1, 1] (n, 6).

    Raises:
        BadBasePolicyError: it has the wrong shape.
        DivergedError: it is not finite. A run must not go on with a made-up action in
            its place.
    """
    name = type(policy).__name__
    action = np.asarray(action, float)
    if action.shape != (n, robot.N_JOINTS):
        raise BadBasePolicyError(
            f"base policy {name} returned an action of shape {action.shape}; "
            f"expected {(n, robot.N_JOINTS)}"
        )
    if not np.isfinite(action).all():
        row = int(np.argwhere(~np.isfinite(action))[0, 0])
        point = f"the action of base policy {name}"
        raise DivergedError(point, str(action[row]), env=row)
    return clip(action, -1.0, 1.0)

"""The seam between a base policy and everything else."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from so101rl.robots.actions import checked_action


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

    def checked_act(self, obs: Mapping[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        """`act`, clipped to [-1, 1]; what is no action is refused by name."""
        what = f"action of base policy {type(self).__name__}"
        return checked_action(self.act(obs, ids), len(ids), what)

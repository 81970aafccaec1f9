"""The interface of base policies."""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from so101rl.robots.actions import checked_action


class BasePolicy(ABC):
    """Proposes actions for a batch of environments.

    Attributes:
        needs: names of the observations that `act` reads.
    """

    needs: ClassVar[frozenset[str]] = frozenset()

    def reset(self, ids: np.ndarray) -> None:
        """Reset the policy's state for environments `ids` (k,), before an episode."""
        del ids

    @abstractmethod
    def act(self, obs: Mapping[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        """Propose actions.

        Args:
            obs: named observations of the environments `ids`, each (k, ...).
            ids: indices of these environments (k,).

        Returns:
            Actions (k, 6) in [-1, 1], in units of `env.act_scale`.
        """

    def state_dict(self) -> dict[str, Any]:
        """Return the policy's state as arrays and plain values."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        del state

    def checked_act(self, obs: Mapping[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        """Return the actions of `act`, checked and clipped by `checked_action`."""
        what = f"action of base policy {type(self).__name__}"
        return checked_action(self.act(obs, ids), len(ids), what)

"""What is asked for residuals: nothing learned yet, or a model of Stable-Baselines3."""

from typing import Any, Protocol

import numpy as np

from so101rl.errors import So101Error
from so101rl.robots import so101


class MemoryMismatchError(So101Error):
    """A recurrent policy that remembers other episodes than it is asked about."""

    def __init__(self, remembered: int, asked: int):
        """Say what would be right."""
        super().__init__(
            f"this policy is recurrent and remembers {remembered} episodes, but got "
            f"{asked} observations; call reset() where other episodes begin"
        )


class Policy(Protocol):
    """Proposes residuals for a batch of environments."""

    def reset(self, ids: np.ndarray | None = None) -> None:
        """Forget the episodes of the environments `ids` (k,); None: of all."""

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Residuals (n, 6) in [-1, 1] for observations (n, d), one row per env."""


class NoResidual:
    """The base policy alone: all residuals are zero."""

    def reset(self, ids: np.ndarray | None = None) -> None:
        """Nothing to forget."""

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Zeros (n, 6)."""
        return np.zeros((len(obs), so101.N_JOINTS))


class ModelPolicy:
    """A model's residuals without exploration; recurrent ones remember the episode.

    Args:
        model: a model of Stable-Baselines3 or sb3-contrib.
    """

    def __init__(self, model: Any):
        self.model = model
        self._state: Any = None
        self._starts: np.ndarray | None = None  # which episodes begin now (n,)

    def reset(self, ids: np.ndarray | None = None) -> None:
        """Forget the episodes of the environments `ids` (k,); None: of all."""
        if ids is None or self._state is None:
            self._state = self._starts = None
        elif self._starts is not None:
            self._starts[ids] = True

    def act(self, obs: np.ndarray) -> np.ndarray:
        """Residuals (n, 6) for observations (n, d)."""
        starts = np.ones(len(obs), bool) if self._starts is None else self._starts
        if self._state is not None and len(starts) != len(obs):
            raise MemoryMismatchError(len(starts), len(obs))
        action, self._state = self.model.predict(
            obs, state=self._state, episode_start=starts, deterministic=True
        )
        self._starts = np.zeros(len(obs), bool)
        return action

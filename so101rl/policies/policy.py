"""Policies: sources of residuals for a batch of environments."""

from typing import Any, Protocol

import numpy as np

from so101rl.envs.observations import LearnerObs, batch_size
from so101rl.errors import So101Error


class MemoryMismatchError(So101Error):
    """A recurrent policy gets observations of another number of episodes."""

    def __init__(self, episodes: int, observations: int):
        """Name both numbers and what to do."""
        super().__init__(
            f"this policy is recurrent and remembers {episodes} episodes, but got "
            f"{observations} observations; call reset() where other episodes begin"
        )


class Policy(Protocol):
    """Proposes residuals for a batch of environments."""

    def reset(self, ids: np.ndarray | None = None) -> None:
        """Start new episodes in the environments `ids` (k,); None: in all."""

    def act(self, obs: LearnerObs) -> np.ndarray:
        """Return residuals (n, a) in [-1, 1] for the observations of n environments."""


class NoResidual:
    """The base policy alone: every residual is zero.

    Args:
        n_actions: number of elements of an action.
    """

    def __init__(self, n_actions: int):
        self._n_actions = n_actions

    def reset(self, ids: np.ndarray | None = None) -> None:
        """Do nothing: there is no state."""

    def act(self, obs: LearnerObs) -> np.ndarray:
        """Return zeros (n, a)."""
        return np.zeros((batch_size(obs), self._n_actions))


class ModelPolicy:
    """A trained model without exploration; a recurrent one remembers the episode.

    Args:
        model: a model of Stable-Baselines3 or sb3-contrib.
    """

    def __init__(self, model: Any):
        self.model = model
        self._state: Any = None
        self._starts: np.ndarray | None = None  # whether an episode begins now (n,)

    def reset(self, ids: np.ndarray | None = None) -> None:
        """Start new episodes in the environments `ids` (k,); None: in all."""
        if ids is None or self._state is None:
            self._state = self._starts = None
        elif self._starts is not None:
            self._starts[ids] = True

    def act(self, obs: LearnerObs) -> np.ndarray:
        """Return residuals (n, a) for the observations of n environments."""
        n = batch_size(obs)
        starts = np.ones(n, bool) if self._starts is None else self._starts
        if self._state is not None and len(starts) != n:
            raise MemoryMismatchError(len(starts), n)
        action, self._state = self.model.predict(
            obs, state=self._state, episode_start=starts, deterministic=True
        )
        self._starts = np.zeros(n, bool)
        return action

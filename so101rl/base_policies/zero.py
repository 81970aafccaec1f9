"""The base policy that does nothing: plain reinforcement learning."""

from collections.abc import Mapping, Sequence

import numpy as np

from so101rl.base_policies.base import BasePolicy


class Zero(BasePolicy):
    """Propose zero actions: the targets stay.

    Args:
        n_envs: unused.
        n_threads: unused.
        action_names: names of the action's elements.
    """

    def __init__(self, *, n_envs: int, n_threads: int, action_names: Sequence[str]):
        del n_envs, n_threads
        self._size = len(action_names)

    def act(self, obs: Mapping[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        del obs
        return np.zeros((len(ids), self._size))

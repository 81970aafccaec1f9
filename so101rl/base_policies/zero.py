"""The base policy that does nothing: plain reinforcement learning."""

from collections.abc import Mapping

import numpy as np

from so101rl.base_policies.base import BasePolicy
from so101rl.robots import so101


class Zero(BasePolicy):
    """Propose zero actions: the joint targets stay.

    Args:
        n_envs: unused.
        n_threads: unused.
    """

    def __init__(self, *, n_envs: int, n_threads: int):
        del n_envs, n_threads

    def act(self, obs: Mapping[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        del obs
        return np.zeros((len(ids), so101.N_JOINTS))

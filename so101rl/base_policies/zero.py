"""The base policy of plain reinforcement learning."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from so101rl import robot
from so101rl.base_policies.base import BasePolicy


class Zero(BasePolicy):
    """Proposes not to move the joint targets.

    Args:
        **batch: `n_envs` and `n_threads`, which it does not need.
    """

    def __init__(self, **batch: Any):
        del batch

    def act(self, obs: Mapping[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        del obs
        return np.zeros((len(ids), robot.N_JOINTS))

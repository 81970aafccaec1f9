"""A base policy in a package of its own."""

from collections.abc import Mapping, Sequence

import numpy as np

from so101rl.base_policies.base import BasePolicy


class Reach(BasePolicy):
    """Turns the base joint towards the sheet.

    Args:
        gain: action per angle to the sheet [1/rad].
        n_envs: unused.
        n_threads: unused.
        action_names: names of the action's elements; the first one turns the base.
    """

    needs = frozenset({"ee_pos", "object_pose"})

    def __init__(
        self, *, gain: float, n_envs: int, n_threads: int, action_names: Sequence[str]
    ):
        del n_envs, n_threads
        self._gain, self._size = gain, len(action_names)

    def act(self, obs: Mapping[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        tip, sheet = obs["ee_pos"], obs["object_pose"]
        angle = np.arctan2(sheet[:, 1], sheet[:, 0]) - np.arctan2(tip[:, 1], tip[:, 0])
        action = np.zeros((len(ids), self._size))
        action[:, 0] = np.clip(-self._gain * angle, -1, 1)
        return action

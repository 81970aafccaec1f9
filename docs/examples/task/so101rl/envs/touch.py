"""Bring the fingertip to the middle of the sheet, and no more."""

from typing import Any

import numpy as np

from so101rl.arrays import norm
from so101rl.envs import rewards
from so101rl.envs.base import Obs, TaskEnv
from so101rl.errors import check_positive


class Touch(TaskEnv):
    """Success: the fingertip is within `radius` of the sheet's middle.

    Args:
        radius: how near counts as touched [m].
        **env: everything of `TaskEnv`.
    """

    def __init__(self, *, radius: float, **env: Any):
        check_positive({"env.radius": radius})
        self._radius = radius
        self._now, self._before = np.zeros((2, env["n_envs"]))
        super().__init__(**env)

    def place(self, ids: np.ndarray, start: np.ndarray) -> None:
        pose = np.zeros((len(ids), 7))
        pose[:, :2] = start[:, :2]
        pose[:, 2] = self.scene.object_size[2] / 2
        pose[:, 3], pose[:, 6] = np.cos(start[:, 2] / 2), np.sin(start[:, 2] / 2)
        self.hardware.object.place(ids, pose)

    def reward_terms(self) -> dict[str, np.ndarray]:
        return {
            "progress": rewards.decrease(self._before, self._now),
            "success": self.success().astype(float),
        }

    def success(self) -> np.ndarray:
        return self._now < self._radius

    def failure_class(self) -> np.ndarray:
        near = self._now < 2 * self._radius
        return np.where(near, "timed_out", "never_touched")

    def features(self, obs: Obs) -> Obs:
        return {
            "tip_to_object": obs["ee_pos"] - obs["object_pose"][:, :3],
            "servo_error": obs["target_qpos"] - obs["qpos"],
        }

    def update(self) -> None:
        self._before, self._now = self._now, self._distance()

    def forget(self, ids: np.ndarray) -> None:
        self._now[ids] = self._distance()[ids]

    def memory(self) -> dict[str, np.ndarray]:
        return {"distance": self._now}

    def metrics(self) -> dict[str, np.ndarray]:
        return {
            "distance_m": self._now.copy(),
            "yaw_error_rad": np.zeros(self.num_envs),  # any yaw will do
        }

    def _distance(self) -> np.ndarray:
        """From the fingertip to the sheet's middle (n,) [m], without sensor noise."""
        qpos, _ = self.hardware.arm.read()
        return norm(self.kinematics.fk(qpos)[0] - self.hardware.object.read()[:, :3])

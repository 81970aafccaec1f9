"""Push a cube onto a spot on the table."""

from collections.abc import Mapping
from typing import Any, ClassVar

import numpy as np

from so101rl.arrays import norm
from so101rl.envs import rewards
from so101rl.envs.base import TaskEnv
from so101rl.envs.observations import Obs
from so101rl.envs.task import Number

MIN_TRAVEL = 0.002  # [m] a cube that moved less was never touched


class CubePush(TaskEnv):
    """Success: the middle of the cube is over the spot.

    Args:
        reach_scale: distance of the tip at which the reach cost saturates [m].
        **env: arguments of `TaskEnv`; a start is the cube's x [m], y [m], yaw [rad].
    """

    numbers = (
        Number(
            name="distance_m", title="distance to the spot", unit="mm", factor=1000.0
        ),
    )
    failures: ClassVar[Mapping[str, str]] = {
        "never_touched": "The fingertip does not reach the cube.",
        "missed": "The cube was pushed, but not onto the spot.",
    }
    instruction = "push the cube onto the spot"

    def __init__(self, *, reach_scale: float, **env: Any):
        parts, n = env["scene"].parts, env["n_envs"]
        self._cube, self._spot = parts["cube"], parts["spot"]
        self._reach_scale = reach_scale
        self._now, self._before = np.zeros(n), np.zeros(n)
        self._start = np.zeros((n, 2))
        super().__init__(**env)

    def place(self, ids: np.ndarray, start: np.ndarray) -> None:
        pose = np.tile(self._cube.rest_pose, (len(ids), 1))
        pose[:, :2] = start[:, :2]
        pose[:, 3], pose[:, 6] = np.cos(start[:, 2] / 2), np.sin(start[:, 2] / 2)
        self.hardware.objects.place(ids, {"cube": pose})

    def reward_terms(self) -> dict[str, np.ndarray]:
        tip = norm(self.obs["tip_to_cube"])
        return {
            "reach": -rewards.closeness(tip, self._reach_scale),
            "progress": rewards.decrease(self._before, self._now),
            "success": self.success().astype(float),
        }

    def success(self) -> np.ndarray:
        return self._now < self._spot.radius

    def failure_class(self) -> np.ndarray:
        moved = norm(self.poses["cube"][:, :2] - self._start)
        return np.where(moved < MIN_TRAVEL, "never_touched", "missed")

    def features(self, obs: Obs) -> dict[str, np.ndarray]:
        return {
            "tip_to_cube": obs["ee_pos"] - obs["cube_pose"][:, :3],
            "servo_error": obs["target_qpos"] - obs["qpos"],
        }

    def goal(self, objects: Mapping[str, np.ndarray]) -> np.ndarray:
        goal = np.zeros((len(objects["cube"]), 3))
        goal[:, :2] = self._spot.centre - objects["cube"][:, :2]
        return goal

    def metrics(self) -> dict[str, np.ndarray]:
        return {"distance_m": self._now.copy()}

    # What a task remembers from step to step; a run that resumes needs all of it.

    def update(self) -> None:
        self._before, self._now = self._now, norm(self.goal(self.poses))

    def forget(self, ids: np.ndarray) -> None:
        cube = self.hardware.objects.read()["cube"][ids]
        self._start[ids] = cube[:, :2]
        self._now[ids] = norm(self.goal({"cube": cube}))

    def memory(self) -> dict[str, np.ndarray]:
        return {"distance": self._now, "start": self._start}

"""Push a sheet of paper into a taped square and leave it there.

The square accepts the sheet at 0, 90, 180 and 270 degrees, so the yaw error is the
distance to the nearest accepted yaw, in reward, base policy and features alike.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from so101rl.arrays import norm
from so101rl.envs import rewards
from so101rl.envs.base import Obs, TaskEnv
from so101rl.errors import So101Error, check_positive
from so101rl.robots.kinematics import Kinematics

QUARTER = np.pi / 2
TOUCHED = 0.005  # [m] a sheet that moved less was not touched
ERRORS = ("outside", "yaw", "distance")  # what is still wrong: [m], [rad], [m]
REACHED = 0.005  # [m] a point counts as reachable when the fingertip gets this near


class InfeasibleError(So101Error):
    """A layout that no policy can solve."""

    def __init__(self, problems: Sequence[str]):
        """List what is impossible, with the numbers."""
        reasons = "; ".join(problems)
        super().__init__(
            f"this layout cannot be solved: {reasons}.\n"
            "env.check_feasibility=false builds it all the same"
        )


class PaperPush(TaskEnv):
    """Success: all four corners inside and the sheet at rest for `hold_steps`.

    Args:
        hold_steps: control steps that the sheet has to lie still inside.
        rest_speed: a corner slower than this lies still [m/s].
        reach_scale: distance of the tip at which the reach cost saturates [m].
        near: distance of the centres under which a failure is one of yaw [m].
        stuck_steps: control steps without motion after which a sheet is jammed.
        **env: everything of `TaskEnv`.
    """

    def __init__(
        self,
        *,
        hold_steps: int,
        rest_speed: float,
        reach_scale: float,
        near: float,
        stuck_steps: int,
        **env: Any,
    ):
        positive = {
            "env.hold_steps": hold_steps,
            "env.rest_speed": rest_speed,
            "env.reach_scale": reach_scale,
            "env.near": near,
            "env.stuck_steps": stuck_steps,
        }
        check_positive(positive)
        n, size = env["n_envs"], env["scene"].object_size
        signs = np.array([[1, -1, -1, 1], [1, 1, -1, -1]])
        self._local_corners = signs * np.asarray(size[:2])[:, None] / 2
        self._hold_steps, self._rest_speed = hold_steps, rest_speed
        self._reach_scale, self._near, self._stuck_steps = (
            reach_scale,
            near,
            stuck_steps,
        )
        self._corners = np.zeros((n, 4, 2))
        self._held, self._still = np.zeros(n, int), np.zeros(n, int)
        self._travel, self._closest = np.zeros(n), np.zeros(n)
        self._now = {name: np.zeros(n) for name in ERRORS}
        self._before = self._now
        super().__init__(**env)

    # ---- geometry --------------------------------------------------------------

    def corners(self, pose: np.ndarray, yaw: np.ndarray) -> np.ndarray:
        """Corners (n, 4, 2) [m] of sheets, relative to the square.

        Args:
            pose: where they lie (n, 7).
            yaw: their yaw (n,) [rad].
        """
        cos, sin = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
        x, y = self._local_corners
        corners = np.empty((len(pose), 4, 2))
        corners[:, :, 0] = cos * x - sin * y
        corners[:, :, 1] = sin * x + cos * y
        corners += (pose[:, :2] - self.scene.square_centre)[:, None]
        return corners

    def outside(self, corners: np.ndarray) -> np.ndarray:
        """How far the corners (n, 4, 2) stick out, summed over both axes (n,) [m]."""
        reach = np.maximum.reduce(np.abs(corners), axis=1)
        beyond = np.maximum(reach - self.scene.square_side / 2, 0)
        return np.add.reduce(beyond, axis=1)

    # ---- the five hooks ----------------------------------------------------------

    def place(self, ids: np.ndarray, start: np.ndarray) -> None:
        pose = np.zeros((len(ids), 7))
        pose[:, :2] = start[:, :2]
        pose[:, 2] = self.scene.object_size[2] / 2
        pose[:, 3], pose[:, 6] = np.cos(start[:, 2] / 2), np.sin(start[:, 2] / 2)
        self.hardware.object.place(ids, pose)

    def reward_terms(self) -> dict[str, np.ndarray]:
        tip = norm(self.obs["tip_to_object"])
        return {
            "reach": -rewards.closeness(tip, self._reach_scale),
            "progress": rewards.decrease(self._before["outside"], self._now["outside"]),
            "orientation": rewards.decrease(self._before["yaw"], self._now["yaw"]),
            "outside": -self._now["outside"],
            "success": self.success().astype(float),
            "time": -np.ones(self.num_envs),
        }

    def success(self) -> np.ndarray:
        return self._held >= self._hold_steps

    def failure_class(self) -> np.ndarray:
        distance = self._now["distance"]
        # Would it fit at this yaw if it lay in the middle?
        centred = self.true_pose.copy()
        centred[:, :2] = self.scene.square_centre
        fits = self._errors(centred)[1]["outside"] <= 0
        choices = {
            "never_touched": self._travel < TOUCHED,
            "wrong_yaw": (distance < self._near) & ~fits,
            "overshot": distance > self._closest + self._near,
            "jammed": self._still >= self._stuck_steps,
        }
        return np.select(list(choices.values()), list(choices), default="timed_out")

    def features(self, obs: Obs) -> Obs:
        yaw = yaw_of(obs["object_pose"][:, 3:])
        error = yaw_error(yaw)
        tip = obs["ee_pos"] - obs["object_pose"][:, :3]
        cos, sin = np.cos(yaw), np.sin(yaw)
        local = tip.copy()
        local[:, 0] = cos * tip[:, 0] + sin * tip[:, 1]
        local[:, 1] = cos * tip[:, 1] - sin * tip[:, 0]
        direction = np.empty((len(yaw), 2))
        direction[:, 0], direction[:, 1] = np.sin(error), np.cos(error)
        return {
            "yaw_error": error[:, None],
            "yaw_error_sin_cos": direction,
            "tip_to_object": tip,
            "tip_in_object": local,
            "servo_error": obs["target_qpos"] - obs["qpos"],
        }

    def check_feasibility(self) -> None:
        problems = []
        width, height = self.scene.object_size[:2]
        side = self.scene.square_side
        # The smallest axis-aligned square around a rectangle is the one at yaw 0.
        if max(width, height) > side:
            problems.append(
                f"sheet {1e3 * width:.0f} x {1e3 * height:.0f} mm cannot fit the "
                f"{1e3 * side:.0f} x {1e3 * side:.0f} mm square at any yaw"
            )
        places = {
            "start": self.start_pose[:2],
            "square": np.asarray(self.scene.square_centre),
        }
        points = np.array([[x, y, 0.0] for x, y in places.values()])
        got = Kinematics(n=len(points)).closest(points, self.home_qpos)
        for name, point, tip in zip(places, points, got, strict=True):
            if np.linalg.norm(point - tip) > REACHED:
                problems.append(
                    f"the {name} is {np.linalg.norm(point):.2f} m from the arm's base, "
                    f"the fingertip gets only to {np.linalg.norm(tip[:2]):.2f} m"
                )
        start = np.array([[*self.start_pose[:2], 0, 0, 0, 0, 0]])
        start[0, [3, 6]] = (
            np.cos(self.start_pose[2] / 2),
            np.sin(self.start_pose[2] / 2),
        )
        if not problems and self._errors(start)[1]["outside"][0] <= 0:
            problems.append("the nominal start is already solved")
        if problems:
            raise InfeasibleError(problems)

    # ---- memory --------------------------------------------------------------

    def update(self) -> None:
        corners, now = self._errors(self.true_pose)
        moved = np.maximum.reduce(norm(corners - self._corners), axis=1)
        at_rest = moved * self.control_hz < self._rest_speed
        solved = (now["outside"] <= 0) & at_rest
        self._still = np.where(at_rest, self._still + 1, 0)
        self._held = np.where(solved, self._held + 1, 0)
        self._travel += moved
        self._closest = np.minimum(self._closest, now["distance"])
        self._corners, self._before, self._now = corners, self._now, now

    def forget(self, ids: np.ndarray) -> None:
        self._corners[ids], now = self._errors(self.hardware.object.read()[ids])
        for name, value in now.items():
            self._now[name][ids] = value
        self._held[ids] = self._still[ids] = 0
        self._travel[ids] = 0
        self._closest[ids] = now["distance"]

    def memory(self) -> dict[str, np.ndarray]:
        own = {
            "corners": self._corners,
            "held": self._held,
            "still": self._still,
            "travel": self._travel,
            "closest": self._closest,
        }
        return own | self._now  # `_before` is overwritten before it is read

    def metrics(self) -> dict[str, np.ndarray]:
        # Copies, because a reset in the same step writes into the originals.
        return {
            "distance_m": self._now["distance"].copy(),
            "yaw_error_rad": self._now["yaw"].copy(),
        }

    def _errors(self, pose: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Corners (k, 4, 2) and errors (k,) of sheets at `pose` (k, 7)."""
        yaw = yaw_of(pose[:, 3:])
        corners = self.corners(pose, yaw)
        return corners, {
            "outside": self.outside(corners),
            "yaw": np.abs(yaw_error(yaw)),
            "distance": norm(pose[:, :2] - self.scene.square_centre),
        }


def yaw_of(quat: np.ndarray) -> np.ndarray:
    """Yaw (n,) [rad] of quaternions (n, 4) wxyz."""
    w, x, y, z = quat.T
    return np.arctan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))


def yaw_error(yaw: np.ndarray) -> np.ndarray:
    """Signed distance (n,) [rad] to the nearest quarter turn, in [-pi/4, pi/4]."""
    return yaw - QUARTER * np.round(yaw / QUARTER)

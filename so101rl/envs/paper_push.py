"""Push a sheet of paper into a taped square and leave it there.

The sheet may lie in the square at 0, 90, 180 or 270 degrees, so the yaw error is the
distance to the nearest of them, for rewards, features and base policies alike.
"""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import numpy as np

from so101rl.arrays import norm, yaw_of
from so101rl.envs import rewards
from so101rl.envs.base import TaskEnv
from so101rl.envs.observations import Obs
from so101rl.envs.task import Number
from so101rl.errors import So101Error, check_length, check_positive
from so101rl.robots.kinematics import Kinematics

QUARTER = np.pi / 2
MIN_TRAVEL = 0.005  # [m] a sheet that moved less was never touched
ERRORS = ("outside", "yaw", "distance")  # [m], [rad], [m]
SHEET, SQUARE = "object", "square"  # parts of the scene
REACH_TOLERANCE = 0.005  # [m] largest distance of the fingertip from a reachable point


class InfeasibleError(So101Error):
    """No policy can solve the layout."""

    def __init__(self, problems: Sequence[str]):
        """List the problems, each with its numbers."""
        super().__init__(
            f"this layout cannot be solved: {'; '.join(problems)}.\n"
            "env.check_feasibility=false builds it anyway"
        )


class PaperPush(TaskEnv):
    """Success: the sheet lies inside the square, at rest, for `hold_steps`.

    Args:
        hold_steps: control steps at rest inside the square that make a success.
        rest_speed: speed of the corners below which the sheet is at rest [m/s].
        reach_scale: distance of the tip at which the reach cost saturates [m].
        near: distance between the centres below which a failure is `wrong_yaw` [m].
        stuck_steps: control steps at rest after which a failure is `jammed`.
        **env: arguments of `TaskEnv`; a start is the sheet's x [m], y [m], yaw [rad].
    """

    numbers = (
        Number(
            name="distance_m", title="distance to the goal", unit="mm", factor=1000.0
        ),
        Number(
            name="yaw_error_rad",
            title="yaw error",
            unit="degrees",
            factor=float(np.degrees(1)),
        ),
    )
    failures: ClassVar[Mapping[str, str]] = {
        "wrong_yaw": "The sheet is in its place, but turned so that it does not fit.",
        "timed_out": "The sheet is still on its way when the time is over: too slow.",
        "overshot": "The sheet was near the goal and was pushed past it.",
        "jammed": "The sheet lies still in a wrong place: pressed too hard, or left.",
        "never_touched": "The fingertip does not reach the sheet, or never presses.",
    }
    instruction = "push the sheet of paper into the taped square"

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
        check_positive(
            {
                "env.hold_steps": hold_steps,
                "env.rest_speed": rest_speed,
                "env.reach_scale": reach_scale,
                "env.near": near,
                "env.stuck_steps": stuck_steps,
            }
        )
        parts = env["scene"].parts
        self._sheet, self._square = parts[SHEET], parts[SQUARE]
        n, size = env["n_envs"], self._sheet.size
        check_length("env.start_pose", env["start_pose"], 3)
        signs = np.array([[1, -1, -1, 1], [1, 1, -1, -1]])
        self._local_corners = signs * np.asarray(size[:2])[:, None] / 2
        self._hold_steps, self._rest_speed = hold_steps, rest_speed
        self._reach_scale, self._near = reach_scale, near
        self._stuck_steps = stuck_steps
        self._corners = np.zeros((n, 4, 2))
        self._held, self._still = np.zeros(n, int), np.zeros(n, int)
        self._travel, self._closest = np.zeros(n), np.zeros(n)
        self._now = {name: np.zeros(n) for name in ERRORS}
        self._before = self._now
        super().__init__(**env)

    # ---- the five hooks ----------------------------------------------------------

    def place(self, ids: np.ndarray, start: np.ndarray) -> None:
        self.hardware.objects.place(ids, {SHEET: self._flat_pose(start)})

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
        # Whether the sheet would fit in the middle of the square at its yaw.
        centred = self.poses[SHEET].copy()
        centred[:, :2] = self._square.centre
        fits = self._errors(centred)[1]["outside"] <= 0
        choices = {
            "never_touched": self._travel < MIN_TRAVEL,
            "wrong_yaw": (distance < self._near) & ~fits,
            "overshot": distance > self._closest + self._near,
            "jammed": self._still >= self._stuck_steps,
        }
        return np.select(list(choices.values()), list(choices), default="timed_out")

    def features(self, obs: Obs) -> dict[str, np.ndarray]:
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

    def goal(self, objects: Mapping[str, np.ndarray]) -> np.ndarray:
        pose = objects[SHEET]
        goal = np.zeros((len(pose), 3))
        goal[:, :2] = self._square.centre - pose[:, :2]
        return goal

    def check_feasibility(self) -> None:
        problems = []
        (width, height, _), side = self._sheet.size, self._square.side
        # The smallest axis-aligned square around a rectangle is the one at yaw 0.
        if max(width, height) > side:
            problems.append(
                f"sheet {1e3 * width:.0f} x {1e3 * height:.0f} mm cannot fit the "
                f"{1e3 * side:.0f} x {1e3 * side:.0f} mm square at any yaw"
            )
        places = self.start_pose[:2], self._square.centre
        points = np.array([[x, y, 0.0] for x, y in places])
        tips = Kinematics(self.robot, n=2).closest(points, self.home_qpos)
        for name, point, tip in zip(("start", "square"), points, tips, strict=True):
            if np.linalg.norm(point - tip) > REACH_TOLERANCE:
                problems.append(
                    f"the {name} is {np.linalg.norm(point):.2f} m from the arm's base, "
                    f"the fingertip reaches only {np.linalg.norm(tip[:2]):.2f} m"
                )
        start = self._flat_pose(self.start_pose[None])
        if not problems and self._errors(start)[1]["outside"][0] <= 0:
            problems.append("the nominal start is already solved")
        if problems:
            raise InfeasibleError(problems)

    # ---- state -----------------------------------------------------------------

    def update(self) -> None:
        corners, now = self._errors(self.poses[SHEET])
        moved = np.maximum.reduce(norm(corners - self._corners), axis=1)
        at_rest = moved * self.control_hz < self._rest_speed
        solved = (now["outside"] <= 0) & at_rest
        self._still = np.where(at_rest, self._still + 1, 0)
        self._held = np.where(solved, self._held + 1, 0)
        self._travel += moved
        self._closest = np.minimum(self._closest, now["distance"])
        self._corners, self._before, self._now = corners, self._now, now

    def forget(self, ids: np.ndarray) -> None:
        self._corners[ids], now = self._errors(self.hardware.objects.read()[SHEET][ids])
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
        # Copies, because a reset in the same step overwrites the originals.
        return {
            "distance_m": self._now["distance"].copy(),
            "yaw_error_rad": self._now["yaw"].copy(),
        }

    def _flat_pose(self, start: np.ndarray) -> np.ndarray:
        """Return poses (k, 7) of sheets on the table at starts (k, 3): x, y, yaw."""
        pose = np.zeros((len(start), 7))
        pose[:, :2] = start[:, :2]
        pose[:, 2] = self._sheet.size[2] / 2
        pose[:, 3], pose[:, 6] = np.cos(start[:, 2] / 2), np.sin(start[:, 2] / 2)
        return pose

    def _errors(self, pose: np.ndarray) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Return corners (k, 4, 2) [m] and errors (k,) of sheets at `pose` (k, 7).

        Corners are relative to the square's centre. The error `outside` is how far they
        stick out of the square, summed over both axes [m].
        """
        yaw, offset = yaw_of(pose[:, 3:]), pose[:, :2] - self._square.centre
        cos, sin = np.cos(yaw)[:, None], np.sin(yaw)[:, None]
        x, y = self._local_corners
        corners = np.empty((len(pose), 4, 2))
        corners[:, :, 0] = cos * x - sin * y
        corners[:, :, 1] = sin * x + cos * y
        corners += offset[:, None]
        extent = np.maximum.reduce(np.abs(corners), axis=1)
        excess = np.maximum(extent - self._square.side / 2, 0)
        return corners, {
            "outside": np.add.reduce(excess, axis=1),
            "yaw": np.abs(yaw_error(yaw)),
            "distance": norm(offset),
        }


def yaw_error(yaw: np.ndarray) -> np.ndarray:
    """Return the signed distance (n,) [rad] to the nearest quarter turn."""
    return yaw - QUARTER * np.round(yaw / QUARTER)

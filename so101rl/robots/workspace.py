"""The part of the table that the fingertip of the SO-101 can reach."""

from functools import cache

import numpy as np

from so101rl.errors import So101Error
from so101rl.robots.kinematics import Kinematics
from so101rl.robots.so101 import ELBOW, LIFT, PAN_AXIS, SO101, WRIST

MIN_PITCH = np.radians(45)  # below this the hand touches the table, not the finger
GRID = 128  # sampled angles per joint
PITCHES = 10  # sampled pitches from MIN_PITCH to straight down
TOLERANCE = 0.004  # [m] largest height error of a tip that counts


class OutOfReachError(So101Error):
    """The fingertip does not reach a height."""


@cache
def reach(height: float = 0.0) -> tuple[float, float]:
    """Return the smallest and largest distance [m] of the fingertip from the pan axis.

    Sampled on a grid of joint angles, so accurate to a few millimetres. Collisions of
    the arm with itself are ignored.

    Args:
        height: height of the fingertip above the table [m].
    """
    arm = SO101()
    low, high = arm.limits
    lift, elbow, pitch = np.meshgrid(
        np.linspace(low[LIFT], high[LIFT], GRID),
        np.linspace(low[ELBOW], high[ELBOW], GRID),
        np.linspace(MIN_PITCH, np.pi / 2, PITCHES),
    )
    wrist = pitch - lift - elbow
    possible = (wrist > low[WRIST]) & (wrist < high[WRIST])
    qpos = np.zeros((int(possible.sum()), arm.n_joints))
    qpos[:, LIFT], qpos[:, ELBOW] = lift[possible], elbow[possible]
    qpos[:, WRIST] = wrist[possible]
    kinematics = Kinematics(arm, n=1024)
    tips = np.concatenate(
        [kinematics.fk(part)[0] for part in np.array_split(qpos, len(qpos) // 1024 + 1)]
    )
    at_height = np.abs(tips[:, 2] - height) < TOLERANCE
    if not at_height.any():
        raise OutOfReachError(
            f"the fingertip does not reach the height {height} m pointing down; "
            f"it reaches {tips[:, 2].min():.2f} to {tips[:, 2].max():.2f} m"
        )
    radius = np.hypot(*(tips[at_height, :2] - PAN_AXIS).T)
    return float(radius.min()), float(radius.max())

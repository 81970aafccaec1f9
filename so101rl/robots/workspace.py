"""Where the fingertip can touch the table."""

from functools import cache

import numpy as np

from so101rl.errors import So101Error
from so101rl.robots import so101
from so101rl.robots.kinematics import Kinematics

PAN, LIFT, ELBOW, WRIST = range(4)
PAN_AXIS = (0.0388353, 0.0)  # [m] x and y of the pan axis, base frame
MIN_PITCH = np.radians(
    45
)  # flatter than this the hand, not the finger, is on the table
GRID = 128  # angles per joint that are tried
PITCHES = 10  # angles between MIN_PITCH and straight down that are tried
TOLERANCE = 0.004  # [m] a tip this close to the height counts as being there


class OutOfReachError(So101Error):
    """A height that the fingertip cannot get to."""


@cache
def reach(height: float = 0.0) -> tuple[float, float]:
    """Smallest and largest distance [m] of the fingertip from the pan axis.

    Found by trying a grid of joint angles, so good to a few millimetres. Collisions of
    the arm with itself are not looked at.

    Args:
        height: Height of the fingertip above the table [m].
    """
    low, high = so101.joint_limits()
    lift, elbow, pitch = np.meshgrid(
        np.linspace(low[LIFT], high[LIFT], GRID),
        np.linspace(low[ELBOW], high[ELBOW], GRID),
        np.linspace(MIN_PITCH, np.pi / 2, PITCHES),
    )
    wrist = pitch - lift - elbow
    possible = (wrist > low[WRIST]) & (wrist < high[WRIST])
    qpos = np.zeros((int(possible.sum()), so101.N_JOINTS))
    qpos[:, LIFT], qpos[:, ELBOW] = lift[possible], elbow[possible]
    qpos[:, WRIST] = wrist[possible]
    kinematics = Kinematics(n=1024)
    tips = np.concatenate(
        [kinematics.fk(part)[0] for part in np.array_split(qpos, len(qpos) // 1024 + 1)]
    )
    there = np.abs(tips[:, 2] - height) < TOLERANCE
    if not there.any():
        raise OutOfReachError(
            f"the fingertip does not reach the height {height} m pointing down; "
            f"it reaches {tips[:, 2].min():.2f} to {tips[:, 2].max():.2f} m"
        )
    radius = np.hypot(tips[there, 0] - PAN_AXIS[0], tips[there, 1] - PAN_AXIS[1])
    return float(radius.min()), float(radius.max())

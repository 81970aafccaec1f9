"""Facts about the SO-101: joint names and order, sites and model file."""

import numpy as np

from so101rl.files import shipped
from so101rl.robots.robot import Robot

# Servo ids 1 to 6: the order on the bus, in LeRobot and in every array here.
JOINTS = (
    "shoulder_pan",
    "shoulder_lift",
    "elbow_flex",
    "wrist_flex",
    "wrist_roll",
    "gripper",
)
ARM_JOINTS = 5  # the first five move the fingertip, the sixth moves the other jaw

FINGERTIP = "fingertip"  # site: contact point of the fixed jaw when it points down
GRIPPERFRAME = "gripperframe"  # site: the official tool frame

PAN, LIFT, ELBOW, WRIST = range(4)
PAN_AXIS = (0.0388353, 0.0)  # [m] x and y of the pan axis, base frame
# Outline of the feet and the tower (m, 2) [m], base frame, y >= 0; it is symmetric.
_HALF_BASE = np.array(
    [(-0.022, 0.043), (-0.006, 0.043), (0.015, 0.055), (0.024, 0.055), (0.064, 0.034)]
)
BASE = np.concatenate([_HALF_BASE, _HALF_BASE[::-1] * (1, -1)])


class SO101(Robot):
    """The SO-101 follower: five joints and a gripper."""

    def __init__(self) -> None:
        super().__init__(
            name="SO-101",
            model_path=shipped("assets") / "so101.xml",
            joints=JOINTS,
            tip=FINGERTIP,
        )

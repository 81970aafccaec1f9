"""Facts about the SO-101: names, order, limits and where its model lies."""

import mujoco
import numpy as np

from so101rl.files import shipped

MODEL_PATH = shipped("assets") / "so101.xml"

# Servo ids 1 to 6, in this order on the bus, in LeRobot and in every array here.
JOINTS = (
    "shoulder_pan",
    "shoulder_lift",
    "elbow_flex",
    "wrist_flex",
    "wrist_roll",
    "gripper",
)
N_JOINTS = len(JOINTS)
ARM_JOINTS = 5  # the first five move the fingertip, the sixth only the jaw

FINGERTIP = "fingertip"  # site: where the fixed jaw touches when it looks down
GRIPPERFRAME = "gripperframe"  # site: the official tool frame
DRAWN_GROUP = 2  # geom group of what is seen; group 3 is what touches


def spec() -> mujoco.MjSpec:
    """A fresh, editable copy of the arm's model, without actuators."""
    return mujoco.MjSpec.from_file(str(MODEL_PATH))


def bare_model() -> mujoco.MjModel:
    """The arm alone with nothing to draw, for kinematics and dynamics."""
    bare = spec()
    strip_look(bare)
    return bare.compile()


def joint_limits() -> tuple[np.ndarray, np.ndarray]:
    """Lower and upper joint limits, each (6,) [rad], from the model file."""
    model = bare_model()
    limits = np.array([model.joint(name).range for name in JOINTS])
    return limits[:, 0].copy(), limits[:, 1].copy()


def strip_look(spec: mujoco.MjSpec) -> None:
    """Delete the geoms that are only drawn; they cost a quarter of a physics step.

    Drawn geoms are in group 2 and have no name. `qpos` keeps its layout, so a state of
    the stripped model can be shown with the full one.
    """
    for geom in list(spec.geoms):
        if geom.group == DRAWN_GROUP and not geom.name:
            spec.delete(geom)

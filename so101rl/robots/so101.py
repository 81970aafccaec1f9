"""Facts about the SO-101: joint names and order, limits, sites and model file."""

import mujoco
import numpy as np

from so101rl.files import shipped

MODEL_PATH = shipped("assets") / "so101.xml"

# Servo ids 1 to 6: the order on the bus, in LeRobot and in every array here.
JOINTS = (
    "shoulder_pan",
    "shoulder_lift",
    "elbow_flex",
    "wrist_flex",
    "wrist_roll",
    "gripper",
)
N_JOINTS = len(JOINTS)
ARM_JOINTS = 5  # the first five move the fingertip, the sixth moves the other jaw

FINGERTIP = "fingertip"  # site: contact point of the fixed jaw when it points down
GRIPPERFRAME = "gripperframe"  # site: the official tool frame
DRAWN_GROUP = 2  # of geoms that are only drawn; those of group 3 collide


def spec() -> mujoco.MjSpec:
    """Return a new, editable description of the arm, without actuators."""
    return mujoco.MjSpec.from_file(str(MODEL_PATH))


def bare_model() -> mujoco.MjModel:
    """Return the model of the arm alone without drawn geoms."""
    bare = spec()
    delete_drawn_geoms(bare)
    return bare.compile()


def joint_limits() -> tuple[np.ndarray, np.ndarray]:
    """Return lower and upper joint limits, each (6,) [rad], from the model file."""
    model = bare_model()
    lower, upper = np.array([model.joint(name).range for name in JOINTS]).T
    return lower.copy(), upper.copy()


def delete_drawn_geoms(spec: mujoco.MjSpec) -> None:
    """Delete the geoms that are only drawn; they take a quarter of a physics step.

    These are the geoms of group 2 without a name. The layout of `qpos` stays, so the
    full model can draw a state of the reduced one.
    """
    for geom in list(spec.geoms):
        if geom.group == DRAWN_GROUP and not geom.name:
            spec.delete(geom)

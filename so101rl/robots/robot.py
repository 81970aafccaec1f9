"""What any robot tells: its joints, their limits, its tool, its model."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import mujoco
import numpy as np

DRAWN_GROUP = 2  # of geoms that are only drawn; those of group 3 collide


@dataclass(frozen=True, kw_only=True)
class Robot:
    """A robot whose joints follow targets.

    Attributes:
        name: as figures and messages call it.
        model_path: MJCF file of the robot alone, without actuators.
        joints: names of the controlled joints, in the order of every array.
        tip: site of the tool's point in the model.
    """

    name: str
    model_path: Path
    joints: tuple[str, ...]
    tip: str

    @property
    def n_joints(self) -> int:
        """Number of controlled joints."""
        return len(self.joints)

    @cached_property
    def limits(self) -> tuple[np.ndarray, np.ndarray]:
        """Lower and upper joint limits, each (n_joints,) [rad], from the model."""
        model = self.bare_model()
        lower, upper = np.array([model.joint(name).range for name in self.joints]).T
        return lower.copy(), upper.copy()

    def spec(self) -> mujoco.MjSpec:
        """Return a new, editable description of the robot, without actuators."""
        return mujoco.MjSpec.from_file(str(self.model_path))

    def bare_model(self) -> mujoco.MjModel:
        """Return the model of the robot alone without drawn geoms."""
        bare = self.spec()
        delete_drawn_geoms(bare)
        return bare.compile()


def delete_drawn_geoms(spec: mujoco.MjSpec) -> None:
    """Delete the geoms that are only drawn; they take a quarter of a physics step.

    These are the geoms of group 2 without a name. The layout of `qpos` stays, so the
    full model can draw a state of the reduced one.
    """
    for geom in list(spec.geoms):
        if geom.group == DRAWN_GROUP and not geom.name:
            spec.delete(geom)

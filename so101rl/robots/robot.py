"""What any robot tells: its joints, their limits, its tool, its model."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import mujoco
import numpy as np

from so101rl.errors import ConfigError

DRAWN_GROUP = 2  # of geoms that are only drawn; those of group 3 collide
CONTROLLED = (int(mujoco.mjtJoint.mjJNT_HINGE), int(mujoco.mjtJoint.mjJNT_SLIDE))


@dataclass(frozen=True, kw_only=True)
class Robot:
    """A robot all of whose joints, hinges or slides with limits, follow targets.

    Attributes:
        name: as figures and messages call it.
        model_path: MJCF file of the robot alone, without actuators.
        joints: names of all joints of the model, in its order, as in every array.
        tip: site of the tool's point in the model.
    """

    name: str
    model_path: Path
    joints: tuple[str, ...]
    tip: str

    @property
    def n_joints(self) -> int:
        """Number of joints."""
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
        """Return the model of the robot alone without drawn geoms.

        Raises:
            ConfigError: there is no such model, or its joints or its tip are others.
        """
        try:
            bare = self.spec()
            delete_drawn_geoms(bare)
            model = bare.compile()
        except ValueError as error:  # MuJoCo's, for a missing or wrong file
            expected = f"an MJCF file of {self.name}; {' '.join(str(error).split())}"
            key = "env.robot.model_path"
            raise ConfigError(key, got=self.model_path, expected=expected) from error
        self._check(model)
        return model

    def _check(self, model: mujoco.MjModel) -> None:
        joints = [model.joint(i) for i in range(model.njnt)]
        names = [joint.name for joint in joints]
        if names != list(self.joints):
            expected = f"all joints of its model in order: {', '.join(names)}"
            got = ", ".join(self.joints)
            raise ConfigError(f"joints of {self.name}", got=got, expected=expected)
        for i, name in enumerate(names):
            if model.jnt_type[i] not in CONTROLLED or not model.jnt_limited[i]:
                expected = "only hinges and slides with a range"
                raise ConfigError(f"joints of {self.name}", got=name, expected=expected)
        sites = [model.site(i).name for i in range(model.nsite)]
        if self.tip not in sites:
            expected = f"a site of its model: {', '.join(filter(None, sites))}"
            raise ConfigError(f"tip of {self.name}", got=self.tip, expected=expected)


def delete_drawn_geoms(spec: mujoco.MjSpec) -> None:
    """Delete the geoms that are only drawn; they take a quarter of a physics step.

    These are the geoms of group 2 without a name. The layout of `qpos` stays, so the
    full model can draw a state of the reduced one.
    """
    for geom in list(spec.geoms):
        if geom.group == DRAWN_GROUP and not geom.name:
            spec.delete(geom)

"""The simulated world: robot, table, and the parts that stand on it.

Only the contact pairs of the configuration collide, each with its own friction. Without
pairs MuJoCo takes the larger friction of two geoms, so an object could not slip on the
table and stick to the robot.
"""

from dataclasses import asdict, dataclass, field

import mujoco
import numpy as np

from so101rl.errors import ConfigError, check_length, check_positive
from so101rl.robots.robot import Robot, delete_drawn_geoms
from so101rl.scene import appearance
from so101rl.scene.parts import DRAWN, Part

TABLE = "table"
CONDIMS = (1, 3, 4, 6)  # contact dimensions that MuJoCo knows


@dataclass(kw_only=True)
class Actuator:
    """One servo model for all joints.

    Attributes:
        kp: position gain [N m/rad].
        kv: velocity gain of the position loop [N m s/rad].
        damping: viscous plus back-EMF damping of the joint [N m s/rad].
        frictionloss: dry friction of the joint [N m].
        armature: reflected rotor inertia [kg m^2].
        max_torque: torque limit, both directions [N m].
    """

    kp: float
    kv: float
    damping: float
    frictionloss: float
    armature: float
    max_torque: float

    def __post_init__(self) -> None:
        key = "hardware.presets.*"
        check_positive({f"{key}.kp": self.kp, f"{key}.max_torque": self.max_torque})
        _check_not_negative({f"{key}.{name}": v for name, v in asdict(self).items()})


@dataclass(kw_only=True)
class ContactPair:
    """Two geoms that may touch.

    Attributes:
        geoms: names of the two geoms.
        friction: sliding friction coefficient of the pair.
        spin: torsional friction [m], roughly the radius of the contact patch.
        margin: distance at which the two surfaces already carry load [m].
        solref: contact time constant [s] and damping ratio.
        solimp: contact impedance: d0, dmax, width [m], midpoint, power.
        condim: dimension of the contact, 1, 3, 4 or 6; None: 4, or 1 without friction.
    """

    geoms: tuple[str, str]
    friction: float
    spin: float
    margin: float
    solref: tuple[float, float]
    solimp: tuple[float, float, float, float, float]
    condim: int | None = None

    def __post_init__(self) -> None:
        key = "env.scene.pairs.*"
        check_length(f"{key}.geoms", self.geoms, 2)
        check_length(f"{key}.solref", self.solref, 2)
        check_length(f"{key}.solimp", self.solimp, 5)
        names = ("friction", "spin", "margin")
        _check_not_negative({f"{key}.{name}": getattr(self, name) for name in names})
        if self.condim not in (None, *CONDIMS):
            expected = f"null or one of {', '.join(map(str, CONDIMS))}"
            raise ConfigError(f"{key}.condim", got=self.condim, expected=expected)


@dataclass(kw_only=True)
class Scene:
    """The simulated world without the arm.

    Attributes:
        parts: what stands or lies on the table, by name.
        pairs: contact pairs by name.
        impratio: ratio of friction's impedance to that of the normal direction.
        iterations: largest number of solver iterations.
    """

    parts: dict[str, Part]
    pairs: dict[str, ContactPair] = field(default_factory=dict)
    impratio: float
    iterations: int

    def __post_init__(self) -> None:
        for name, part in self.parts.items():
            check_length(f"env.scene.parts.{name}.rgba", part.rgba, 4)
            part.check(f"env.scene.parts.{name}")
        check_positive(
            {
                "env.scene.impratio": self.impratio,
                "env.scene.iterations": self.iterations,
            }
        )

    @property
    def free(self) -> dict[str, Part]:
        """The parts that move freely, by name, in the order of their poses."""
        return {name: part for name, part in self.parts.items() if part.free}


def _check_not_negative(values: dict[str, float]) -> None:
    for key, value in values.items():
        if value < 0:
            raise ConfigError(key, got=value, expected="at least 0")


def build_spec(
    scene: Scene,
    robot: Robot,
    actuator: Actuator,
    *,
    timestep: float,
    home_qpos: np.ndarray,
    delay_samples: int = 0,
    drawn: bool = False,
) -> mujoco.MjSpec:
    """Return the description of the world, from which `compile` makes the model.

    Args:
        scene: parts and contact pairs.
        robot: the robot at the table.
        actuator: the servo model.
        timestep: physics step [s].
        home_qpos: joint angles (j,) [rad] of the only keyframe, `home`.
        delay_samples: number of past commands, one per physics step, in a servo's
            buffer.
        drawn: whether to keep the geoms that are only drawn; physics is faster without
            them and states have the same layout.

    Returns:
        The world; its first j qpos, qvel and ctrl are the robot's joints in order.
    """
    spec = robot.spec()
    spec.modelname = "so101rl"
    if not drawn:
        delete_drawn_geoms(spec)
    appearance.add_appearance(spec)
    _set_options(spec, scene, timestep)
    _add_actuators(spec, robot, actuator, delay_samples)
    _add_table(spec)
    for name, part in scene.parts.items():
        _add_part(spec, part, name)
    _add_pairs(spec, scene)
    poses = [part.rest_pose for part in scene.free.values()]
    spec.add_key(
        name="home",
        qpos=np.concatenate([home_qpos, *poses]),
        ctrl=[float(q) for q in home_qpos],
    )
    return spec


def _set_options(spec: mujoco.MjSpec, scene: Scene, timestep: float) -> None:
    spec.option.timestep = timestep
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = scene.impratio
    spec.option.iterations = scene.iterations
    spec.option.jacobian = mujoco.mjtJacobian.mjJAC_DENSE


def _add_actuators(
    spec: mujoco.MjSpec, robot: Robot, actuator: Actuator, delay_samples: int
) -> None:
    for name in robot.joints:
        joint = spec.joint(name)
        joint.damping[0] = actuator.damping
        joint.frictionloss = actuator.frictionloss
        joint.armature = actuator.armature
        servo = spec.add_actuator(name=name, target=name)
        servo.trntype = mujoco.mjtTrn.mjTRN_JOINT
        servo.set_to_position(kp=actuator.kp, kv=actuator.kv)
        servo.forcelimited = True
        servo.nsample = delay_samples
        servo.forcerange = [-actuator.max_torque, actuator.max_torque]


def _add_table(spec: mujoco.MjSpec) -> None:
    spec.worldbody.add_geom(
        name=TABLE,
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[0.6, 0.6, 0.05],
        material=appearance.TABLE,
        **DRAWN,
    )


def _add_part(spec: mujoco.MjSpec, part: Part, name: str) -> None:
    joints = {
        joint.name for joint in spec.joints
    }  # MuJoCo lets a free joint repeat one
    try:
        part.add(spec, name)
        repeated = part.free and name in joints
    except ValueError as error:  # MuJoCo's only way to tell
        repeated = "repeated name" in str(error)
        if not repeated:
            raise
    if repeated:
        expected = "a name that robot, table and other parts do not use"
        raise ConfigError("env.scene.parts", got=name, expected=expected)


def _add_pairs(spec: mujoco.MjSpec, scene: Scene) -> None:
    names = {geom.name for geom in spec.geoms if geom.name}
    for name, pair in scene.pairs.items():
        for geom in pair.geoms:
            if geom not in names:
                raise ConfigError(
                    f"env.scene.pairs.{name}.geoms",
                    got=geom,
                    expected=f"one of {', '.join(sorted(names))}",
                )
        added = spec.add_pair(
            name=name,
            geomname1=pair.geoms[0],
            geomname2=pair.geoms[1],
            condim=pair.condim or (1 if pair.friction == 0 else 4),
        )
        added.friction = [pair.friction, pair.friction, pair.spin, 0.0001, 0.0001]
        added.margin = pair.margin
        added.solref = pair.solref
        added.solimp = pair.solimp

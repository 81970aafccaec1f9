"""The simulated world: arm, table, one free object and a taped square.

Only the contact pairs of the configuration collide, each with its own friction. Without
pairs MuJoCo takes the larger friction of two geoms, so a sheet could not slip on the
table and stick to the finger.
"""

from dataclasses import asdict, dataclass, field
from typing import Any

import mujoco
import numpy as np

from so101rl.errors import ConfigError, check_length, check_positive
from so101rl.robots import so101
from so101rl.scene import appearance

OBJECT = "object"  # body, joint and geom name of the free object
TABLE = "table"
# Of geoms that collide only in the contact pairs.
DRAWN: dict[str, Any] = {"contype": 0, "conaffinity": 0, "group": so101.DRAWN_GROUP}


@dataclass(kw_only=True)
class Actuator:
    """One servo model for all six joints.

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
    """

    geoms: tuple[str, str]
    friction: float
    spin: float
    margin: float
    solref: tuple[float, float]
    solimp: tuple[float, float, float, float, float]

    def __post_init__(self) -> None:
        key = "env.scene.pairs.*"
        check_length(f"{key}.geoms", self.geoms, 2)
        check_length(f"{key}.solref", self.solref, 2)
        check_length(f"{key}.solimp", self.solimp, 5)
        names = ("friction", "spin", "margin")
        _check_not_negative({f"{key}.{name}": getattr(self, name) for name in names})


@dataclass(kw_only=True)
class Scene:
    """The simulated world without the arm.

    Attributes:
        object_size: full edge lengths of the object's box (3,) [m].
        object_mass: its mass [kg].
        object_rgba: its colour.
        square_centre: centre of the taped square (2,) [m].
        square_side: inner edge length of the taped square [m].
        tape_width: width of the drawn tape [m].
        tape_rgba: its colour.
        pairs: contact pairs by name.
        impratio: ratio of friction's impedance to that of the normal direction.
        iterations: largest number of solver iterations.
    """

    object_size: tuple[float, float, float]
    object_mass: float
    object_rgba: tuple[float, float, float, float]
    square_centre: tuple[float, float]
    square_side: float
    tape_width: float
    tape_rgba: tuple[float, float, float, float]
    pairs: dict[str, ContactPair] = field(default_factory=dict)
    impratio: float
    iterations: int

    def __post_init__(self) -> None:
        check_length("env.scene.object_size", self.object_size, 3)
        check_length("env.scene.square_centre", self.square_centre, 2)
        positive = {
            "env.scene.object_size": min(self.object_size),
            "env.scene.object_mass": self.object_mass,
            "env.scene.square_side": self.square_side,
            "env.scene.tape_width": self.tape_width,
            "env.scene.impratio": self.impratio,
            "env.scene.iterations": self.iterations,
        }
        check_positive(positive)


def _check_not_negative(values: dict[str, float]) -> None:
    for key, value in values.items():
        if value < 0:
            raise ConfigError(key, got=value, expected="at least 0")


def build_spec(
    scene: Scene,
    actuator: Actuator,
    *,
    timestep: float,
    home_qpos: np.ndarray,
    delay_samples: int = 0,
    drawn: bool = False,
) -> mujoco.MjSpec:
    """Return the description of the world, from which `compile` makes the model.

    Args:
        scene: table, object and contact pairs.
        actuator: the servo model.
        timestep: physics step [s].
        home_qpos: joint angles (6,) [rad] of the only keyframe, `home`.
        delay_samples: number of past commands, one per physics step, in a servo's
            buffer.
        drawn: whether to keep the geoms that are only drawn; physics is faster without
            them and states have the same layout.

    Returns:
        The world; its first six qpos, qvel and ctrl are the arm's joints in order.
    """
    spec = so101.spec()
    spec.modelname = "so101rl"
    if not drawn:
        so101.delete_drawn_geoms(spec)
    appearance.add_appearance(spec)
    _set_options(spec, scene, timestep)
    _add_actuators(spec, actuator, delay_samples)
    _add_table(spec, scene)
    _add_object(spec, scene)
    _add_pairs(spec, scene)
    object_qpos = [*scene.square_centre, scene.object_size[2] / 2, 1, 0, 0, 0]
    spec.add_key(
        name="home", qpos=[*home_qpos, *object_qpos], ctrl=[float(q) for q in home_qpos]
    )
    return spec


def _set_options(spec: mujoco.MjSpec, scene: Scene, timestep: float) -> None:
    spec.option.timestep = timestep
    spec.option.integrator = mujoco.mjtIntegrator.mjINT_IMPLICITFAST
    spec.option.cone = mujoco.mjtCone.mjCONE_ELLIPTIC
    spec.option.impratio = scene.impratio
    spec.option.iterations = scene.iterations
    spec.option.jacobian = mujoco.mjtJacobian.mjJAC_DENSE


def _add_actuators(spec: mujoco.MjSpec, actuator: Actuator, delay_samples: int) -> None:
    for name in so101.JOINTS:
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


def _add_table(spec: mujoco.MjSpec, scene: Scene) -> None:
    world = spec.worldbody
    world.add_geom(
        name=TABLE,
        type=mujoco.mjtGeom.mjGEOM_PLANE,
        size=[0.6, 0.6, 0.05],
        material=appearance.TABLE,
        **DRAWN,
    )
    half, width = scene.square_side / 2, scene.tape_width
    cx, cy = scene.square_centre
    edge = half + width / 2
    for name, x, y, size in (
        ("tape_front", cx + edge, cy, (width / 2, half + width)),
        ("tape_back", cx - edge, cy, (width / 2, half + width)),
        ("tape_left", cx, cy + edge, (half, width / 2)),
        ("tape_right", cx, cy - edge, (half, width / 2)),
    ):
        world.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=[x, y, 0],
            size=[*size, 0.0003],
            rgba=scene.tape_rgba,
            **DRAWN,
        )


def _add_object(spec: mujoco.MjSpec, scene: Scene) -> None:
    size = np.asarray(scene.object_size) / 2
    body = spec.worldbody.add_body(name=OBJECT, pos=[0, 0, size[2]])
    body.add_freejoint(name=OBJECT)
    body.add_geom(
        name=OBJECT,
        type=mujoco.mjtGeom.mjGEOM_BOX,
        size=size,
        mass=scene.object_mass,
        rgba=scene.object_rgba,
        **DRAWN,
    )


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
            condim=1 if pair.friction == 0 else 4,
        )
        added.friction = [pair.friction, pair.friction, pair.spin, 0.0001, 0.0001]
        added.margin = pair.margin
        added.solref = pair.solref
        added.solimp = pair.solimp

"""Simulated arms and objects on MuJoCo's native batch."""

from collections.abc import Iterable, Mapping
from functools import partial
from typing import Any

import mujoco
import numpy as np
from mujoco import batch

from so101rl.errors import ConfigError, DivergedError, check_positive
from so101rl.hardware.base import (
    Arm,
    Hardware,
    ObjectTracker,
    Quantity,
    row_writer,
)
from so101rl.hardware.guard import Guard
from so101rl.rendering.cameras import Cameras
from so101rl.robots.robot import Robot
from so101rl.scene.scene import Actuator, Scene, build_spec

# MuJoCo's warnings after which the state of a simulation is invalid.
BAD_NAMES = ("BADQPOS", "BADQVEL", "BADQACC", "BADCTRL")
BAD = [int(getattr(mujoco.mjtWarning, f"mjWARN_{name}")) for name in BAD_NAMES]
MIN_MASS = 1e-6  # [kg] a smaller mass of an object is refused


class SimArm(Arm):
    """The arms of a `SimHardware`."""

    def __init__(self, world: "SimHardware", n_joints: int, substeps: int):
        self.n = world.n
        self._world, self._substeps = world, substeps
        # Calibration error of a servo: added to readings, subtracted from commands.
        self.offset = np.zeros((world.n, n_joints))

    def reset(self, ids: np.ndarray, qpos: np.ndarray) -> None:
        self._world.reset_arm(ids, qpos - self.offset[ids])

    def step(
        self, target_qpos: np.ndarray, ids: np.ndarray | None = None
    ) -> np.ndarray:
        self._world.step(target_qpos - self.offset, self._substeps, ids)
        return target_qpos

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        joints = self._world.joints
        qpos = self._world.qpos[:, joints] + self.offset
        return qpos, self._world.qvel[:, joints].copy()

    def close(self) -> None:
        """Do nothing: the batch is freed with the object."""


class SimObjects(ObjectTracker):
    """The free parts of a `SimHardware`."""

    def __init__(self, world: "SimHardware", names: Iterable[str]):
        self._world, model = world, world.model
        self._bodies = {name: model.body(name).id for name in names}
        joints = {name: model.joint(name).id for name in self._bodies}
        self._qpos = {
            name: slice(model.jnt_qposadr[i], model.jnt_qposadr[i] + 7)
            for name, i in joints.items()
        }
        self._qvel = {
            name: slice(model.jnt_dofadr[i], model.jnt_dofadr[i] + 6)
            for name, i in joints.items()
        }

    def read(self) -> dict[str, np.ndarray]:
        qpos = self._world.qpos
        return {name: qpos[:, columns].copy() for name, columns in self._qpos.items()}

    def place(self, ids: np.ndarray, poses: Mapping[str, np.ndarray]) -> None:
        for name, pose in poses.items():
            self._world.qpos[ids, self._qpos[name]] = pose
            self._world.qvel[ids, self._qvel[name]] = 0

    def pull(self, name: str, wrench: np.ndarray) -> None:
        self._world.applied[:, self._bodies[name]] = wrench


class SimHardware(Hardware):
    """`n` simulated worlds, each with an arm, a table and its parts.

    Args:
        n: number of worlds.
        n_threads: number of simulation threads; it does not affect the results.
        robot: the arm.
        scene: parts and contact pairs.
        cameras: width and height [px] by camera.
        home_qpos: the arm's starting angles (j,) [rad].
        control_hz: control rate [Hz].
        physics_hz: physics rate [Hz], a whole multiple of `control_hz`.
        actuator: name of the servo model, one of `presets`.
        presets: servo models by name.
        stiffness: servo gain that base policies believe in [N m/rad]; no effect here.
        max_speed: largest speed of a joint target [rad/s].
        max_delay: longest action delay that a randomization may set [s].
    """

    simulated = True

    def __init__(
        self,
        *,
        n: int,
        n_threads: int,
        robot: Robot,
        scene: Scene,
        cameras: Mapping[str, Mapping[str, int]],
        home_qpos: np.ndarray,
        control_hz: int,
        physics_hz: int,
        actuator: str,
        presets: dict[str, dict[str, float]],
        stiffness: float,
        max_speed: float,
        max_delay: float,
    ):
        check_positive({"hardware.max_speed": max_speed})
        if max_delay < 0:
            raise ConfigError(
                "hardware.max_delay", got=max_delay, expected="at least 0"
            )
        if physics_hz % control_hz:
            raise ConfigError(
                "env.physics_hz",
                got=physics_hz,
                expected=f"a whole multiple of env.control_hz = {control_hz}",
            )
        if actuator not in presets:
            raise ConfigError(
                "hardware.actuator",
                got=actuator,
                expected=f"one of {', '.join(presets)}",
            )
        self.n, self.n_joints, self.stiffness = n, robot.n_joints, stiffness
        self.joints = slice(0, robot.n_joints)  # columns of qpos and qvel
        self.actuator = Actuator(**presets[actuator])
        self._max_delay = max_delay
        self._build_spec = partial(
            build_spec,
            scene,
            robot,
            self.actuator,
            timestep=1 / physics_hz,
            home_qpos=home_qpos,
            delay_samples=int(np.ceil(max_delay * physics_hz)) + 1,
        )
        self.model = self._build_spec().compile()
        self._batch = batch.Batch(self.model, n, n_threads)
        self.state = self._batch.state  # mjSTATE_INTEGRATION (n, nstate)
        self.qpos, self.qvel = self._batch.bind("qpos"), self._batch.bind("qvel")
        self.applied = self._batch.bind("xfrc_applied")  # (n, bodies, 6)
        self._ctrl = self._batch.bind("ctrl")
        self._history = self._batch.bind("history")
        self._samples = _history_columns(self.model)
        self._expanded: set[str] = set()  # model fields with one value per world
        self._derived = False  # whether `set_const` was called
        lower, upper = robot.limits
        self._arm = SimArm(self, robot.n_joints, substeps=physics_hz // control_hz)
        self.arm: Guard = Guard(
            self._arm, lower=lower, upper=upper, max_step=max_speed / control_hz
        )
        self._free = tuple(scene.free)
        self.objects = SimObjects(self, self._free)
        self._cameras = Cameras(self.drawn_model, cameras)

    def drawn_model(self) -> mujoco.MjModel:
        """Return the model with all drawn geoms, for rendering a qpos."""
        return self._build_spec(drawn=True).compile()

    def drawn_xml(self) -> str:
        """Return the drawn model as MJCF, to render states without the config."""
        spec = self._build_spec(drawn=True)
        spec.compile()
        return str(spec.to_xml())

    def close(self) -> None:
        super().close()
        self._cameras.close()

    def images(self, camera: str, ids: np.ndarray) -> np.ndarray:
        return self._cameras.draw(camera, self.qpos[ids])

    def reset_arm(self, ids: np.ndarray, qpos: np.ndarray) -> None:
        """Reset the worlds `ids` (k,) with the arms at rest at `qpos` (k, j) [rad]."""
        self._batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self.qpos[ids, self.joints] = qpos
        self._ctrl[ids] = qpos
        if self._history.shape[1]:
            # A delayed servo holds its pose until the first command arrives.
            held = np.repeat(qpos, self._samples.shape[1], axis=1)
            self._history[ids[:, None], self._samples.ravel()] = held

    def step(
        self, ctrl: np.ndarray, substeps: int, ids: np.ndarray | None = None
    ) -> None:
        """Step the worlds `ids` (k,), None for all, with servo targets (n, j) [rad]."""
        self._ctrl[:] = ctrl
        if ids is None or len(ids):
            self._batch.step(ids, nstep=substeps)
        # MuJoCo resets an invalid world silently and only counts a warning.
        if self._batch.warning[:, BAD, 1].any():
            world, kind = np.argwhere(self._batch.warning[:, BAD, 1])[0]
            raise DivergedError("the simulation", BAD_NAMES[kind], env=int(world))

    def set_const(self, ids: np.ndarray) -> None:
        """Recompute what MuJoCo derives from the masses of the worlds `ids` (k,)."""
        self._batch.set_const(ids)
        self._derived = True

    def state_dict(self) -> dict[str, Any]:
        """Return the physics state and the randomized model fields of every world."""
        return {
            "simulation": self._batch.state.copy(),
            "fields": {
                name: self._batch.expand(name).copy() for name in sorted(self._expanded)
            },
            "derived": self._derived,
            "offset": self._arm.offset.copy(),
            "guard": self.arm.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, bit for bit."""
        for name, values in state["fields"].items():
            self._expand(name)[:] = values
        if state["derived"]:
            self.set_const(np.arange(self.n))
        self._batch.state[:] = state["simulation"]
        self._arm.offset[:] = state["offset"]
        self.arm.load_state_dict(state["guard"])

    def quantities(self) -> dict[str, Quantity]:
        """Return everything that a randomization can change, by name."""
        model = self.model
        kp, no_offset = (
            np.full(self.n_joints, self.actuator.kp),
            np.zeros(self.n_joints),
        )
        found = {
            "joint_damping": self._field("dof_damping", self.joints),
            "joint_frictionloss": self._field("dof_frictionloss", self.joints),
            "actuator_kp": Quantity(kp, self._write_kp, low=0.0),
            "action_delay": Quantity(
                np.array(0.0), self._write_delay, low=0.0, high=self._max_delay
            ),
            "joint_offset": Quantity(no_offset, row_writer(self._arm.offset)),
        }
        for name in self._free:
            found[f"{name}_mass"] = self._mass(name)
        for i in range(model.npair):
            name = f"friction/{model.pair(i).name}"
            nominal = np.array(model.pair_friction[i, 0])
            write = partial(self._write_friction, i)
            found[name] = Quantity(nominal, write, low=0.0)
        return found

    def _expand(self, name: str) -> np.ndarray:
        """Return the values of a model field, one row per world, for writing."""
        self._expanded.add(name)
        return self._batch.expand(name)

    def _field(self, name: str, index: slice) -> Quantity:
        nominal = np.array(getattr(self.model, name)[index])

        def write(ids: np.ndarray, values: np.ndarray) -> None:
            self._expand(name)[ids, index] = values

        return Quantity(nominal, write, low=0.0)

    def _mass(self, name: str) -> Quantity:
        body = self.model.body(name).id
        mass = np.array(self.model.body_mass[body])
        inertia = self.model.body_inertia[body].copy()

        def write(ids: np.ndarray, values: np.ndarray) -> None:
            self._expand("body_mass")[ids, body] = values
            scaled = inertia * (values / mass)[:, None]
            self._expand("body_inertia")[ids, body] = scaled

        return Quantity(mass, write, derived=True, low=MIN_MASS)

    def _write_kp(self, ids: np.ndarray, values: np.ndarray) -> None:
        self._expand("actuator_gainprm")[ids, :, 0] = values
        self._expand("actuator_biasprm")[ids, :, 1] = -values

    def _write_delay(self, ids: np.ndarray, values: np.ndarray) -> None:
        self._expand("actuator_delay")[ids] = values[:, None]

    def _write_friction(self, pair: int, ids: np.ndarray, values: np.ndarray) -> None:
        self._expand("pair_friction")[ids, pair, :2] = values[:, None]


def _history_columns(model: mujoco.MjModel) -> np.ndarray:
    """Return the columns of each servo's past commands in `history` (j, samples).

    Per actuator MuJoCo stores two counters, the sample times and the samples
    (`mj_initCtrlHistory`).
    """
    samples = int(model.actuator_history[0, 0])
    first = model.actuator_historyadr[:, None] + 2 + samples
    return first + np.arange(samples)

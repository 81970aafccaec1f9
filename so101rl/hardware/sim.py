"""Simulated arms and objects on MuJoCo's native batch."""

from collections.abc import Mapping
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
    SafetyLimits,
    row_writer,
)
from so101rl.robots import so101
from so101rl.scene.scene import OBJECT, Actuator, Scene, build_spec

# MuJoCo's warnings after which the state of a simulation is invalid.
BAD_NAMES = ("BADQPOS", "BADQVEL", "BADQACC", "BADCTRL")
BAD = [int(getattr(mujoco.mjtWarning, f"mjWARN_{name}")) for name in BAD_NAMES]
MIN_MASS = 1e-6  # [kg] a smaller mass of the object is refused


class SimArm(Arm):
    """The arms of a `SimHardware`."""

    def __init__(self, world: "SimHardware", limits: SafetyLimits, substeps: int):
        self.n = world.n
        self._world, self._limits, self._substeps = world, limits, substeps
        # Calibration error of a servo: added to readings, subtracted from commands.
        self.offset = np.zeros((world.n, so101.N_JOINTS))
        self.sent = np.zeros((world.n, so101.N_JOINTS))

    def reset(self, ids: np.ndarray, qpos: np.ndarray) -> None:
        self._world.reset_arm(ids, qpos - self.offset[ids])
        self.sent[ids] = qpos

    def step(
        self, target_qpos: np.ndarray, ids: np.ndarray | None = None
    ) -> np.ndarray:
        sent = self._limits.apply(target_qpos, self.sent)
        moving = slice(None) if ids is None else ids
        self.sent[moving] = sent[moving]
        self._world.step(self.sent - self.offset, self._substeps, ids)
        return self.sent.copy()

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        joints = slice(0, so101.N_JOINTS)
        qpos = self._world.qpos[:, joints] + self.offset
        return qpos, self._world.qvel[:, joints].copy()

    def close(self) -> None:
        """Do nothing: the batch is freed with the object."""


class SimObject(ObjectTracker):
    """The objects of a `SimHardware`."""

    def __init__(self, world: "SimHardware"):
        self._world = world
        self._body = world.model.body(OBJECT).id

    def read(self) -> np.ndarray:
        return self._world.qpos[:, so101.N_JOINTS :].copy()

    def place(self, ids: np.ndarray, pose: np.ndarray) -> None:
        self._world.qpos[ids, so101.N_JOINTS :] = pose
        self._world.qvel[ids, so101.N_JOINTS :] = 0

    def pull(self, wrench: np.ndarray) -> None:
        self._world.applied[:, self._body] = wrench


class SimHardware(Hardware):
    """`n` simulated worlds, each with an arm, a table and an object.

    Args:
        n: number of worlds.
        n_threads: number of simulation threads; it does not affect the results.
        scene: table, object and contact pairs.
        home_qpos: the arm's starting angles (6,) [rad].
        control_hz: control rate [Hz].
        physics_hz: physics rate [Hz], a whole multiple of `control_hz`.
        actuator: name of the servo model, one of `presets`.
        presets: servo models by name.
        max_speed: largest speed of a joint target [rad/s].
        max_delay: longest action delay that a randomization may set [s].
    """

    def __init__(
        self,
        *,
        n: int,
        n_threads: int,
        scene: Scene,
        home_qpos: np.ndarray,
        control_hz: int,
        physics_hz: int,
        actuator: str,
        presets: dict[str, dict[str, float]],
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
        self.n = n
        self.actuator = Actuator(**presets[actuator])
        self._max_delay = max_delay
        self._build_spec = partial(
            build_spec,
            scene,
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
        lower, upper = so101.joint_limits()
        limits = SafetyLimits(lower=lower, upper=upper, max_step=max_speed / control_hz)
        self.arm: SimArm = SimArm(self, limits, substeps=physics_hz // control_hz)
        self.object = SimObject(self)

    def drawn_model(self) -> mujoco.MjModel:
        """Return the model with all drawn geoms, for rendering a qpos."""
        return self._build_spec(drawn=True).compile()

    def drawn_xml(self) -> str:
        """Return the drawn model as MJCF, to render states without the config."""
        spec = self._build_spec(drawn=True)
        spec.compile()
        return str(spec.to_xml())

    def reset_arm(self, ids: np.ndarray, qpos: np.ndarray) -> None:
        """Reset the worlds `ids` (k,) with the arms at rest at `qpos` (k, 6) [rad]."""
        self._batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self.qpos[ids, : so101.N_JOINTS] = qpos
        self._ctrl[ids] = qpos
        if self._history.shape[1]:
            # A delayed servo holds its pose until the first command arrives.
            held = np.repeat(qpos, self._samples.shape[1], axis=1)
            self._history[ids[:, None], self._samples.ravel()] = held

    def step(
        self, ctrl: np.ndarray, substeps: int, ids: np.ndarray | None = None
    ) -> None:
        """Step the worlds `ids` (k,), None for all, with servo targets (n, 6) [rad]."""
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
            "offset": self.arm.offset.copy(),
            "sent": self.arm.sent.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned, bit for bit."""
        for name, values in state["fields"].items():
            self._expand(name)[:] = values
        if state["derived"]:
            self.set_const(np.arange(self.n))
        self._batch.state[:] = state["simulation"]
        self.arm.offset[:], self.arm.sent[:] = state["offset"], state["sent"]

    def quantities(self) -> dict[str, Quantity]:
        """Return everything that a randomization can change, by name."""
        model, joints = self.model, slice(0, so101.N_JOINTS)
        kp = np.full(so101.N_JOINTS, self.actuator.kp)
        no_offset = np.zeros(so101.N_JOINTS)
        found = {
            "object_mass": self._object_mass(),
            "joint_damping": self._field("dof_damping", joints),
            "joint_frictionloss": self._field("dof_frictionloss", joints),
            "actuator_kp": Quantity(kp, self._write_kp, low=0.0),
            "action_delay": Quantity(
                np.array(0.0), self._write_delay, low=0.0, high=self._max_delay
            ),
            "joint_offset": Quantity(no_offset, row_writer(self.arm.offset)),
        }
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

    def _object_mass(self) -> Quantity:
        body = self.model.body(OBJECT).id
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
    """Return the columns of each servo's past commands in `history` (6, samples).

    Per actuator MuJoCo stores two counters, the sample times and the samples
    (`mj_initCtrlHistory`).
    """
    samples = int(model.actuator_history[0, 0])
    first = model.actuator_historyadr[:, None] + 2 + samples
    return first + np.arange(samples)

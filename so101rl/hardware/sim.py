"""Many simulated arms and tables on MuJoCo's native batch."""

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

# MuJoCo's warnings after which a simulation means nothing.
BAD_NAMES = ("BADQPOS", "BADQVEL", "BADQACC", "BADCTRL")
BAD = [int(getattr(mujoco.mjtWarning, f"mjWARN_{name}")) for name in BAD_NAMES]
LIGHTEST = 1e-6  # [kg] a lighter object is a mistake


class SimArm(Arm):
    """The arm half of a simulated world."""

    def __init__(self, world: "SimHardware", limits: SafetyLimits, substeps: int):
        self.n = world.n
        self._world, self._limits, self._substeps = world, limits, substeps
        # A servo whose zero is off by this much reads and obeys wrong angles.
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
        """Nothing to release: the batch frees itself."""


class SimObject(ObjectTracker):
    """The object half of a simulated world."""

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
    """`n` copies of one world: an arm, a table and an object each.

    Args:
        n: number of copies.
        n_threads: simulation threads; any number gives the same bytes.
        scene: what stands on the table.
        home_qpos: the arm's starting angles (6,) [rad].
        control_hz: control rate [Hz].
        physics_hz: physics rate [Hz], a whole multiple of `control_hz`.
        actuator: name of the servo model, one of `presets`.
        presets: servo models by name.
        max_speed: largest speed of a joint target [rad/s].
        max_delay: longest action delay that can be asked for [s].
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
        self.state = (
            self._batch.state
        )  # all of the physics (n, nstate), mjSTATE_INTEGRATION
        self.qpos, self.qvel = self._batch.bind("qpos"), self._batch.bind("qvel")
        self.applied = self._batch.bind("xfrc_applied")  # (n, bodies, 6)
        self._ctrl, self._history = (
            self._batch.bind("ctrl"),
            self._batch.bind("history"),
        )
        self._samples = _history_columns(self.model)
        self._drawn: set[str] = set()  # model fields with a value per world
        self._derived = False  # whether MuJoCo's constants follow from them
        lower, upper = so101.joint_limits()
        limits = SafetyLimits(lower=lower, upper=upper, max_step=max_speed / control_hz)
        self.arm: SimArm = SimArm(self, limits, substeps=physics_hz // control_hz)
        self.object = SimObject(self)

    def drawn_model(self) -> mujoco.MjModel:
        """The same world with everything there is to see, for pictures of its qpos."""
        return self._build_spec(drawn=True).compile()

    def drawn_xml(self) -> str:
        """The drawn world as MJCF, for those who have its states but not its config."""
        spec = self._build_spec(drawn=True)
        spec.compile()
        return str(spec.to_xml())

    def reset_arm(self, ids: np.ndarray, qpos: np.ndarray) -> None:
        """Reset the worlds `ids` (k,) with the arm at rest at `qpos` (k, 6) [rad]."""
        self._batch.reset(ids, stage=mujoco.mjtStage.mjSTAGE_NONE)
        self.qpos[ids, : so101.N_JOINTS] = qpos
        self._ctrl[ids] = qpos
        if self._history.shape[1]:
            # A delayed servo must hold its pose until the first command arrives.
            now = np.repeat(qpos, self._samples.shape[1], axis=1)
            self._history[ids[:, None], self._samples.ravel()] = now

    def step(
        self, ctrl: np.ndarray, substeps: int, ids: np.ndarray | None = None
    ) -> None:
        """Advance the worlds `ids` (k,), None for all, with servo targets (n, 6)."""
        self._ctrl[:] = ctrl
        if ids is None or len(ids):
            self._batch.step(ids, nstep=substeps)
        # MuJoCo resets a world that has gone bad, and only counts that.
        if self._batch.warning[:, BAD, 1].any():
            world, kind = np.argwhere(self._batch.warning[:, BAD, 1])[0]
            raise DivergedError("the simulation", BAD_NAMES[kind], env=int(world))

    def set_const(self, ids: np.ndarray) -> None:
        """Recompute what MuJoCo derives from masses and sizes of the worlds `ids`."""
        self._batch.set_const(ids)
        self._derived = True

    def state_dict(self) -> dict[str, Any]:
        """The full physics state of every world, and what was drawn for it."""
        return {
            "simulation": self._batch.state.copy(),
            "fields": {
                name: self._batch.expand(name).copy() for name in sorted(self._drawn)
            },
            "derived": self._derived,
            "offset": self.arm.offset.copy(),
            "sent": self.arm.sent.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Put the worlds back, bit for bit."""
        for name, values in state["fields"].items():
            self._expand(name)[:] = values
        if state["derived"]:
            self.set_const(np.arange(self.n))  # which may not touch the state
        self._batch.state[:] = state["simulation"]
        self.arm.offset[:], self.arm.sent[:] = state["offset"], state["sent"]

    def quantities(self) -> dict[str, Quantity]:
        """Everything of these worlds that a randomization may change, by name."""
        object_body = self.model.body(OBJECT).id
        joints = slice(0, so101.N_JOINTS)
        found = {
            "object_mass": self._body_mass(object_body),
            "joint_damping": self._field("dof_damping", joints),
            "joint_frictionloss": self._field("dof_frictionloss", joints),
            "actuator_kp": self._gain(),
            "action_delay": self._delay(),
            "joint_offset": Quantity(
                np.zeros(so101.N_JOINTS), row_writer(self.arm.offset)
            ),
        }
        for i in range(self.model.npair):
            found[f"friction/{self.model.pair(i).name}"] = self._friction(i)
        return found

    def _expand(self, name: str) -> np.ndarray:
        """The live values of a model field, one row per world."""
        self._drawn.add(name)
        return self._batch.expand(name)

    def _field(self, name: str, index: slice) -> Quantity:
        nominal = np.array(getattr(self.model, name)[index])

        def write(ids: np.ndarray, values: np.ndarray) -> None:
            self._expand(name)[ids, index] = values

        return Quantity(nominal, write, low=0.0)

    def _body_mass(self, body: int) -> Quantity:
        mass = np.array(self.model.body_mass[body])
        inertia = self.model.body_inertia[body].copy()

        def write(ids: np.ndarray, values: np.ndarray) -> None:
            self._expand("body_mass")[ids, body] = values
            scaled = inertia * (values / mass)[:, None]
            self._expand("body_inertia")[ids, body] = scaled

        return Quantity(mass, write, derived=True, low=LIGHTEST)

    def _gain(self) -> Quantity:
        def write(ids: np.ndarray, values: np.ndarray) -> None:
            self._expand("actuator_gainprm")[ids, :, 0] = values
            self._expand("actuator_biasprm")[ids, :, 1] = -values

        return Quantity(np.full(so101.N_JOINTS, self.actuator.kp), write, low=0.0)

    def _delay(self) -> Quantity:
        def write(ids: np.ndarray, values: np.ndarray) -> None:
            self._expand("actuator_delay")[ids] = values[:, None]

        return Quantity(np.array(0.0), write, low=0.0, high=self._max_delay)

    def _friction(self, pair: int) -> Quantity:
        nominal = np.array(self.model.pair_friction[pair, 0])

        def write(ids: np.ndarray, values: np.ndarray) -> None:
            self._expand("pair_friction")[ids, pair, :2] = values[:, None]

        return Quantity(nominal, write, low=0.0)


def _history_columns(model: mujoco.MjModel) -> np.ndarray:
    """Where each servo's past commands lie in a row of `history` (6, samples).

    Per actuator MuJoCo stores two bookkeeping numbers, the sample times and the
    samples (`mj_initCtrlHistory`).
    """
    samples = int(model.actuator_history[0, 0])
    first = model.actuator_historyadr[:, None] + 2 + samples
    return first + np.arange(samples)

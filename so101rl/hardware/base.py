"""Interfaces of arms and object trackers, simulated or real.

The first axis of every array is the arm; a real arm is a batch of one. `j` is the
robot's number of joints.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, ClassVar, NamedTuple

import numpy as np

from so101rl.errors import ConfigError, So101Error


class UnsafeCommandError(So101Error):
    """A command must not reach an arm."""


class HardwareError(So101Error):
    """Arms or objects are not what their interface promises."""


class NotSimulatedError(So101Error):
    """Only a simulation can do what was requested."""


class Arm(ABC):
    """`n` arms that follow joint targets."""

    n: int

    @abstractmethod
    def reset(self, ids: np.ndarray, qpos: np.ndarray) -> None:
        """Bring the arms `ids` (k,) to rest at `qpos` (k, j) [rad]."""

    @abstractmethod
    def step(
        self, target_qpos: np.ndarray, ids: np.ndarray | None = None
    ) -> np.ndarray:
        """Follow joint targets for one control step.

        Args:
            target_qpos: joint targets (n, j) [rad].
            ids: the arms to step (k,), None for all; the state of the others stays.

        Returns:
            The targets that were sent (n, j) [rad], after the safety limits.
        """

    @abstractmethod
    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return measured joint angles (n, j) [rad] and velocities (n, j) [rad/s]."""

    @abstractmethod
    def close(self) -> None:
        """Release the arms; safe to call twice."""


class ObjectTracker(ABC):
    """Poses of the objects by name: exact in simulation, estimated on a real table."""

    @abstractmethod
    def read(self) -> dict[str, np.ndarray]:
        """Return positions [m] and quaternions wxyz (n, 7) by object."""

    @abstractmethod
    def place(self, ids: np.ndarray, poses: Mapping[str, np.ndarray]) -> None:
        """Place the objects of `ids` (k,) at rest at `poses`, each (k, 7).

        On a real table, ask a person to do so and wait.
        """

    def pull(self, name: str, wrench: np.ndarray) -> None:
        """Apply a wrench to an object until the next call or reset.

        Args:
            name: the object.
            wrench: force [N] and torque [N m] at its centre of mass (n, 6).

        Raises:
            NotSimulatedError: the object is real.
        """
        raise NotSimulatedError(
            f"{type(self).__name__} is not simulated and cannot pull at {name}; "
            "hardware=sim can"
        )


class Quantity(NamedTuple):
    """A quantity that can be randomized.

    Attributes:
        nominal: the configured value of one environment.
        write: stores values (k, ...) for the environments `ids` (k,).
        derived: whether `set_const` must follow, because MuJoCo derives constants.
        low: smallest valid value.
        high: largest valid value.
    """

    nominal: np.ndarray
    write: Callable[[np.ndarray, np.ndarray], None]
    derived: bool = False
    low: float = -np.inf
    high: float = np.inf


class Hardware(ABC):
    """`n` arms, each with objects on a table.

    Attributes:
        stiffness: servo gain that base policies believe in [N m/rad].
        simulated: whether time, states and pictures are a simulation's.
        max_n: largest number of arms; None: any number.
        n: number of arms.
        arm: the arms, behind a `Guard`.
        objects: the objects.
    """

    stiffness: float
    simulated: ClassVar[bool]
    max_n: ClassVar[int | None] = None
    n: int
    arm: Arm
    objects: ObjectTracker

    def check(self, n: int) -> None:
        """Raise unless there can be `n` arms and they stand behind a `Guard`."""
        from so101rl.hardware.guard import Guard  # which imports this module

        kind = type(self).__name__
        if self.max_n is not None and n > self.max_n:
            expected = f"at most {self.max_n}: {kind} is not simulated"
            raise ConfigError("n_envs", got=n, expected=expected)
        if not isinstance(self.arm, Guard):
            raise HardwareError(
                f"{kind}.arm={type(self.arm).__name__}: expected a Guard, which checks "
                "every command before an arm gets it"
            )

    def connect(self) -> None:  # noqa: B027  optional
        """Open ports and cameras before the first reset; building moves nothing."""

    def close(self) -> None:
        """Release everything; safe to call twice."""
        self.arm.close()

    def images(self, camera: str, ids: np.ndarray) -> np.ndarray:
        """Return pictures (k, height, width, 3) uint8 of a camera for `ids` (k,).

        Raises:
            ConfigError: there is no such camera.
        """
        del ids
        expected = f"a camera that {type(self).__name__} has: none"
        raise ConfigError("env.cameras", got=camera, expected=expected)

    def quantities(self) -> Mapping[str, Quantity]:
        """Return what a randomization can change, by name; nothing on a real table."""
        return {}

    def set_const(self, ids: np.ndarray) -> None:  # noqa: B027  optional
        """Recompute the constants derived from quantities, for `ids` (k,)."""

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next steps depend on; nothing on a real table."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        del state


def row_writer(
    array: np.ndarray, columns: slice | None = None
) -> Callable[[np.ndarray, np.ndarray], None]:
    """Return a `Quantity.write` that stores values in rows of `array` (n, ...).

    With `columns`, each value fills those columns of its row.
    """

    def write(ids: np.ndarray, values: np.ndarray) -> None:
        if columns is None:
            array[ids] = values
        else:
            array[ids, columns] = values[:, None]

    return write

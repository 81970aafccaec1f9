"""Interfaces of arms and object trackers, simulated or real, and the safety limits.

The first axis of every array is the arm; a real arm is a batch of one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from so101rl.arrays import clip
from so101rl.errors import So101Error


class UnsafeCommandError(So101Error):
    """A command must not reach an arm."""


class NotSimulatedError(So101Error):
    """Only a simulation can do what was requested."""


class Arm(ABC):
    """`n` arms that follow joint targets."""

    n: int

    @abstractmethod
    def reset(self, ids: np.ndarray, qpos: np.ndarray) -> None:
        """Bring the arms `ids` (k,) to rest at `qpos` (k, 6) [rad]."""

    @abstractmethod
    def step(
        self, target_qpos: np.ndarray, ids: np.ndarray | None = None
    ) -> np.ndarray:
        """Follow joint targets for one control step.

        Args:
            target_qpos: joint targets (n, 6) [rad].
            ids: the arms to step (k,), None for all; the state of the others stays.

        Returns:
            The targets that were sent (n, 6) [rad], after the safety limits.
        """

    @abstractmethod
    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Return measured joint angles (n, 6) [rad] and velocities (n, 6) [rad/s]."""

    @abstractmethod
    def close(self) -> None:
        """Release the arms; safe to call twice."""


class ObjectTracker(ABC):
    """Pose of the object: exact in simulation, estimated on a real table."""

    @abstractmethod
    def read(self) -> np.ndarray:
        """Return positions [m] and quaternions wxyz (n, 7)."""

    @abstractmethod
    def place(self, ids: np.ndarray, pose: np.ndarray) -> None:
        """Place the objects `ids` (k,) at rest at `pose` (k, 7)."""

    def pull(self, wrench: np.ndarray) -> None:
        """Apply a wrench to the objects until the next call or reset.

        Args:
            wrench: force [N] and torque [N m] at the centres of mass (n, 6).

        Raises:
            NotSimulatedError: the object is real.
        """
        raise NotSimulatedError(
            f"{type(self).__name__} is not simulated and cannot be pulled at; "
            "hardware=sim can"
        )


class SafetyLimits:
    """The last check of a command, the same for simulated and real servos.

    Args:
        lower: lower joint limits (6,) [rad].
        upper: upper joint limits (6,) [rad].
        max_step: largest change of a target per control step [rad].
    """

    def __init__(self, *, lower: np.ndarray, upper: np.ndarray, max_step: float):
        self.lower, self.upper, self.max_step = lower, upper, max_step

    def apply(self, target: np.ndarray, previous: np.ndarray) -> np.ndarray:
        """Return `target` (n, 6) [rad], clipped to the limits and `max_step`.

        Args:
            target: joint targets (n, 6) [rad].
            previous: the targets of the last control step (n, 6) [rad].

        Raises:
            UnsafeCommandError: a target is not finite.
        """
        if not np.isfinite(target).all():
            rows = np.unique(np.argwhere(~np.isfinite(target))[:, 0])
            raise UnsafeCommandError(
                f"joint target of arm {rows[0]} is not finite: {target[rows[0]]}"
            )
        step = clip(target - previous, -self.max_step, self.max_step)
        return clip(previous + step, self.lower, self.upper)


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
    """`n` arms, each with an object on a table.

    Attributes:
        n: number of arms.
        arm: the arms.
        object: the objects.
    """

    n: int
    arm: Arm
    object: ObjectTracker

    @abstractmethod
    def quantities(self) -> Mapping[str, Quantity]:
        """Return what a randomization can change, by name; nothing on a real table."""

    @abstractmethod
    def set_const(self, ids: np.ndarray) -> None:
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

"""The seam between what decides and what moves.

Everything is batched: the first axis is the arm. A real arm is a batch of one.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np

from so101rl.arrays import clip
from so101rl.errors import So101Error


class UnsafeCommandError(So101Error):
    """A command that no arm may receive."""


class NotSimulatedError(So101Error):
    """Something is asked of the world that only a simulation can do."""


class Arm(ABC):
    """`n` SO-101 arms that follow joint targets."""

    n: int

    @abstractmethod
    def reset(self, ids: np.ndarray, qpos: np.ndarray) -> None:
        """Bring the arms `ids` (k,) to rest at `qpos` (k, 6) [rad]."""

    @abstractmethod
    def step(
        self, target_qpos: np.ndarray, ids: np.ndarray | None = None
    ) -> np.ndarray:
        """Follow `target_qpos` (n, 6) [rad] for one control step.

        Args:
            target_qpos: where to.
            ids: the arms that move (k,), None for all; for the others time stands
                still.

        Returns:
            What was really sent (n, 6) [rad], after the safety limits.
        """

    @abstractmethod
    def read(self) -> tuple[np.ndarray, np.ndarray]:
        """Measured joint angles (n, 6) [rad] and velocities (n, 6) [rad/s]."""

    @abstractmethod
    def close(self) -> None:
        """Release the arms; safe to call twice."""


class ObjectTracker(ABC):
    """Where the object lies: exact in simulation, an estimate on a real table."""

    @abstractmethod
    def read(self) -> np.ndarray:
        """Position [m] and quaternion wxyz, (n, 7)."""

    @abstractmethod
    def place(self, ids: np.ndarray, pose: np.ndarray) -> None:
        """Lay the objects of `ids` (k,) down at `pose` (k, 7)."""

    def pull(self, wrench: np.ndarray) -> None:
        """Pull at the objects from now on, until told otherwise or until a reset.

        Args:
            wrench: force [N] and torque [N m] at the centres of mass (n, 6).

        Raises:
            NotSimulatedError: on a real table only a hand can pull.
        """
        raise NotSimulatedError(
            f"{type(self).__name__} is not simulated and cannot be pulled at; "
            "hardware=sim can"
        )


class SafetyLimits:
    """The same last check before a simulated and before a real servo.

    Args:
        lower: lower joint limits (6,) [rad].
        upper: upper joint limits (6,) [rad].
        max_step: largest change of a target per control step [rad].
    """

    def __init__(self, *, lower: np.ndarray, upper: np.ndarray, max_step: float):
        self.lower, self.upper, self.max_step = lower, upper, max_step

    def apply(self, target: np.ndarray, previous: np.ndarray) -> np.ndarray:
        """Clip `target` (n, 6) [rad] to the limits and to a step from `previous`.

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
    """Something of the world that may differ from episode to episode.

    Attributes:
        nominal: its value as configured, the shape of one environment.
        write: stores drawn values (k, ...) for the environments `ids` (k,).
        derived: whether MuJoCo derives constants from it (`set_const` must follow).
        low: smallest value that makes sense.
        high: largest value that makes sense.
    """

    nominal: np.ndarray
    write: Callable[[np.ndarray, np.ndarray], None]
    derived: bool = False
    low: float = -np.inf
    high: float = np.inf


class Hardware(ABC):
    """An arm and an object on a table, `n` times.

    Attributes:
        n: how many.
        arm: what moves.
        object: what tells where the object lies.
    """

    n: int
    arm: Arm
    object: ObjectTracker

    @abstractmethod
    def quantities(self) -> Mapping[str, Quantity]:
        """What a randomization may change, by name; nothing on a real table."""

    @abstractmethod
    def set_const(self, ids: np.ndarray) -> None:
        """Recompute what is derived from changed quantities of `ids` (k,)."""

    def state_dict(self) -> dict[str, Any]:
        """All that its next steps depend on; nothing on a real table."""
        return {}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        del state


def row_writer(array: np.ndarray) -> Callable[[np.ndarray, np.ndarray], None]:
    """A `Quantity.write` that stores values in the rows of `array` (n, ...)."""

    def write(ids: np.ndarray, values: np.ndarray) -> None:
        array[ids] = values

    return write

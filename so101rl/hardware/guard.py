"""The one safety layer between every policy and every arm, simulated or real."""

import time
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np

from so101rl.arrays import clip
from so101rl.errors import check_positive
from so101rl.hardware.base import Arm, UnsafeCommandError

ROUNDING = 1e-9  # [rad] smaller differences of angles do not count


class Guard(Arm):
    """Checks and limits every command before an arm gets it.

    A target must be finite and have the arms' shape. It is limited to `max_step` from
    the last target that was sent, then to the joint limits. An arm is reset only to
    angles within the joint limits.

    Args:
        arm: the arms behind the guard.
        lower: lower joint limits (j,) [rad].
        upper: upper joint limits (j,) [rad].
        max_step: largest change of a target per control step [rad].
        ramp_steps: control steps after a reset in which that limit grows to `max_step`;
            0: none.
        timeout_s: longest time between two commands [s], or the second one is refused;
            None: any.
        clock: returns the time [s].

    Attributes:
        interventions: by kind (`step`, `limits`), how many joint targets were changed.
    """

    def __init__(
        self,
        arm: Arm,
        *,
        lower: np.ndarray,
        upper: np.ndarray,
        max_step: float,
        ramp_steps: int = 0,
        timeout_s: float | None = None,
        clock: Callable[[], float] = time.monotonic,
    ):
        check_positive({"max_step of a Guard": max_step})
        self.n, self._arm = arm.n, arm
        self._lower, self._upper, self._max_step = lower, upper, max_step
        self._ramp_steps, self._timeout_s, self._clock = ramp_steps, timeout_s, clock
        self.sent = np.zeros((arm.n, len(lower)))
        self._steps = np.zeros(arm.n, int)  # control steps since the reset
        self._last: float | None = None  # time of the last command
        self.interventions: Counter[str] = Counter()

    def reset(self, ids: np.ndarray, qpos: np.ndarray) -> None:
        """Bring arms to rest; see `Arm.reset`.

        Raises:
            UnsafeCommandError: an angle is not finite or outside the joint limits.
        """
        self._check_shape("reset angles", qpos, (len(ids), len(self._lower)))
        # Written so that a NaN counts as outside.
        inside = np.abs(qpos - clip(qpos, self._lower, self._upper)) <= ROUNDING
        if not inside.all():
            row, joint = np.argwhere(~inside)[0]
            raise UnsafeCommandError(
                f"reset angle of arm {ids[row]}, joint {joint} is {qpos[row][joint]}: "
                f"expected {self._lower[joint]:.4f} to {self._upper[joint]:.4f}"
            )
        self._arm.reset(ids, qpos)
        self.sent[ids], self._steps[ids] = qpos, 0
        self._last = None

    def step(
        self, target_qpos: np.ndarray, ids: np.ndarray | None = None
    ) -> np.ndarray:
        """Follow joint targets for one control step; see `Arm.step`.

        Raises:
            UnsafeCommandError: a target is not finite or too late, or the targets have
                another shape.
        """
        what = "joint targets, which Control.command() returns,"
        self._check_shape(what, target_qpos, self.sent.shape)
        self._check(target_qpos)
        limit: float | np.ndarray = self._max_step
        if self._ramp_steps:
            share = np.minimum((self._steps + 1) / self._ramp_steps, 1.0)
            limit = self._max_step * share[:, None]
        near = self.sent + clip(target_qpos - self.sent, -limit, limit)
        allowed = clip(near, self._lower, self._upper)
        if ids is None:
            self._count(target_qpos, near, allowed)
            self.sent = allowed
            self._steps += 1
        else:
            self._count(target_qpos[ids], near[ids], allowed[ids])
            self.sent[ids] = allowed[ids]
            self._steps[ids] += 1
        sent = self._arm.step(self.sent, ids)
        if sent is not self.sent:
            self.sent = np.array(sent)
        return self.sent.copy()

    def read(self) -> tuple[np.ndarray, np.ndarray]:
        return self._arm.read()

    def close(self) -> None:
        self._arm.close()

    def state_dict(self) -> dict[str, Any]:
        """Return what the next commands depend on."""
        return {"sent": self.sent.copy(), "steps": self._steps.copy()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self.sent, self._steps = np.array(state["sent"]), np.array(state["steps"])
        self._last = None

    def _check_shape(
        self, what: str, angles: np.ndarray, expected: tuple[int, ...]
    ) -> None:
        if np.shape(angles) != expected:
            raise UnsafeCommandError(
                f"the {what} have the shape {np.shape(angles)}: expected {expected}"
            )

    def _check(self, target: np.ndarray) -> None:
        if not np.isfinite(target).all():
            row = int(np.argwhere(~np.isfinite(target))[0, 0])
            raise UnsafeCommandError(
                f"joint target of arm {row} is not finite: {target[row]}"
            )
        if self._timeout_s is None:
            return
        before, self._last = self._last, self._clock()
        if before is not None and self._last - before > self._timeout_s:
            raise UnsafeCommandError(
                f"a command came {self._last - before:.2f} s after the last one: "
                f"expected at most {self._timeout_s} s"
            )

    def _count(self, target: np.ndarray, near: np.ndarray, sent: np.ndarray) -> None:
        # Beyond rounding: previous + (target - previous) differs in the last bit.
        changed = np.count_nonzero(np.abs(near - target) > ROUNDING)
        self.interventions["step"] += int(changed)
        self.interventions["limits"] += int(np.count_nonzero(near != sent))

"""What a window and a browser have in common."""

import itertools
import time
from collections.abc import Sequence
from typing import Protocol

import mujoco
import numpy as np

from so101rl.errors import So101Error
from so101rl.scene import appearance
from so101rl.viewer.controls import Command
from so101rl.viewer.session import Session

LATE = 0.5  # [s] a drawing that is later does not hurry to catch up

Lines = Sequence[tuple[str, str]]


class ScreenError(So101Error):
    """There is nothing to show the world on."""


class Screen(Protocol):
    """Shows an `MjData`, and passes on what somebody does."""

    def is_open(self) -> bool:
        """Whether anybody may still watch."""

    def commands(self) -> list[Command]:
        """What was asked for since the last call."""

    def show(self, lines: Lines) -> None:
        """Show the data, and `lines` of names and values.

        Afterwards its `xfrc_applied` holds the forces of a mouse that drags.
        """


def watch(screen: Screen, session: Session) -> None:
    """Let a policy work in real time until the screen is closed."""
    due = time.monotonic()
    while screen.is_open():
        for command in screen.commands():
            session.do(command)
        session.advance()
        session.draw()
        screen.show(session.lines())
        due = _sleep(due + session.period)


def play(
    screen: Screen,
    model: mujoco.MjModel,
    data: mujoco.MjData,
    states: np.ndarray,
    hz: float,
) -> None:
    """Show states (T, nq) again and again until the screen is closed."""
    due = time.monotonic()
    for step in itertools.cycle(range(len(states))):
        if not screen.is_open():
            return
        data.qpos[:] = states[step]
        mujoco.mj_kinematics(model, data)
        screen.show([("step", f"{step + 1} of {len(states)}")])
        due = _sleep(due + 1 / hz)


def _sleep(due: float) -> float:
    """Sleep until `due`, or not at all if that is past; returns when it is due."""
    due = max(due, time.monotonic() - LATE)
    time.sleep(max(0.0, due - time.monotonic()))
    return due


def stand_at_the_front(camera: mujoco.MjvCamera) -> None:
    """Put a viewer's movable camera where the fixed camera `front` is."""
    position, target, _, _ = appearance.VIEWS[appearance.FRONT]
    ahead = np.subtract(target, position)
    camera.lookat, camera.distance = target, np.linalg.norm(ahead)
    camera.azimuth = np.degrees(np.arctan2(ahead[1], ahead[0]))
    camera.elevation = np.degrees(np.arcsin(ahead[2] / camera.distance))

"""The screen protocol of window and browser, and the loops that draw on it."""

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

MAX_DELAY = 0.5  # [s] of lost time that is made up; the rest is skipped

Lines = Sequence[tuple[str, str]]


class ScreenError(So101Error):
    """The viewer cannot be opened in a window or a browser."""

    def __init__(self, reason: object, *, remedy: str) -> None:
        """Build the message from the reason and the remedy."""
        text = str(reason).strip().rstrip(".")
        super().__init__(f"cannot open the viewer: {text}; {remedy}.")


class Screen(Protocol):
    """Shows an `MjData`, and receives keys, buttons and mouse forces."""

    def is_open(self) -> bool:
        """Whether the screen is still open."""

    def commands(self) -> list[Command]:
        """Return the commands since the last call."""

    def show(self, lines: Lines) -> None:
        """Show the data, and `lines` of names and values.

        Writes the forces of a dragging mouse into the data's `xfrc_applied`.
        """


def watch(screen: Screen, session: Session) -> None:
    """Run a session in real time until the screen is closed."""
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
    """Show states (T, nq) at `hz` [Hz], again and again until the screen is closed."""
    due = time.monotonic()
    for step in itertools.cycle(range(len(states))):
        if not screen.is_open():
            return
        data.qpos[:] = states[step]
        mujoco.mj_kinematics(model, data)
        screen.show([("step", f"{step + 1} of {len(states)}")])
        due = _sleep(due + 1 / hz)


def _sleep(due: float) -> float:
    """Sleep until `due` [s]; return `due`, or a later time after a long delay."""
    due = max(due, time.monotonic() - MAX_DELAY)
    time.sleep(max(0.0, due - time.monotonic()))
    return due


def set_view(camera: mujoco.MjvCamera, options: mujoco.MjvOption) -> None:
    """Give a viewer's free camera the view of `front`, and hide the collision geoms."""
    options.geomgroup[3] = 0
    position, target, _, _ = appearance.VIEWS[appearance.FRONT]
    ahead = np.subtract(target, position)
    camera.lookat, camera.distance = target, np.linalg.norm(ahead)
    camera.azimuth = np.degrees(np.arctan2(ahead[1], ahead[0]))
    camera.elevation = np.degrees(np.arcsin(ahead[2] / camera.distance))

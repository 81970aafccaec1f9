"""MuJoCo's own viewer, in a window."""

import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mujoco

from so101rl.viewer.controls import Command
from so101rl.viewer.screen import Lines, ScreenError, set_view

CLOSING = 5.0  # [s] longest wait for a closing window
HELP_KEYS = "\n".join(command.label for command in Command)
HELP_TEXTS = "\n".join(command.text for command in Command)
BY_NUMBER = {command.glfw: command for command in Command}
OTHER_WAYS = (
    "on macOS start it with `mjpython main.py job=view`; job.window=web shows it in a "
    "browser, job.window=false writes pictures"
)


class Window:
    """A `Screen` around MuJoCo's passive viewer.

    Args:
        handle: what `mujoco.viewer.launch_passive` returned.
        pressed: numbers of pressed keys, appended by the viewer's thread.
    """

    def __init__(self, handle: Any, pressed: deque[int]):
        self._handle, self._pressed = handle, pressed
        with handle.lock():
            set_view(handle.cam, handle.opt)

    def is_open(self) -> bool:
        """Whether the window is still open."""
        return bool(self._handle.is_running())

    def commands(self) -> list[Command]:
        """Commands of the keys pressed since the last call; other keys are ignored."""
        pressed = [self._pressed.popleft() for _ in range(len(self._pressed))]
        return [BY_NUMBER[key] for key in pressed if key in BY_NUMBER]

    def show(self, lines: Lines) -> None:
        """Draw the data, with `lines` and the keys in two corners."""
        place, size = mujoco.mjtGridPos, mujoco.mjtFontScale.mjFONTSCALE_150
        names, values = ("\n".join(column) for column in zip(*lines, strict=True))
        self._handle.set_texts(
            [
                (size, place.mjGRID_TOPRIGHT, names, values),
                (size, place.mjGRID_BOTTOMLEFT, HELP_KEYS, HELP_TEXTS),
            ]
        )
        self._handle.sync()


@contextmanager
def open_window(model: mujoco.MjModel, data: mujoco.MjData) -> Iterator[Window]:
    """Open a window that shows `data` until the context ends."""
    import glfw  # here, because both imports look for a display
    from mujoco import viewer

    glfw.ERROR_REPORTING = "ignore"
    if sys.platform != "darwin" and not glfw.init():
        raise ScreenError("there is no screen", remedy=OTHER_WAYS)
    before = set(threading.enumerate())
    pressed: deque[int] = deque()
    try:
        handle = viewer.launch_passive(
            model,
            data,
            key_callback=pressed.append,
            show_left_ui=False,
            show_right_ui=False,
        )
    except (RuntimeError, mujoco.FatalError) as error:
        raise ScreenError(error, remedy=OTHER_WAYS) from error
    try:
        with handle:
            yield Window(handle, pressed)
    finally:
        # The process crashes if it ends while the viewer's thread draws.
        for thread in set(threading.enumerate()) - before:
            thread.join(timeout=CLOSING)

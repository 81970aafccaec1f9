"""MuJoCo's own viewer, in a window."""

import sys
import threading
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mujoco

from so101rl.viewer.controls import BY_NUMBER, KEYS, Command
from so101rl.viewer.screen import Lines, ScreenError, stand_at_the_front

CLOSING = 5.0  # [s] patience with a window that is being closed
HELP = "\n".join(key.label for key in KEYS.values())
HELP_WORDS = "\n".join(command.value for command in KEYS)


class WindowError(ScreenError):
    """The viewer's window cannot be opened."""

    def __init__(self, reason: object) -> None:
        """Write the sentence.

        Args:
            reason: What the viewer answered.
        """
        super().__init__(
            f"cannot open the viewer: {str(reason).strip().rstrip('.')}. On macOS "
            "start it with `mjpython main.py job=view`; job.window=web shows it in a "
            "browser, job.window=false writes pictures."
        )


class Window:
    """A `Screen` around MuJoCo's passive viewer.

    Args:
        handle: what `mujoco.viewer.launch_passive` returned.
        pressed: keys as its thread reports them.
    """

    def __init__(self, handle: Any, pressed: deque[int]):
        self._handle, self._pressed = handle, pressed
        with handle.lock():
            handle.opt.geomgroup[3] = 0  # what touches, without its look
            stand_at_the_front(handle.cam)

    def is_open(self) -> bool:
        """Whether the window is still there."""
        return bool(self._handle.is_running())

    def commands(self) -> list[Command]:
        """The keys pressed since the last call; MuJoCo's own are not among them."""
        asked = []
        while self._pressed:
            asked.append(BY_NUMBER.get(self._pressed.popleft()))
        return [command for command in asked if command is not None]

    def show(self, lines: Lines) -> None:
        """Draw the world, with `lines` and the keys in two corners."""
        place, size = mujoco.mjtGridPos, mujoco.mjtFontScale.mjFONTSCALE_150
        names, values = ("\n".join(column) for column in zip(*lines, strict=True))
        self._handle.set_texts(
            [
                (size, place.mjGRID_TOPRIGHT, names, values),
                (size, place.mjGRID_BOTTOMLEFT, HELP, HELP_WORDS),
            ]
        )
        self._handle.sync()


@contextmanager
def open_window(model: mujoco.MjModel, data: mujoco.MjData) -> Iterator[Window]:
    """Open a window that shows `data`; leaving the context closes it."""
    import glfw  # here, because both look for a screen
    from mujoco import viewer

    glfw.ERROR_REPORTING = "ignore"
    if sys.platform != "darwin" and not glfw.init():
        raise WindowError("there is no screen to open it on")
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
        raise WindowError(error) from error
    try:
        with handle:
            yield Window(handle, pressed)
    finally:
        # A process that ends while the viewer's thread still draws would crash.
        for thread in set(threading.enumerate()) - before:
            thread.join(timeout=CLOSING)

"""OpenGL contexts that need no display.

`mujoco.Renderer` is not used: its backend is fixed when mujoco is imported, and with
MUJOCO_GL=egl and no EGL library that import fails, even if nothing is to be drawn. Here
the context is made when a picture is asked for.
"""

import importlib
import os
import sys
from collections.abc import Mapping
from typing import Any

import mujoco

from so101rl.errors import So101Error

# What a missing library or driver raises, depending on the backend.
FAILURES = (ImportError, AttributeError, OSError, RuntimeError, mujoco.FatalError)


class NoGraphicsError(So101Error):
    """There is no OpenGL library or device to draw with."""

    def __init__(self, failures: Mapping[str, Exception]) -> None:
        """Write the sentence.

        Args:
            failures: the error of each GL backend that was tried.
        """
        reasons = "; ".join(
            f"GL backend {name!r}: {str(error).rstrip('.')}"
            for name, error in failures.items()
        )
        super().__init__(
            f"cannot draw. {reasons}.\nOn Debian or Ubuntu: apt-get install libegl1 "
            "libegl-mesa0 libgl1-mesa-dri; MUJOCO_GL=egl, osmesa or glfw chooses a "
            "backend; evaluation.video=false does without."
        )


def has_display() -> bool:
    """Return whether a window can be opened here."""
    if sys.platform != "linux":
        return True
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_context(
    model: mujoco.MjModel, width: int, height: int
) -> tuple[Any, mujoco.MjrContext]:
    """Open an off-screen GL context and MuJoCo's drawing context on it.

    On Linux the backend is EGL, which needs no display; MUJOCO_GL chooses another.

    Args:
        model: the model that will be drawn.
        width: picture width [px].
        height: picture height [px].

    Returns:
        The GL context, made current, and MuJoCo's context.
    """
    chosen = os.environ.get("MUJOCO_GL")
    backends = [chosen.lower()] if chosen else _default_backends()
    failures = {}
    try:
        for backend in backends:
            os.environ["MUJOCO_GL"] = backend  # MuJoCo reads it when it loads OpenGL
            try:
                gl = _context_class(backend)(width, height)
                gl.make_current()
                context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
            except FAILURES as error:
                failures[backend] = error
                continue
            mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
            return gl, context
    finally:
        if chosen is None:  # a child process without EGL must still import mujoco
            del os.environ["MUJOCO_GL"]
    raise NoGraphicsError(failures)


def _default_backends() -> list[str]:
    """Backends in the order in which they are tried on this platform."""
    if sys.platform == "darwin":
        return ["cgl"]
    # EGL first even with a display: DISPLAY may outlive the screen it names.
    windows = ["glfw"] if has_display() else []
    return ["egl", *windows] if sys.platform == "linux" else windows


def _context_class(backend: str) -> Any:
    name = backend if backend in ("egl", "osmesa", "cgl") else "glfw"
    return importlib.import_module(f"mujoco.{name}").GLContext

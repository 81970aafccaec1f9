"""OpenGL contexts that need no display, and a clear word where there is no OpenGL.

`mujoco.Renderer` takes the backend that was chosen when mujoco was imported. That is
too early: with MUJOCO_GL=egl and no EGL library the import of mujoco itself fails, and
then nobody could train. So the context is made here, when a picture is asked for.
"""

import os
import sys
from typing import Any

import mujoco

from so101rl.errors import So101Error

# How a missing library or driver shows, depending on the backend.
FAILURES = (ImportError, AttributeError, OSError, RuntimeError, mujoco.FatalError)


class NoGraphicsError(So101Error):
    """There is no OpenGL library or device to draw with."""

    def __init__(self, *, backend: str, reason: object) -> None:
        """Write the sentence.

        Args:
            backend: The GL backend that was tried, for example `egl`.
            reason: What it answered.
        """
        super().__init__(
            f"cannot draw with the GL backend {backend!r}: {str(reason).rstrip('.')}.\n"
            "On Debian or Ubuntu: apt-get install libegl1 libegl-mesa0 "
            "libgl1-mesa-dri; MUJOCO_GL=egl, osmesa or glfw chooses a backend; "
            "evaluation.video=false does without."
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

    On a Linux machine without display the backend is EGL; MUJOCO_GL chooses another.

    Args:
        model: The model that will be drawn.
        width: Picture width [px].
        height: Picture height [px].

    Returns:
        The GL context, which is current now, and MuJoCo's context.
    """
    chosen = os.environ.get("MUJOCO_GL")
    backend = (chosen or _default_backend()).lower()
    os.environ["MUJOCO_GL"] = backend  # read again by MuJoCo's loader of GL functions
    try:
        gl = _context_class(backend)(width, height)
        gl.make_current()
        context = mujoco.MjrContext(model, mujoco.mjtFontScale.mjFONTSCALE_100)
    except FAILURES as error:
        raise NoGraphicsError(backend=backend, reason=error) from error
    finally:
        if chosen is None:  # a child process without EGL must still import mujoco
            del os.environ["MUJOCO_GL"]
    mujoco.mjr_setBuffer(mujoco.mjtFramebuffer.mjFB_OFFSCREEN, context)
    return gl, context


def _default_backend() -> str:
    if sys.platform == "darwin":
        return "cgl"
    return "glfw" if has_display() else "egl"


def _context_class(backend: str) -> Any:
    if backend == "egl":
        from mujoco.egl import GLContext
    elif backend == "osmesa":
        from mujoco.osmesa import GLContext
    elif backend == "cgl":
        from mujoco.cgl import GLContext
    else:
        from mujoco.glfw import GLContext
    return GLContext

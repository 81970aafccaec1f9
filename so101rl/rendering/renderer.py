"""Pictures of states, also on machines without a display.

A state is `qpos`; the simulation that made it may have used a model without the geoms
that are only drawn.
"""

import atexit
import io
from pathlib import Path
from typing import Protocol, Self, runtime_checkable

import mujoco
import numpy as np
from PIL import Image

from so101rl.errors import So101Error
from so101rl.files import write_atomic
from so101rl.rendering import gl

GEOMS = 2000  # room for the scene's geoms and MuJoCo's decorations


class RenderError(So101Error):
    """A requested picture or video cannot be drawn."""


@runtime_checkable
class Drawable(Protocol):
    """Hardware whose states can be drawn: a simulated world.

    Attributes:
        qpos: current states (n, nq).
    """

    qpos: np.ndarray

    # Not properties: `isinstance` would compute them.
    def drawn_model(self) -> mujoco.MjModel:
        """The model with everything that is drawn."""

    def drawn_xml(self) -> str:
        """The same model as self-contained MJCF."""


def drawable(hardware: object) -> Drawable:
    """Return `hardware` if its states can be drawn; raises `RenderError` if not."""
    if not isinstance(hardware, Drawable):
        raise RenderError(
            f"{type(hardware).__name__} is not simulated, so there is nothing to draw; "
            "hardware=sim can be drawn"
        )
    return hardware


class SceneRenderer:
    """Draws states of one model; a context manager for the thread that made it.

    Args:
        model: the drawn model; its shadows are switched off, because they make a frame
            10 to 20 times slower.
        width: picture width [px].
        height: picture height [px].
    """

    def __init__(self, *, model: mujoco.MjModel, width: int, height: int) -> None:
        """Open the GL context; raises `gl.NoGraphicsError` if there is none."""
        for name, value in (("width", width), ("height", height)):
            if value < 1:
                raise RenderError(f"{name} of a picture must be positive, got {value}")
        model.vis.quality.shadowsize = 0
        buffer = model.vis.global_
        buffer.offwidth = max(buffer.offwidth, width)
        buffer.offheight = max(buffer.offheight, height)
        self.model, self.width, self.height = model, width, height
        self._data = mujoco.MjData(model)
        self._scene = mujoco.MjvScene(model, maxgeom=GEOMS)
        self._option = mujoco.MjvOption()
        self._option.geomgroup[:] = [1, 1, 1, 0, 0, 0]
        self._option.sitegroup[:] = 0
        self._rect = mujoco.MjrRect(0, 0, width, height)
        self._window, self._context = gl.open_context(model, width, height)
        atexit.register(self.close)  # EGL must not end first: it would report errors

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Free the GL context; may be called again."""
        atexit.unregister(self.close)
        if self._context is not None:
            self._window.make_current()
            self._context.free()
            self._window.free()
            self._context = None

    def frame(self, qpos: np.ndarray, *, camera: str) -> np.ndarray:
        """Draw one state.

        Args:
            qpos: generalised coordinates (nq,).
            camera: name of a camera of the model.

        Returns:
            picture (H, W, 3) uint8, top row first.
        """
        if self._context is None:
            raise RenderError("this SceneRenderer is closed; make a new one")
        qpos = np.asarray(qpos, float)
        if qpos.shape != (self.model.nq,):
            raise RenderError(
                f"qpos must have the shape ({self.model.nq},), got {qpos.shape}"
            )
        view = mujoco.MjvCamera()
        view.type = mujoco.mjtCamera.mjCAMERA_FIXED
        view.fixedcamid = self._camera_id(camera)
        self._data.qpos[:] = qpos
        mujoco.mj_kinematics(self.model, self._data)
        mujoco.mj_comPos(self.model, self._data)
        mujoco.mj_camlight(self.model, self._data)
        mujoco.mjv_updateScene(
            self.model,
            self._data,
            self._option,
            None,
            view,
            mujoco.mjtCatBit.mjCAT_ALL,
            self._scene,
        )
        picture = np.empty((self.height, self.width, 3), np.uint8)
        self._window.make_current()
        mujoco.mjr_render(self._rect, self._scene, self._context)
        mujoco.mjr_readPixels(picture, None, self._rect, self._context)
        return picture[::-1].copy()

    def _camera_id(self, camera: str) -> int:
        found = mujoco.mj_name2id(self.model, mujoco.mjtObj.mjOBJ_CAMERA, camera)
        if found < 0:
            names = [self.model.camera(i).name for i in range(self.model.ncam)]
            raise RenderError(
                f"there is no camera {camera!r}; cameras: {', '.join(names) or 'none'}"
            )
        return found


def write_picture(path: Path, *, frame: np.ndarray) -> None:
    """Write one picture (H, W, 3) uint8 as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(frame).save(buffer, "PNG")
    write_atomic(path, buffer.getvalue())

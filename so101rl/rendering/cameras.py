"""Pictures of many states by named cameras, drawn for who asks."""

from collections.abc import Callable, Mapping

import mujoco
import numpy as np

from so101rl.errors import ConfigError
from so101rl.rendering.renderer import SceneRenderer


class Cameras:
    """Draws the states of simulated worlds; opens nothing before the first picture.

    Args:
        model: returns the drawn model.
        sizes: `width` and `height` [px] by camera of the model.
    """

    def __init__(
        self,
        model: Callable[[], mujoco.MjModel],
        sizes: Mapping[str, Mapping[str, int]],
    ):
        self._model, self._sizes = model, sizes
        self._renderers: dict[str, SceneRenderer] = {}

    def draw(self, camera: str, qpos: np.ndarray) -> np.ndarray:
        """Return pictures (k, height, width, 3) uint8 of the states `qpos` (k, nq).

        Raises:
            ConfigError: there is no such camera.
        """
        if camera not in self._sizes:
            raise ConfigError(
                "env.cameras",
                got=camera,
                expected=f"one of {', '.join(self._sizes) or 'none'}",
            )
        size = self._sizes[camera]
        if camera not in self._renderers:
            model = self._model()
            self._renderers[camera] = SceneRenderer(model=model, **size)
        pictures = np.empty((len(qpos), size["height"], size["width"], 3), np.uint8)
        for picture, state in zip(pictures, qpos, strict=True):
            picture[:] = self._renderers[camera].frame(state, camera=camera)
        return pictures

    def close(self) -> None:
        """Free the pictures' buffers; safe to call twice."""
        for renderer in self._renderers.values():
            renderer.close()
        self._renderers = {}

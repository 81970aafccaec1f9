"""A batch of one as a `gymnasium.Env`."""

from typing import Any

import gymnasium as gym
import numpy as np

from so101rl.envs.observations import LearnerObs, take
from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.errors import ConfigError
from so101rl.rendering.renderer import SceneRenderer, drawable
from so101rl.scene import appearance

WIDTH, HEIGHT = 640, 480  # [px]


class SingleEnv(gym.Env):
    """A batch of one without the first axis; the caller resets it after an episode.

    Actions are residuals; observations are those of `ResidualEnv`.

    Args:
        batch: the environment, with `num_envs` 1.
        render_mode: `rgb_array` for images of the front camera, or None.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, batch: ResidualEnv, *, render_mode: str | None = None):
        if render_mode not in (None, "rgb_array"):
            expected = "rgb_array or None"
            raise ConfigError("render_mode", got=render_mode, expected=expected)
        batch.env.autoreset = False
        self._batch, self.render_mode = batch, render_mode
        self.metadata = self.metadata | {"render_fps": batch.env.control_hz}
        self.observation_space = batch.single_observation_space
        self.action_space = batch.single_action_space
        self._renderer: SceneRenderer | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[LearnerObs, dict[str, Any]]:
        """Begin an episode; the same seed gives the same episode."""
        super().reset(seed=seed)
        obs, info = self._batch.reset(seed=seed, options=options)
        return take(obs, 0), _first(info)

    def step(
        self, action: np.ndarray
    ) -> tuple[LearnerObs, float, bool, bool, dict[str, Any]]:
        """Advance one control step with a residual (a,) in [-1, 1]."""
        obs, reward, terminated, truncated, info = self._batch.step(
            np.asarray(action)[None]
        )
        ended = bool(terminated[0]), bool(truncated[0])
        return take(obs, 0), float(reward[0]), *ended, _first(info)

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """Return an image (480, 640, 3) uint8, or None if `render_mode` is None."""
        if self.render_mode is None:
            return None
        world = drawable(self._batch.env.hardware)
        if self._renderer is None:
            model = world.drawn_model()
            self._renderer = SceneRenderer(model=model, width=WIDTH, height=HEIGHT)
        return self._renderer.frame(world.qpos[0], camera=appearance.FRONT)

    def close(self) -> None:
        """Release the arm and the renderer; safe to call twice."""
        if self._renderer is not None:
            self._renderer.close()
        self._batch.close()


def _first(info: dict[str, Any]) -> dict[str, Any]:
    """Return the first environment's part of a batch's `info`, as plain values."""
    return {
        name: _first(value) if isinstance(value, dict) else value[0].item()
        for name, value in info.items()
    }

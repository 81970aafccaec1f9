"""One environment as Gymnasium knows it: a thin view of a batch of one."""

from typing import Any

import gymnasium as gym
import numpy as np

from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.errors import ConfigError
from so101rl.rendering.renderer import SceneRenderer, drawable
from so101rl.scene import appearance

PICTURE = (640, 480)  # [px] width and height


class SingleEnv(gym.Env):
    """A batch of one without its first axis; who steps it resets it.

    Actions are the residual, observations what a learner sees.

    Args:
        batch: the environment, with `num_envs` 1.
        render_mode: `rgb_array` for pictures of the front camera, or None.
    """

    metadata = {"render_modes": ["rgb_array"]}  # noqa: RUF012

    def __init__(self, batch: ResidualEnv, *, render_mode: str | None = None):
        if render_mode not in (None, "rgb_array"):
            raise ConfigError(
                "render_mode", got=render_mode, expected="rgb_array or None"
            )
        batch.env.autoreset = False
        self._batch, self.render_mode = batch, render_mode
        self.metadata = self.metadata | {"render_fps": batch.env.control_hz}
        self.observation_space = batch.single_observation_space
        self.action_space = batch.single_action_space
        self._renderer: SceneRenderer | None = None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin an episode; the same seed gives the same one."""
        super().reset(seed=seed)
        obs, info = self._batch.reset(seed=seed, options=options)
        return obs[0], _first(info)

    def step(
        self, action: np.ndarray
    ) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """Move one control step with a residual (6,) in [-1, 1]."""
        obs, reward, terminated, truncated, info = self._batch.step(
            np.asarray(action)[None]
        )
        ended = bool(terminated[0]), bool(truncated[0])
        return obs[0], float(reward[0]), *ended, _first(info)

    def render(self) -> np.ndarray | None:  # type: ignore[override]
        """A picture (480, 640, 3) uint8, if `render_mode` asks for it."""
        if self.render_mode is None:
            return None
        world = drawable(self._batch.env.hardware)
        if self._renderer is None:
            width, height = PICTURE
            self._renderer = SceneRenderer(
                model=world.drawn_model(), width=width, height=height
            )
        return self._renderer.frame(world.qpos[0], camera=appearance.FRONT)

    def close(self) -> None:
        """Release the arm and the graphics; safe to call twice."""
        if self._renderer is not None:
            self._renderer.close()
        self._batch.close()


def _first(info: dict[str, Any]) -> dict[str, Any]:
    """What a batch's `info` says of its first environment, as plain values."""
    return {
        name: _first(value) if isinstance(value, dict) else value[0].item()
        for name, value in info.items()
    }

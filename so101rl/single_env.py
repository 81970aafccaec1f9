"""One environment as Gymnasium knows it: a thin view of a batch of one."""

import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import gymnasium as gym
import numpy as np
from hydra.errors import InstantiationException
from omegaconf import DictConfig

from so101rl import look
from so101rl.build import build_env
from so101rl.composition import compose
from so101rl.errors import ConfigError
from so101rl.explain import user_error
from so101rl.render import SceneRenderer, drawable
from so101rl.residual import ResidualEnv

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
        return self._renderer.frame(world.qpos[0], camera=look.FRONT)

    def close(self) -> None:
        """Release the arm and the graphics; safe to call twice."""
        if self._renderer is not None:
            self._renderer.close()
        self._batch.close()


def make(
    env: str,
    *,
    base_policy: str = "zero",
    overrides: Sequence[str] = (),
    render_mode: str | None = None,
) -> SingleEnv:
    """What `gymnasium.make` calls.

    Args:
        env: option of the config group `env`.
        base_policy: option of the config group `base_policy`; `zero` leaves the plain
            task, any other one turns actions into corrections of what it proposes.
        overrides: anything else as on the command line, e.g. `residual.alpha=0.5`.
        render_mode: see `SingleEnv`.
    """
    batch = _build(env, base_policy, ["n_threads=1", *overrides], n=1)
    return SingleEnv(batch, render_mode=render_mode)


make.metadata = SingleEnv.metadata  # type: ignore[attr-defined]  # gym.make asks for it


def make_vec(
    env: str,
    *,
    num_envs: int,
    base_policy: str = "zero",
    overrides: Sequence[str] = (),
) -> ResidualEnv:
    """What `gymnasium.make_vec` calls: the batch itself; see `make`."""
    return _build(env, base_policy, overrides, n=num_envs)


def _build(
    env: str, base_policy: str, overrides: Sequence[str], *, n: int
) -> ResidualEnv:
    cfg = compose([f"env={env}", f"base_policy={base_policy}", *overrides])
    with in_our_words():
        return build_seeded(cfg, n)


def build_seeded(cfg: DictConfig, n: int) -> ResidualEnv:
    """A batch of `n` environments whose first episodes nobody chose."""
    batch = build_env(cfg, n)
    # Gymnasium's users who give no seed expect just that.
    batch.reset(seed=secrets.randbits(32))
    return batch


@contextmanager
def in_our_words() -> Iterator[None]:
    """Take what a constructor says out of what Hydra wraps around it."""
    try:
        yield
    except InstantiationException as error:
        raise (user_error(error) or error) from error


def _first(info: dict[str, Any]) -> dict[str, Any]:
    """What a batch's `info` says of its first environment, as plain values."""
    return {
        name: _first(value) if isinstance(value, dict) else value[0].item()
        for name, value in info.items()
    }

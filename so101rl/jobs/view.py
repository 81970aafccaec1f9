"""`job=view`: watch a policy in a window or a browser, or take pictures of the task."""

from contextlib import AbstractContextManager, closing, suppress
from pathlib import Path

import mujoco
from omegaconf import DictConfig

from so101rl.build import build_env
from so101rl.errors import ConfigError
from so101rl.policies.load import load_policy
from so101rl.policies.policy import Policy
from so101rl.rendering import gl
from so101rl.viewer.dump import read_dump, write_replay
from so101rl.viewer.pictures import write_pictures
from so101rl.viewer.screen import Screen, play, watch
from so101rl.viewer.session import Session
from so101rl.viewer.window import open_window

SAMPLES = 24  # start poses in the drawing
WEB = "web"  # the value of job.window


def view(cfg: DictConfig) -> None:
    """Show a policy at work (`run=`, else the base), or what the task looks like.

    `job.window` chooses a window, a browser or pictures.
    """
    window = gl.has_display() if cfg.job.window is None else cfg.job.window
    if window not in (True, False, WEB):
        expected = f"true, false, {WEB} or null"
        raise ConfigError("job.window", got=window, expected=expected)
    if cfg.replay is not None:
        replay(cfg, window)
    elif window:
        show(cfg, window)
    else:
        directory = Path(cfg.job.directory)
        with closing(build_env(cfg, SAMPLES)) as env:
            for path in write_pictures(env, directory=directory, seed=cfg.seed):
                print(path)


def show(cfg: DictConfig, window: bool | str) -> None:
    """Show a policy at work until window or browser is closed."""
    policy: Policy | None = None
    with closing(build_env(cfg, 1)) as env:
        if cfg.run is not None or cfg.checkpoint is not None:
            policy, step = load_policy(cfg, env)
            env.progress(step)
        session = Session(env, policy, root=cfg.seed, episode=cfg.job.episode)
        with (
            suppress(KeyboardInterrupt),  # Ctrl+C is a way to end it
            open_screen(cfg, window, session.model, session.data) as screen,
        ):
            watch(screen, session)


def replay(cfg: DictConfig, window: bool | str) -> None:
    """Show the steps before a training diverged, on a screen or as a video."""
    dump = read_dump(Path(cfg.replay))
    if not window:
        print(write_replay(dump, Path(cfg.job.directory)))
        return
    data = mujoco.MjData(dump.model)
    with (
        suppress(KeyboardInterrupt),
        open_screen(cfg, window, dump.model, data) as screen,
    ):
        play(screen, dump.model, data, dump.states, dump.hz)


def open_screen(
    cfg: DictConfig, window: bool | str, model: mujoco.MjModel, data: mujoco.MjData
) -> AbstractContextManager[Screen]:
    """Open a window, or serve a page for a browser."""
    if window == WEB:
        from so101rl.viewer.web import open_web  # MuJoCo calls that experimental

        return open_web(model, data, port=cfg.job.port)
    return open_window(model, data)

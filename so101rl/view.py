"""`job=view`: look at the task, in a window or, without a screen, in pictures."""

import itertools
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zipfile import BadZipFile

import mujoco
import numpy as np
from omegaconf import DictConfig

from so101rl import gl, look, robot, workspace
from so101rl.build import build_env
from so101rl.errors import So101Error
from so101rl.policies import NoResidual, Policy, learned
from so101rl.render import SceneRenderer, drawable, write_picture
from so101rl.residual import ResidualEnv
from so101rl.schematic import schematic
from so101rl.seeds import episode_seeds
from so101rl.video import write_video

SAMPLES = 24  # start poses in the drawing
CLOSING = 5.0  # [s] patience with a window that is being closed
PICTURE = (960, 720)  # [px] width and height
VIDEO = (640, 480)


class DumpError(So101Error):
    """What should be replayed is not what a training left when it diverged."""

    def __init__(self, path: Path, reason: object) -> None:
        """Write the sentence."""
        super().__init__(
            f"replay={path} cannot be read ({reason}); right is a file that a diverged "
            "training left, RUN_DIR/dumps/step-N.npz"
        )


class WindowError(So101Error):
    """The viewer's window cannot be opened."""

    def __init__(self, reason: object) -> None:
        """Write the sentence.

        Args:
            reason: What the viewer answered.
        """
        super().__init__(
            f"cannot open the viewer: {str(reason).strip().rstrip('.')}. On macOS "
            "start it with `mjpython main.py job=view`; job.window=false writes "
            "pictures."
        )


def view(cfg: DictConfig) -> None:
    """Show a policy at work (`run=`, else the base), or what the task looks like.

    Args:
        cfg: Composed config; `job.window` chooses between window and pictures.
    """
    window = gl.has_display() if cfg.job.window is None else cfg.job.window
    if cfg.replay is not None:
        replay(Path(cfg.replay), window=window, directory=Path(cfg.job.directory))
        return
    if window:
        named = cfg.run is not None or cfg.checkpoint is not None
        policy, step = learned(cfg) if named else (NoResidual(), 0)
        env = build_env(cfg, 1)
        env.progress(step)
        show(env, policy, seed=cfg.seed)
        return
    env = build_env(cfg, SAMPLES)
    for path in write_pictures(env, directory=Path(cfg.job.directory), seed=cfg.seed):
        print(path)


def show(env: ResidualEnv, policy: Policy, *, seed: int) -> None:
    """Run a policy in MuJoCo's viewer, in real time, until the window is closed.

    Args:
        env: The task, a batch of one.
        policy: What is asked for residuals.
        seed: Root of the episodes' seeds.
    """
    world = drawable(env.env.hardware)
    model = world.drawn_model()
    data = mujoco.MjData(model)
    obs, _ = env.reset(seed=episode_seeds(seed, "report", env.num_envs))
    with _open_window(model, data) as window:
        window.opt.geomgroup[3] = 0
        _stand_at_the_front(window.cam)
        due = time.monotonic()
        while window.is_running():
            data.qpos[:] = world.qpos[0]
            mujoco.mj_kinematics(model, data)
            window.sync()
            obs, _, terminated, truncated, _ = env.step(policy.act(obs))
            policy.reset(np.flatnonzero(terminated | truncated))
            due = max(due + 1 / env.env.control_hz, time.monotonic() - 0.5)
            time.sleep(max(0.0, due - time.monotonic()))


def replay(path: Path, *, window: bool, directory: Path) -> None:
    """Play the steps before a training diverged: in a window, or as a video.

    Args:
        path: What the training left, `RUN_DIR/dumps/step-N.npz`.
        window: Whether to open a window.
        directory: Where the video goes without one.
    """
    model, qpos, hz = _read_dump(path)
    if not window:
        width, height = VIDEO
        with SceneRenderer(model=model, width=width, height=height) as renderer:
            frames = (renderer.frame(state, camera=look.FRONT) for state in qpos)
            write_video(directory / "replay.mp4", frames=frames, fps=hz)
        print(directory / "replay.mp4")
        return
    data = mujoco.MjData(model)
    with _open_window(model, data) as shown:
        shown.opt.geomgroup[3] = 0
        _stand_at_the_front(shown.cam)
        for state in itertools.cycle(qpos):
            if not shown.is_running():
                return
            data.qpos[:] = state
            mujoco.mj_kinematics(model, data)
            shown.sync()
            time.sleep(1 / hz)


def _read_dump(path: Path) -> tuple[mujoco.MjModel, np.ndarray, int]:
    """The drawn world, the states (T, nq) that can be drawn, and their rate [Hz]."""
    try:
        with np.load(path, allow_pickle=False) as dump:
            states = dump["qpos"][:, int(dump["env"])]
            hz, xml = int(dump["hz"]), dump["model"].tobytes().decode()
        model = mujoco.MjModel.from_xml_string(xml)
    except (OSError, EOFError, ValueError, LookupError, BadZipFile) as error:
        raise DumpError(path, error) from error
    return model, states[np.isfinite(states).all(axis=1)], hz


@contextmanager
def _open_window(model: mujoco.MjModel, data: mujoco.MjData) -> Iterator[Any]:
    import glfw  # here, because both look for a screen
    from mujoco import viewer

    glfw.ERROR_REPORTING = "ignore"
    if sys.platform != "darwin" and not glfw.init():
        raise WindowError("there is no screen to open it on")
    before = set(threading.enumerate())
    try:
        window = viewer.launch_passive(
            model, data, show_left_ui=False, show_right_ui=False
        )
    except (RuntimeError, mujoco.FatalError) as error:
        raise WindowError(error) from error
    try:
        with window:
            yield window
    finally:
        # A process that ends while the viewer's thread still draws would crash.
        for thread in set(threading.enumerate()) - before:
            thread.join(timeout=CLOSING)


def _stand_at_the_front(camera: mujoco.MjvCamera) -> None:
    """Put the viewer's movable camera where the fixed camera `front` is."""
    position, target, _, _ = look.VIEWS[look.FRONT]
    ahead = np.subtract(target, position)
    camera.lookat, camera.distance = target, np.linalg.norm(ahead)
    camera.azimuth = np.degrees(np.arctan2(ahead[1], ahead[0]))
    camera.elevation = np.degrees(np.arcsin(ahead[2] / camera.distance))


def write_pictures(env: ResidualEnv, *, directory: Path, seed: int) -> list[Path]:
    """Draw the task from above and take a picture with every camera.

    Args:
        env: The task; its episodes' first poses are the samples in the drawing.
        directory: Where the pictures go.
        seed: Root of the episodes' seeds.

    Returns:
        The files: `schematic.png`, `front.png`, `top.png`, `wrist.png`.
    """
    env.reset(seed=episode_seeds(seed, "report", env.num_envs))
    world = drawable(env.env.hardware)
    paths = [directory / f"{name}.png" for name in ("schematic", *look.CAMERAS)]
    _draw_schematic(env, paths[0])
    width, height = PICTURE
    with SceneRenderer(
        model=world.drawn_model(), width=width, height=height
    ) as renderer:
        for path, camera in zip(paths[1:], look.CAMERAS, strict=True):
            frame = renderer.frame(world.qpos[0], camera=camera)
            write_picture(path, frame=frame)
    return paths


def _draw_schematic(env: ResidualEnv, path: Path) -> None:
    task = env.env
    pose = task.hardware.object.read()
    yaw = 2 * np.arctan2(pose[:, 6], pose[:, 3])
    samples = np.column_stack([pose[:, :2], yaw])
    tip, _ = task.kinematics.fk(task.home_qpos[None])
    low, high = robot.joint_limits()
    reach_min, reach_max = workspace.reach()
    schematic(
        path,
        goal_xy=task.scene.square_centre,
        goal_size=task.scene.square_side,
        sheet_size=task.scene.object_size[:2],
        sheet_poses=np.vstack([task.start_pose, samples]),
        reach_min=reach_min,
        reach_max=reach_max,
        pan_xy=workspace.PAN_AXIS,
        pan_range=(low[workspace.PAN], high[workspace.PAN]),
        tip_xy=tip[0, :2],
    )

"""The task in pictures, for machines without a screen."""

from pathlib import Path

import numpy as np

from so101rl.envs.base import TaskEnv
from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.figures.schematic import Arm, figure_schematic
from so101rl.figures.tabletop import flat
from so101rl.rendering.renderer import SceneRenderer, drawable, write_picture
from so101rl.robots import so101, workspace
from so101rl.runs.task import PartInfo
from so101rl.scene import appearance
from so101rl.seeds import episode_seeds

SIZE = (960, 720)  # [px] width and height


def write_pictures(env: ResidualEnv, *, directory: Path, seed: int) -> list[Path]:
    """Draw the task from above and take a picture with every camera.

    Args:
        env: the task; the drawing shows the start poses of its n episodes.
        directory: where the pictures go.
        seed: root of the episodes' seeds.

    Returns:
        Paths of `schematic.png` and of `front.png`, `top.png`, `wrist.png` as far as
        the model has these cameras.
    """
    seeds = episode_seeds(seed, "report", env.num_envs)
    env.reset(seed=seeds)
    world = drawable(env.env.hardware)
    path = directory / "schematic.png"
    _draw_schematic(env.env, path)
    env.reset(seed=seeds)  # the drawing has moved the objects of env 0
    paths, model, (width, height) = [path], world.drawn_model(), SIZE
    known = {model.camera(i).name for i in range(model.ncam)}
    with SceneRenderer(model=model, width=width, height=height) as renderer:
        for camera in (name for name in appearance.CAMERAS if name in known):
            frame = renderer.frame(world.qpos[0], camera=camera)
            paths.append(directory / f"{camera}.png")
            write_picture(paths[-1], frame=frame)
    return paths


def _draw_schematic(task: TaskEnv, path: Path) -> None:
    """Draw the nominal start, and the starts of all envs as samples."""
    objects = task.hardware.objects
    moving = {name: flat(poses) for name, poses in objects.read().items()}
    samples = next(iter(moving.values()), np.zeros((0, 3))).copy()
    task.place(np.array([0]), task.start_pose[None])
    nominal = {name: pose[:1] for name, pose in objects.read().items()}
    goal = task.goal(nominal) if nominal else None
    tip, _ = task.kinematics.fk(task.home_qpos[None])
    figure_schematic(
        path,
        parts={
            name: PartInfo(free=part.free, outline=part.outline(), rgba=part.rgba)
            for name, part in task.scene.parts.items()
        },
        starts={name: flat(pose)[0] for name, pose in nominal.items()},
        samples=samples,
        way=None if goal is None else goal[0, :2],
        tip_xy=tip[0, :2],
        arm=_arm(task),
    )


def _arm(task: TaskEnv) -> Arm | None:
    """Return the arm from above; None for robots whose base is not known."""
    if not isinstance(task.robot, so101.SO101):
        return None
    low, high = (float(limit[so101.PAN]) for limit in task.robot.limits)
    return Arm(
        name=task.robot.name,
        base=so101.BASE,
        pan_xy=so101.PAN_AXIS,
        pan_range=(low, high),
        reach=workspace.reach(),
    )

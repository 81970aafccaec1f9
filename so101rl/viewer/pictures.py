"""The task in pictures, for machines without a screen."""

from pathlib import Path

import numpy as np

from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.figures.schematic import figure_schematic
from so101rl.figures.tabletop import flat
from so101rl.rendering.renderer import SceneRenderer, drawable, write_picture
from so101rl.robots import so101, workspace
from so101rl.scene import appearance
from so101rl.seeds import episode_seeds

SIZE = (960, 720)  # [px] width and height


def write_pictures(env: ResidualEnv, *, directory: Path, seed: int) -> list[Path]:
    """Draw the task from above and take a picture with every camera.

    Args:
        env: the task; its episodes' start poses are the samples in the drawing.
        directory: where the pictures go.
        seed: root of the episodes' seeds.

    Returns:
        Their paths: `schematic.png`, `front.png`, `top.png`, `wrist.png`.
    """
    env.reset(seed=episode_seeds(seed, "report", env.num_envs))
    world = drawable(env.env.hardware)
    paths = [directory / f"{name}.png" for name in ("schematic", *appearance.CAMERAS)]
    _draw_schematic(env, paths[0])
    width, height = SIZE
    with SceneRenderer(
        model=world.drawn_model(), width=width, height=height
    ) as renderer:
        for path, camera in zip(paths[1:], appearance.CAMERAS, strict=True):
            frame = renderer.frame(world.qpos[0], camera=camera)
            write_picture(path, frame=frame)
    return paths


def _draw_schematic(env: ResidualEnv, path: Path) -> None:
    task = env.env
    samples = flat(task.hardware.object.read())
    tip, _ = task.kinematics.fk(task.home_qpos[None])
    low, high = so101.joint_limits()
    figure_schematic(
        path,
        goal_xy=task.scene.square_centre,
        goal_size=task.scene.square_side,
        sheet_size=task.scene.object_size[:2],
        sheet_poses=np.vstack([task.start_pose, samples]),
        reach=workspace.reach(),
        pan_xy=workspace.PAN_AXIS,
        pan_range=(low[workspace.PAN], high[workspace.PAN]),
        tip_xy=tip[0, :2],
    )

"""A labelled drawing of the table from above: what the arm is asked to do, to scale."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from so101rl.errors import So101Error
from so101rl.figures.style import STYLE
from so101rl.figures.tabletop import TAPE, Point, millimetres, on_page, outline, spot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Outline of the arm's feet and tower (m, 2) [m], base frame.
BASE = np.array(
    [
        (-0.022, 0.043),
        (-0.006, 0.043),
        (0.015, 0.055),
        (0.024, 0.055),
        (0.064, 0.034),
        (0.064, -0.034),
        (0.024, -0.055),
        (0.015, -0.055),
        (-0.006, -0.043),
        (-0.022, -0.043),
    ]
)
BASE_RADIUS = 0.07  # [m] a circle around the pan axis that is smaller gets no label
ARM, INK, SOFT = "#f5ae1f", "#333333", "#8a8f98"


class SchematicError(So101Error):
    """The drawing cannot be made or written."""


def schematic(
    path: Path,
    *,
    goal_xy: Point,
    goal_size: float,
    sheet_size: Point,
    sheet_poses: np.ndarray,
    reach_min: float,
    reach_max: float,
    pan_xy: Point,
    pan_range: Point,
    tip_xy: Point | None = None,
) -> None:
    """Draw base, reach, start poses of the sheet and the taped square from above.

    Args:
        path: The `.png` file.
        goal_xy: Centre of the taped square (2,) [m].
        goal_size: Inner edge length of the square [m].
        sheet_size: Edge lengths of the sheet (2,) [m].
        sheet_poses: Start poses (k, 3): x [m], y [m], yaw [rad]; the first is the
            nominal one, the others are samples.
        reach_min: Inner radius of the workspace at table height [m].
        reach_max: Outer radius of the workspace [m].
        pan_xy: The pan axis, centre of the workspace (2,) [m].
        pan_range: Lower and upper pan angle [rad]; positive pan turns clockwise.
        tip_xy: Where the fingertip starts (2,) [m].
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    poses = np.atleast_2d(sheet_poses)
    if poses.shape[1:] != (3,) or len(poses) == 0:
        raise SchematicError(
            f"sheet_poses must have the shape (k, 3), got {poses.shape}"
        )
    with rc_context(STYLE):
        figure = Figure(figsize=(6.6, 5.3), layout="constrained")
        axes = figure.subplots()
        _draw_reach(axes, pan_xy, pan_range, reach_min, reach_max)
        _draw_base(axes, pan_xy)
        _draw_goal(axes, goal_xy, goal_size)
        _draw_sheets(axes, poses, sheet_size)
        _draw_way(axes, poses[0, :2], goal_xy)
        if tip_xy is not None:
            _dot(axes, tip_xy, "fingertip at the start", "#1565c0")
        _finish(axes, reach_max, pan_xy)
        figure.legend(loc="outside lower center", ncols=4)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            figure.savefig(path)
        except OSError as error:
            raise SchematicError(f"cannot write {path}: {error.strerror}") from error


def _draw_reach(
    axes: "Axes",
    pan_xy: Point,
    pan_range: Point,
    low: float,
    high: float,
) -> None:
    angles = -np.linspace(pan_range[0], pan_range[1], 181)
    rim = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    ring = np.concatenate([pan_xy + high * rim, pan_xy + low * rim[::-1]])
    axes.fill(*on_page(ring).T, color="#dcefe3", label="reach at table height")
    axes.plot(*on_page(pan_xy + high * rim).T, color="#5aa877", lw=1)
    axes.plot(*on_page(pan_xy + low * rim).T, color="#5aa877", lw=1)
    for radius, angle in ((high, -1.45), (low, -1.3)):
        if radius < BASE_RADIUS:
            continue
        place = np.asarray(pan_xy) + radius * np.array([np.cos(angle), np.sin(angle)])
        text = f"{1000 * radius:.0f} mm"
        axes.annotate(text, spot(place), ha="right", color="#3d7f57", fontsize=8)


def _draw_base(axes: "Axes", pan_xy: Point) -> None:
    axes.fill(*on_page(BASE).T, color=ARM, ec=INK, lw=0.8, zorder=3)
    axes.plot(*spot(pan_xy), "+", color=INK, ms=8, zorder=4)
    axes.annotate(
        "SO-101\n+ pan axis",
        spot((-0.032, 0)),
        ha="center",
        va="top",
        fontsize=8.5,
    )


def _draw_goal(axes: "Axes", goal_xy: Point, size: float) -> None:
    square = outline(np.array([*goal_xy, 0.0]), (size, size))
    axes.fill(*on_page(square).T, fc="none", ec=TAPE, lw=4, zorder=4)
    axes.plot(*spot(goal_xy), "x", color=TAPE, ms=7, zorder=5)
    top = (goal_xy[0] + size / 2 + 0.012, goal_xy[1])
    text = f"taped square {1000 * size:.0f} x {1000 * size:.0f} mm"
    axes.annotate(text, spot(top), ha="center", color=TAPE, weight="bold")


def _draw_sheets(axes: "Axes", poses: np.ndarray, size: Point) -> None:
    for pose in poses[1:]:
        corners = on_page(outline(pose, size))
        axes.fill(*corners.T, fc="none", ec=SOFT, lw=0.7, alpha=0.7, zorder=5)
    if len(poses) > 1:
        axes.plot([], [], color=SOFT, lw=0.7, label=f"{len(poses) - 1} sampled starts")
    corners = outline(poses[0], size)
    axes.fill(*on_page(corners).T, fc="white", ec=INK, lw=1.6, alpha=0.9, zorder=6)
    for (a, b), length in zip(((0, 1), (1, 2)), size, strict=True):
        middle = (corners[a] + corners[b]) / 2
        inward = poses[0, :2] - middle
        place = middle + 0.011 * inward / np.linalg.norm(inward)
        run = corners[b] - corners[a]
        turn = np.degrees(np.arctan2(run[0], -run[1]))
        axes.annotate(
            f"{1000 * length:.0f} mm",
            spot(place),
            ha="center",
            va="center",
            rotation=(turn + 90) % 180 - 90,
            fontsize=8,
            zorder=7,
        )


def _draw_way(axes: "Axes", start: np.ndarray, goal: Point) -> None:
    distance = float(np.linalg.norm(np.subtract(goal, start)))
    arrow = {"arrowstyle": "-|>", "color": INK, "lw": 1.2, "shrinkA": 0, "shrinkB": 4}
    axes.annotate(
        "",
        spot(goal),
        xytext=spot(start),
        arrowprops=arrow,
        zorder=8,
    )
    axes.plot([], [], color=INK, lw=1.2, label=f"way of {1000 * distance:.0f} mm")


def _dot(axes: "Axes", point: Point, label: str, colour: str) -> None:
    place = spot(point)
    axes.plot(*place, "o", color=colour, ms=6, zorder=9, label=label)


def _finish(axes: "Axes", reach: float, pan_xy: Point) -> None:
    axes.set_aspect("equal")
    axes.set_xlim(
        reach + 0.02, -reach - 0.02
    )  # y grows to the left, as seen from above
    axes.set_ylim(-0.13, pan_xy[0] + reach + 0.02)
    millimetres(axes, every=0.1)
    axes.set_xlabel("y [mm]")
    axes.set_ylabel("x [mm], away from the arm")
    axes.set_title("The table from above")

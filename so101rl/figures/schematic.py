"""A labelled drawing of the table from above: what the arm is asked to do, to scale."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from so101rl.figures.style import DARK, new_figure, save
from so101rl.figures.tabletop import TAPE, Point, on_page, outline, show_part, spot

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Outline of the arm's feet and tower (m, 2) [m], base frame, y >= 0; it is symmetric.
HALF_BASE = np.array(
    [(-0.022, 0.043), (-0.006, 0.043), (0.015, 0.055), (0.024, 0.055), (0.064, 0.034)]
)
BASE = np.concatenate([HALF_BASE, HALF_BASE[::-1] * (1, -1)])
BASE_RADIUS = 0.07  # [m] a circle around the pan axis that is smaller gets no label
ARM, SAMPLE, REACH, TIP = "#f5ae1f", "#8a8f98", "#5aa877", "#1565c0"


def figure_schematic(
    path: Path,
    *,
    goal_xy: Point,
    goal_size: float,
    sheet_size: Point,
    sheet_poses: np.ndarray,
    reach: tuple[float, float],
    pan_xy: Point,
    pan_range: tuple[float, float],
    tip_xy: Point,
) -> Path:
    """Draw base, reach, start poses of the sheet and the taped square from above.

    Args:
        path: the `.png` file.
        goal_xy: centre of the taped square (2,) [m].
        goal_size: inner edge length of the square [m].
        sheet_size: edge lengths of the sheet (2,) [m].
        sheet_poses: start poses (k, 3): x [m], y [m], yaw [rad]; the first is the
            nominal one, the others are samples.
        reach: inner and outer radius of the workspace at table height [m].
        pan_xy: the pan axis, centre of the workspace (2,) [m].
        pan_range: lowest and highest pan angle [rad]; positive pan turns clockwise.
        tip_xy: where the fingertip starts (2,) [m].

    Returns:
        Its path.
    """
    with new_figure(6.6, 5.3) as figure:
        axes = figure.subplots()
        _draw_reach(axes, np.asarray(pan_xy), pan_range, reach)
        _draw_base(axes, pan_xy)
        _draw_goal(axes, goal_xy, goal_size)
        _draw_sheets(axes, sheet_poses, sheet_size)
        _draw_way(axes, sheet_poses[0, :2], goal_xy)
        label = "fingertip at the start"
        axes.plot(*on_page(tip_xy), "o", color=TIP, ms=6, zorder=9, label=label)
        edge = reach[1] + 0.02
        part = np.array([(-0.13, -edge), (pan_xy[0] + edge, edge)])
        show_part(axes, part, every=0.1)
        axes.set_xlabel("y [mm]")
        axes.set_ylabel("x [mm], away from the arm")
        axes.set_title("The table from above")
        figure.legend(loc="outside lower center", ncols=4)
        return save(figure, path)


def _draw_reach(
    axes: "Axes",
    pan_xy: np.ndarray,
    pan_range: tuple[float, float],
    reach: tuple[float, float],
) -> None:
    angles = -np.linspace(*pan_range, 181)
    rim = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    inner, outer = (on_page(pan_xy + radius * rim) for radius in reach)
    ring = np.concatenate([outer, inner[::-1]])
    axes.fill(*ring.T, color="#dcefe3", label="reach at table height")
    axes.plot(*outer.T, color=REACH, lw=1)
    axes.plot(*inner.T, color=REACH, lw=1)
    for radius, angle in zip(reach, (-1.3, -1.45), strict=True):
        if radius >= BASE_RADIUS:
            place = pan_xy + radius * np.array([np.cos(angle), np.sin(angle)])
            text = f"{1000 * radius:.0f} mm"
            axes.annotate(text, spot(place), ha="right", color="#3d7f57", fontsize=8)


def _draw_base(axes: "Axes", pan_xy: Point) -> None:
    axes.fill(*on_page(BASE).T, color=ARM, ec=DARK, lw=0.8, zorder=3)
    axes.plot(*on_page(pan_xy), "+", color=DARK, ms=8, zorder=4)
    text = "SO-101\n+ pan axis"
    axes.annotate(text, (0, -0.032), ha="center", va="top", fontsize=8.5)


def _draw_goal(axes: "Axes", goal_xy: Point, size: float) -> None:
    square = outline((*goal_xy, 0.0), (size, size))
    axes.fill(*on_page(square).T, fc="none", ec=TAPE, lw=4, zorder=4)
    axes.plot(*on_page(goal_xy), "x", color=TAPE, ms=7, zorder=5)
    above = (goal_xy[0] + size / 2 + 0.012, goal_xy[1])
    text = f"taped square {1000 * size:.0f} x {1000 * size:.0f} mm"
    axes.annotate(text, spot(above), ha="center", color=TAPE, weight="bold")


def _draw_sheets(axes: "Axes", poses: np.ndarray, size: Point) -> None:
    for pose in poses[1:]:
        corners = on_page(outline(pose, size))
        axes.fill(*corners.T, fc="none", ec=SAMPLE, lw=0.7, alpha=0.7, zorder=5)
    if len(poses) > 1:
        label = f"{len(poses) - 1} sampled starts"
        axes.plot([], [], color=SAMPLE, lw=0.7, label=label)
    corners = outline(poses[0], size)
    axes.fill(*on_page(corners).T, fc="white", ec=DARK, lw=1.6, alpha=0.9, zorder=6)
    for (a, b), length in zip(((0, 1), (1, 2)), size, strict=True):
        middle, edge = (corners[a] + corners[b]) / 2, corners[b] - corners[a]
        inward = poses[0, :2] - middle
        turn = np.degrees(np.arctan2(edge[0], -edge[1]))
        axes.annotate(
            f"{1000 * length:.0f} mm",
            spot(middle + 0.011 * inward / np.linalg.norm(inward)),
            ha="center",
            va="center",
            rotation=(turn + 90) % 180 - 90,
            fontsize=8,
            zorder=7,
        )


def _draw_way(axes: "Axes", start: np.ndarray, goal: Point) -> None:
    distance = float(np.linalg.norm(np.subtract(goal, start)))
    arrow = {"arrowstyle": "-|>", "color": DARK, "lw": 1.2, "shrinkA": 0, "shrinkB": 4}
    axes.annotate("", spot(goal), xytext=spot(start), arrowprops=arrow, zorder=8)
    axes.plot([], [], color=DARK, lw=1.2, label=f"way of {1000 * distance:.0f} mm")

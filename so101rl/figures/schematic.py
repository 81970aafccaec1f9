"""A labelled drawing of the task on the table, from above and to scale."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from so101rl.figures.style import DARK, new_figure, save
from so101rl.figures.tabletop import (
    Point,
    draw_fixed,
    extent,
    fixed,
    ink,
    on_page,
    placed,
    show_part,
    size_of,
    spot,
    title_of,
)
from so101rl.runs.task import PartInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes

BASE_RADIUS = 0.07  # [m] circles of smaller radius get no label
ARM, SAMPLE, REACH, TIP = "#f5ae1f", "#8a8f98", "#5aa877", "#1565c0"
MARGIN = 0.1  # [m] around the parts where no arm is drawn


@dataclass(frozen=True, kw_only=True)
class Arm:
    """An arm that turns around a pan axis, from above.

    Attributes:
        name: label in the drawing.
        base: outline of its base (m, 2) [m].
        pan_xy: the pan axis, centre of the workspace (2,) [m].
        pan_range: lowest and highest pan angle [rad]; positive pan turns clockwise.
        reach: inner and outer radius of the workspace at table height [m].
    """

    name: str
    base: np.ndarray
    pan_xy: tuple[float, float]
    pan_range: tuple[float, float]
    reach: tuple[float, float]


def figure_schematic(
    path: Path,
    *,
    parts: Mapping[str, PartInfo],
    starts: Mapping[str, np.ndarray],
    samples: np.ndarray,
    way: np.ndarray | None,
    tip_xy: Point,
    arm: Arm | None,
) -> Path:
    """Draw the parts with their sizes, the starts, and the arm's base and reach.

    Args:
        path: the `.png` file.
        parts: what stands on the table, by name.
        starts: nominal start (3,) of each part that moves: x [m], y [m], yaw [rad].
        samples: sampled starts (k, 3) of the first of these parts.
        way: vector (2,) [m] from its nominal start to its goal; None: unknown.
        tip_xy: start of the fingertip (2,) [m].
        arm: the arm; None: it is not drawn.

    Returns:
        `path`.
    """
    with new_figure(6.6, 5.3) as figure:
        axes = figure.subplots()
        if arm is not None:
            _draw_reach(axes, arm)
            _draw_base(axes, arm)
        draw_fixed(axes, parts, zorder=2)
        _draw_names(axes, parts)
        _draw_free(axes, parts, starts, samples)
        if way is not None:
            _draw_way(axes, next(iter(starts.values()))[:2], way)
        label = "fingertip at the start"
        axes.plot(*on_page(tip_xy), "o", color=TIP, ms=6, zorder=9, label=label)
        show_part(axes, _shown(parts, starts, samples, tip_xy, arm))
        axes.set_xlabel("y [mm]")
        axes.set_ylabel("x [mm], away from the arm")
        axes.set_title("The table from above")
        figure.legend(loc="outside lower center", ncols=3)
        return save(figure, path)


def _shown(
    parts: Mapping[str, PartInfo],
    starts: Mapping[str, np.ndarray],
    samples: np.ndarray,
    tip_xy: Point,
    arm: Arm | None,
) -> np.ndarray:
    """Return the lowest and highest x and y (2, 2) [m] of the drawing."""
    if arm is not None:
        edge = arm.reach[1] + 0.02
        return np.array([(-0.13, -edge), (arm.pan_xy[0] + edge, edge)])
    outlines = [part.outline for part in fixed(parts).values()]
    outlines += [placed(parts[name].outline, pose) for name, pose in starts.items()]
    points = [*outlines, samples[:, :2], np.array([tip_xy]), np.zeros((1, 2))]
    return extent(np.concatenate(points), margin=MARGIN)


def _draw_reach(axes: "Axes", arm: Arm) -> None:
    angles = -np.linspace(*arm.pan_range, 181)
    rim = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    inner, outer = (on_page(arm.pan_xy + radius * rim) for radius in arm.reach)
    ring = np.concatenate([outer, inner[::-1]])
    axes.fill(*ring.T, color="#dcefe3", label="reach at table height")
    axes.plot(*outer.T, color=REACH, lw=1)
    axes.plot(*inner.T, color=REACH, lw=1)
    for radius, angle in zip(arm.reach, (-1.3, -1.45), strict=True):
        if radius >= BASE_RADIUS:
            place = arm.pan_xy + radius * np.array([np.cos(angle), np.sin(angle)])
            text = f"{1000 * radius:.0f} mm"
            axes.annotate(text, spot(place), ha="right", color="#3d7f57", fontsize=8)


def _draw_base(axes: "Axes", arm: Arm) -> None:
    axes.fill(*on_page(arm.base).T, color=ARM, ec=DARK, lw=0.8, zorder=3)
    axes.plot(*on_page(arm.pan_xy), "+", color=DARK, ms=8, zorder=4)
    text = f"{arm.name}\n+ pan axis"
    axes.annotate(text, (0, -0.032), ha="center", va="top", fontsize=8.5)


def _draw_names(axes: "Axes", parts: Mapping[str, PartInfo]) -> None:
    """Write name and size above each part that does not move."""
    for name, part in fixed(parts).items():
        (low, high), colour = extent(part.outline, margin=0.012), ink(part.rgba)
        above = (high[0], (low[1] + high[1]) / 2)
        text = f"{title_of(name)} {size_of(part.outline)}"
        style: dict[str, Any] = {
            "ha": "center",
            "color": colour,
            "weight": "bold",
            "zorder": 7,
        }
        axes.annotate(text, spot(above), **style)


def _draw_free(
    axes: "Axes",
    parts: Mapping[str, PartInfo],
    starts: Mapping[str, np.ndarray],
    samples: np.ndarray,
) -> None:
    first = next(iter(starts), "")
    for pose in samples:
        corners = on_page(placed(parts[first].outline, pose))
        axes.fill(*corners.T, fc="none", ec=SAMPLE, lw=0.7, alpha=0.7, zorder=5)
    if len(samples):
        label = f"{len(samples)} sampled starts"
        axes.plot([], [], color=SAMPLE, lw=0.7, label=label)
    for name, pose in starts.items():
        part = parts[name]
        style: dict[str, Any] = {"fc": part.rgba[:3], "ec": DARK, "lw": 1.6}
        label = f"{title_of(name)} {size_of(part.outline)}"
        corners = on_page(placed(part.outline, pose))
        axes.fill(*corners.T, **style, alpha=0.9, zorder=6, label=label)


def _draw_way(axes: "Axes", start: np.ndarray, way: np.ndarray) -> None:
    goal, distance = start + way, float(np.linalg.norm(way))
    arrow = {"arrowstyle": "-|>", "color": DARK, "lw": 1.2, "shrinkA": 0, "shrinkB": 4}
    axes.plot(*on_page(goal), "x", color=DARK, ms=7, zorder=7)
    axes.annotate("", spot(goal), xytext=spot(start), arrowprops=arrow, zorder=8)
    axes.plot([], [], color=DARK, lw=1.2, label=f"way of {1000 * distance:.0f} mm")

"""The table as seen from above in every figure: y to the left, x up."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Point = Sequence[float] | np.ndarray

TAPE = "#c8201f"
CORNERS = np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)]) / 2


def on_page(points: Point) -> np.ndarray:
    """Table points (..., 2) x, y as page points: y to the left, x up."""
    return np.asarray(points)[..., ::-1]


def spot(point: Point) -> tuple[float, float]:
    """One table point x, y as a page point."""
    x, y = point
    return y, x


def outline(pose: Point, size: Point) -> np.ndarray:
    """Corners (4, 2) [m] of a sheet at `pose` (3,): x [m], y [m], yaw [rad]."""
    x, y, yaw = pose
    cos, sin = np.cos(yaw), np.sin(yaw)
    return (x, y) + CORNERS * np.asarray(size) @ np.array([(cos, sin), (-sin, cos)])


def flat(pose: np.ndarray) -> np.ndarray:
    """Poses (k, 7) of things that lie flat as (k, 3): x [m], y [m], yaw [rad]."""
    yaw = 2 * np.arctan2(pose[:, 6], pose[:, 3])
    return np.column_stack([pose[:, :2], yaw])


def extent(points: np.ndarray, *, margin: float) -> np.ndarray:
    """Lowest and highest x and y (2, 2) [m] of points (k, 2), and a margin around."""
    return np.array([points.min(0) - margin, points.max(0) + margin])


def draw_tape(axes: "Axes", centre: Point, side: float, width: float) -> None:
    """Draw the taped square to scale: `side` is its inner edge, `width` the tape's."""
    outer, inner = (
        on_page(outline((*centre, 0.0), (edge, edge)))
        for edge in (side + 2 * width, side)
    )
    # Two closed lines with one area between them.
    ring = np.concatenate([outer, outer[:1], inner[:1], inner[::-1]])
    axes.fill(*ring.T, color=TAPE, alpha=0.35, lw=0, zorder=1.5)


def show_part(axes: "Axes", part: np.ndarray, *, every: float) -> None:
    """Let axes show a part of the table to scale, in mm.

    Args:
        axes: what to set up.
        part: lowest and highest x and y (2, 2) [m].
        every: distance of two ticks [m].
    """
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    (low_x, low_y), (high_x, high_y) = part
    axes.set_aspect("equal")
    axes.set_xlim(high_y, low_y)
    axes.set_ylim(low_x, high_x)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(every))
        axis.set_major_formatter(FuncFormatter(lambda m, _: f"{1000 * m:.0f}"))

"""The table from above, the same in all figures: y to the left, x up."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from so101rl.arrays import yaw_of
from so101rl.figures.style import area_key
from so101rl.runs.task import PartInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.patches import Patch

Point = Sequence[float] | np.ndarray
Colour = tuple[float, ...]

DARKEST = 0.5  # luminance up to which a colour is legible on white
LONG = 1.05  # least length over width of an outline with a direction
# (least length of the shorter side, distance of two ticks) [m], and the least distance.
TICKS, LEAST_TICK = ((1.0, 0.2), (0.2, 0.1), (0.1, 0.05)), 0.02
ROUND = 9  # least number of corners of a circle


def on_page(points: Point) -> np.ndarray:
    """Return table points (..., 2) x, y as page points y, x."""
    return np.asarray(points)[..., ::-1]


def spot(point: Point) -> tuple[float, float]:
    """Return one table point x, y as a page point y, x."""
    x, y = point
    return y, x


def placed(outline: np.ndarray, pose: Point) -> np.ndarray:
    """Corners (m, 2) [m] of an outline at `pose` (3,): x [m], y [m], yaw [rad]."""
    x, y, yaw = pose
    cos, sin = np.cos(yaw), np.sin(yaw)
    return (x, y) + outline @ np.array([(cos, sin), (-sin, cos)])


def flat(pose: np.ndarray) -> np.ndarray:
    """Poses (k, 7) as seen from above (k, 3): x [m], y [m], yaw [rad]."""
    return np.column_stack([pose[:, :2], yaw_of(pose[:, 3:])])


def extent(points: np.ndarray, *, margin: float) -> np.ndarray:
    """Lowest and highest x and y (2, 2) [m] of points (k, 2), and a margin around."""
    return np.array([points.min(0) - margin, points.max(0) + margin])


def title_of(name: str) -> str:
    """Return the name of a part as a figure shows it."""
    return name.replace("_", " ")


def size_of(outline: np.ndarray) -> str:
    """Return the size of an outline in mm, in its own frame."""
    width, height = 1000 * np.ptp(outline, axis=0)
    radii = np.linalg.norm(outline - outline.mean(0), axis=1)
    if len(outline) >= ROUND and np.ptp(radii) < 0.01 * radii.max():
        return f"{2000 * radii.max():.0f} mm across"
    return f"{width:.0f} x {height:.0f} mm"


def long_axis(outline: np.ndarray) -> np.ndarray | None:
    """Return the direction (2,) in which an outline is longest.

    None for outlines without a longest direction, such as a circle or a square.
    """
    variances, axes = np.linalg.eigh(np.cov(outline.T))
    short, long = np.sqrt(np.maximum(variances, 0))
    return None if long <= LONG * short else axes[:, 1]


def ink(rgba: Colour) -> Colour:
    """Return a colour, darkened if necessary to be legible on white."""
    luminance = float(np.dot(rgba[:3], (0.2126, 0.7152, 0.0722)))
    factor = min(1.0, DARKEST / max(luminance, 1e-6))
    return tuple(float(factor * value) for value in rgba[:3])


def draw_fixed(
    axes: "Axes", parts: Mapping[str, PartInfo], zorder: float = 0.8
) -> None:
    """Draw the outlines of the parts that do not move, in pale colours."""
    for part in fixed(parts).values():
        axes.fill(*on_page(part.outline).T, **_pale(part), zorder=zorder)


def fixed_keys(parts: Mapping[str, PartInfo]) -> "list[Patch]":
    """Return a legend's entries for the parts that do not move."""
    own = fixed(parts).items()
    return [area_key(title_of(name), **_pale(part)) for name, part in own]


def fixed(parts: Mapping[str, PartInfo]) -> dict[str, PartInfo]:
    """Return the parts that do not move."""
    return {name: part for name, part in parts.items() if not part.free}


def _pale(part: PartInfo) -> dict[str, Any]:
    return {"fc": (*part.rgba[:3], 0.1), "ec": (*ink(part.rgba), 0.5), "lw": 2.0}


def show_part(axes: "Axes", part: np.ndarray) -> None:
    """Make axes show a part of the table to scale, in mm.

    Args:
        axes: the axes to change.
        part: lowest and highest x and y (2, 2) [m].
    """
    from matplotlib.ticker import FuncFormatter, MultipleLocator

    (low_x, low_y), (high_x, high_y) = part
    length = min(high_x - low_x, high_y - low_y)
    every = next((tick for least, tick in TICKS if length >= least), LEAST_TICK)
    axes.set_aspect("equal")
    axes.set_xlim(high_y, low_y)
    axes.set_ylim(low_x, high_x)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(MultipleLocator(every))
        axis.set_major_formatter(FuncFormatter(lambda m, _: f"{1000 * m:.0f}"))

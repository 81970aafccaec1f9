"""One style for all figures: readable at README width and by colour-blind people."""

import io
import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.errors import So101Error
from so101rl.files import write_atomic
from so101rl.runs.run_dir import RunDir

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

STYLE: dict[Any, Any] = {
    "font.size": 9.5,
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.titlelocation": "left",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "axes.grid": True,
    "grid.color": "#e4e4e4",
    "grid.linewidth": 0.7,
    "legend.edgecolor": "none",
    "legend.framealpha": 0.8,
    "legend.borderpad": 0.2,
    "legend.fontsize": 8.5,
    "lines.linewidth": 1.8,
    "savefig.dpi": 160,
    "svg.hashsalt": "so101rl",  # without it the ids in an SVG are random
}
# Okabe and Ito's palette; the two policies first.
POLICY_COLOURS = {"base": "#E69F00", "residual": "#0072B2"}
GROUP_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
GROUP_LINES = ("-", "--", ":")  # the next one is used when the colours repeat
GREY, DARK = "#555555", "#333333"  # of elements without a group
WIDTH = 9.8  # standard width of a figure [inch]
LEGEND_COLUMNS = 8  # columns of a legend that fit below a figure of this width


class FigureError(So101Error):
    """The data that a figure shows is missing."""


@contextmanager
def new_figure(width: float, height: float) -> Iterator["Figure"]:
    """Yield an empty figure; draw and save it inside the block, which has the style.

    Args:
        width: of the figure [inch].
        height: of the figure [inch].
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(STYLE):
        yield Figure(figsize=(width, height), layout="constrained")


def save(figure: "Figure", path: Path) -> Path:
    """Write a PNG or SVG and return its path; equal figures give equal bytes."""
    # Version and date are left out, because they change the bytes.
    by_format: dict[str, dict[str, None]] = {
        ".png": {"Software": None},
        ".svg": {"Date": None, "Creator": None},
    }
    buffer = io.BytesIO()
    metadata = by_format[path.suffix]
    figure.savefig(buffer, format=path.suffix[1:], metadata=metadata)
    write_atomic(path, buffer.getvalue())
    return path


def curve(lines: Sequence[Mapping[str, float]], name: str) -> list[tuple[int, float]]:
    """Return the points (env step, value) of one metric."""
    return [(int(line["step"]), line[name]) for line in lines if name in line]


def percent_axis(axes: "Axes", label: str) -> None:
    """Scale the y axis for percentages, from 0 to a little above 100."""
    axes.set_ylim(0, 109)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel(label)


def steps_axis(axes: "Axes") -> None:
    """Scale and label the x axis for env steps, from 0."""
    from matplotlib.ticker import EngFormatter

    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("env steps")


def run_title(run: RunDir) -> str:
    """Return the options, seed and name of a run in one line."""
    groups = run.info["groups"]
    chosen = [groups[key] for key in ("env", "base_policy", "algo") if key in groups]
    parts = [" / ".join(chosen), f"seed {run.info['seed']}", run.info["name"]]
    return "   ".join(part for part in parts if part)


def headline(figure: "Figure", *lines: str) -> None:
    """Write lines above all panels, small and grey."""
    figure.suptitle("\n".join(lines), x=0.01, ha="left", fontsize=9, color=GREY)


def line_key(label: str, **style: Any) -> "Line2D":
    """Return a legend entry for a line or a marker."""
    from matplotlib.lines import Line2D

    return Line2D([], [], label=label, **style)


def area_key(label: str, **style: Any) -> "Patch":
    """Return a legend entry for an area."""
    from matplotlib.patches import Patch

    return Patch(label=label, **style)


def legend_below(figure: "Figure", keys: "Sequence[Artist]") -> None:
    """Put one legend for all panels below them, in as few rows as possible."""
    most = max(1, int(LEGEND_COLUMNS * figure.get_figwidth() / WIDTH))
    lines = math.ceil(len(keys) / most)
    figure.legend(
        handles=keys,
        loc="outside lower center",
        ncols=math.ceil(len(keys) / lines),
        columnspacing=1.4,
        handlelength=1.6,
    )

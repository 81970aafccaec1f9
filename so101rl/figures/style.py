"""One style for all figures: readable at README width, safe for colour-blind eyes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.errors import So101Error
from so101rl.rundir import RunDir

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
}
# Okabe and Ito's palette; the two policies first.
POLICY_COLOURS = {"base": "#E69F00", "residual": "#0072B2"}
GROUP_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00")
GROUP_LINES = ("-", "--", ":")  # go on with another line when the colours are used up
CLASS_COLOURS = {
    "none": "#009E73",
    "timed_out": "#56B4E9",
    "wrong_yaw": "#F0E442",
    "overshot": "#CC79A7",
    "jammed": "#D55E00",
    "never_touched": "#4d4d4d",
}


class FigureError(So101Error):
    """A figure lacks the data it is made of."""


def curve(lines: Sequence[Mapping[str, float]], name: str) -> list[tuple[int, float]]:
    """Points (env steps, value) of one metric."""
    return [(int(line["step"]), line[name]) for line in lines if name in line]


def percent_axis(axes: "Axes", label: str) -> None:
    """Let an axis show shares [%], from 0 to a little above 100."""
    axes.set_ylim(0, 109)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel(label)


def steps_axis(axes: "Axes") -> None:
    """Let an axis count env steps from 0."""
    from matplotlib.ticker import EngFormatter

    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("env steps")


def title(run: RunDir) -> str:
    """What a run is, in a line."""
    groups = run.info["groups"]
    chosen = [groups[key] for key in ("env", "base_policy", "algo") if key in groups]
    parts = [" / ".join(chosen), f"seed {run.info['seed']}", run.info["name"]]
    return "   ".join(part for part in parts if part)


def save(figure: "Figure", path: Path) -> Path:
    """Write a PNG, the same bytes for the same figure; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    return path

"""One style for all figures: readable at README width, safe for colour-blind eyes."""

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.errors import So101Error
from so101rl.runs.run_dir import RunDir

if TYPE_CHECKING:
    from matplotlib.artist import Artist
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
SUCCESS = "none"  # what a table calls the failure of an episode without one
CLASS_COLOURS = {
    SUCCESS: "#009E73",
    "wrong_yaw": "#D55E00",
    "timed_out": "#56B4E9",
    "overshot": "#CC79A7",
    "jammed": "#F0E442",
    "never_touched": "#4d4d4d",
}
WIDTH = 9.8  # of a figure [inch]
LEGEND_COLUMNS = 8  # that fit below a figure of this width


class FigureError(So101Error):
    """A figure lacks the data it is made of."""


def class_colour(end: str) -> str:
    """Colour of a failure class; those that we do not know share one."""
    return CLASS_COLOURS.get(end, "#bbbbbb")


def class_name(end: str) -> str:
    """A failure class in words."""
    return "success" if end == SUCCESS else end.replace("_", " ")


def in_order(ends: Iterable[str]) -> list[str]:
    """The classes among `ends`, success first, unknown ones last."""
    present = set(ends)
    known = [name for name in CLASS_COLOURS if name in present]
    return known + sorted(present - set(known))


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


def headline(figure: "Figure", run: RunDir, remark: str = "") -> None:
    """Write what a run is above its figure, quietly, and a remark below that."""
    text = f"{title(run)}\n{remark}" if remark else title(run)
    figure.suptitle(text, x=0.01, ha="left", fontsize=9, color="#555555")


def explain(figure: "Figure", handles: "Sequence[Artist]") -> None:
    """Put one legend for all panels below them, in as few lines as fit."""
    most = max(1, int(LEGEND_COLUMNS * figure.get_figwidth() / WIDTH))
    lines = math.ceil(len(handles) / most)
    figure.legend(
        handles=handles,
        loc="outside lower center",
        ncols=math.ceil(len(handles) / lines),
        columnspacing=1.4,
        handlelength=1.6,
    )


def save(figure: "Figure", path: Path) -> Path:
    """Write a PNG, the same bytes for the same figure; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    return path

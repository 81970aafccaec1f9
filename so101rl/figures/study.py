"""What the arms of a study achieved: learning curves and final success."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.figures.style import (
    GROUP_COLOURS,
    GROUP_LINES,
    STYLE,
    percent_axis,
    save,
    steps_axis,
)
from so101rl.statistics import Interval

if TYPE_CHECKING:
    from matplotlib.axes import Axes


@dataclass(frozen=True, kw_only=True)
class ArmPicture:
    """What the figure of a study shows of one arm.

    Attributes:
        env: the task; every task has a panel of learning curves.
        name: what tells the arm from others of its task; may have several lines.
        seeds: how many seeds, in words.
        curves: per seed the points (env steps, success rate).
        finals: per policy the success rates, one per seed.
        intervals: per policy the mean and its interval.
    """

    env: str
    name: str
    seeds: str
    curves: Sequence[Sequence[tuple[int, float]]]
    finals: Mapping[str, Sequence[float]]
    intervals: Mapping[str, Interval]


def figure_study(path: Path, arms: Sequence[ArmPicture], title: str) -> Path:
    """Draw a study: mean learning curves with seed spread, and final success.

    Args:
        path: PNG to write.
        arms: those of one task next to each other.
        title: what all arms have in common.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    envs = list(dict.fromkeys(arm.env for arm in arms))
    names = list(dict.fromkeys(arm.name for arm in arms))
    looks = [_group_look(names.index(arm.name)) for arm in arms]
    lines = sum(max(2, arm.name.count("\n") + 2) for arm in arms)
    widths = [1.0] * len(envs) + [1.15]
    with rc_context(STYLE):
        size = (max(10, 3.3 * len(widths)), max(3.4, 1.5 + 0.24 * lines))
        figure = Figure(figsize=size, layout="constrained")
        panels = list(figure.subplots(1, len(widths), width_ratios=widths))
        for env, axes in zip(envs, panels, strict=False):
            for arm, look in zip(arms, looks, strict=True):
                if arm.env == env:
                    _draw_spread(axes, arm.curves, look)
            percent_axis(axes, "success, select episodes [%]")
            steps_axis(axes)
            axes.set_title(f"Learning: {env}")
        for axes in panels[1:-1]:
            axes.set_ylabel("")
        _draw_finals(panels[-1], arms, looks)
        figure.suptitle(title, x=0.01, ha="left", fontsize=9, color="#555555")
        figure.legend(
            *panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=6
        )
        return save(figure, path)


def _draw_spread(
    axes: "Axes", seeds: Sequence[Sequence[tuple[int, float]]], look: dict[str, Any]
) -> None:
    import numpy as np

    seeds = [points for points in seeds if points]
    if not seeds:
        return
    end = min(points[-1][0] for points in seeds)
    grid = sorted({step for points in seeds for step, _ in points if step <= end})
    rates = 100 * np.array(
        [np.interp(grid, *np.array(points, float).T) for points in seeds]
    )
    axes.plot(grid, rates.mean(0), **look)
    axes.fill_between(
        grid, rates.min(0), rates.max(0), color=look["color"], alpha=0.15, lw=0
    )


def _draw_finals(
    axes: "Axes", arms: Sequence[ArmPicture], looks: Sequence[dict[str, Any]]
) -> None:
    """The tick labels, in the arms' colours, are the legend of all panels."""
    for y, (arm, look) in enumerate(zip(arms, looks, strict=True)):
        colour = look["color"]
        for policy, rates in arm.finals.items():
            place = y + (0.17 if policy == "residual" else -0.21)
            inside = colour if policy == "residual" else "white"
            _draw_interval(axes, arm.intervals[policy], place, colour)
            mean = 100 * arm.intervals[policy].mean
            axes.plot(mean, place, "D", ms=6, color=colour, mfc=inside)
            dots = [100 * rate for rate in rates]
            axes.plot(dots, [place + 0.16] * len(dots), ".", ms=4, color="#777777")
        if y and arm.env != arms[y - 1].env:
            axes.axhline(y - 0.5, color="#999999", lw=0.8)
    grey: dict[str, Any] = {"ls": "", "ms": 6, "color": "#555555"}
    axes.plot([], [], marker="D", mfc="white", label="base", **grey)
    axes.plot([], [], marker="D", label="residual", **grey)
    axes.plot([], [], marker="|", ls="-", ms=7, color="#555555", label="95 % interval")
    axes.plot([], [], marker=">", **grey, label="goes on beyond the scale")
    axes.plot([], [], ".", ms=4, color="#777777", label="one seed")
    axes.fill_between([], [], color="#555555", alpha=0.25, label="range of the seeds")
    several = len({arm.env for arm in arms}) > 1
    labels = [[arm.env if several else "", arm.name, arm.seeds] for arm in arms]
    axes.set_yticks(range(len(arms)), ["\n".join(filter(None, own)) for own in labels])
    for label, look in zip(axes.get_yticklabels(), looks, strict=True):
        label.set(color=look["color"], fontweight="bold", fontsize=8.5)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlim(-6, 106)
    axes.set_xticks(range(0, 101, 20))
    axes.set_xlabel("success, mean over seeds [%]")
    axes.grid(axis="y", visible=False)
    axes.set_title("Held-out episodes")


def _draw_interval(axes: "Axes", found: Interval, place: float, colour: str) -> None:
    """A t interval is not clipped; an arrow stands for an end beyond the scale."""
    low, high = max(100 * found.low, -5.0), min(100 * found.high, 105.0)
    axes.plot([low, high], [place] * 2, "-", color=colour, lw=1.6)
    for end, true, arrow in ((low, found.low, "<"), (high, found.high, ">")):
        marker = "|" if math.isclose(end, 100 * true, abs_tol=1e-9) else arrow
        axes.plot(end, place, marker, color=colour, ms=7 if marker == "|" else 5)


def _group_look(index: int) -> dict[str, Any]:
    turn, colour = divmod(index, len(GROUP_COLOURS))
    return {"color": GROUP_COLOURS[colour], "ls": GROUP_LINES[turn % len(GROUP_LINES)]}

"""The figure of a study: results of the arms, learning curves, performance profile."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from textwrap import wrap
from typing import TYPE_CHECKING, Any

from so101rl.figures.style import (
    DARK,
    GREY,
    GROUP_COLOURS,
    GROUP_LINES,
    WIDTH,
    headline,
    new_figure,
    percent_axis,
    save,
    steps_axis,
)
from so101rl.statistics import profile

if TYPE_CHECKING:
    from matplotlib.axes import Axes

# Six of Okabe and Ito, three of Paul Tol: a study has at most nine arms.
COLOURS = (*GROUP_COLOURS, "#332288", "#882255", "#999933")
BASE_COLOUR, SEED_COLOUR = "#6b6b6b", "#8a8a8a"
NAME, REMARK, TITLE = 24, 32, 125  # longest lines of these [characters]
ROW = 0.47  # height of an arm's row [inch]
EDGE = 0.04  # free space beside the results, as a share of their range


@dataclass(frozen=True, kw_only=True)
class ArmResult:
    """An arm, or its base, in the figure of a study.

    Attributes:
        name: its label.
        remark: a short verdict, below the label.
        is_claim: whether a test decided that verdict.
        is_base: whether it is the base policy alone.
        values: the result by seed, in the shown unit.
        mean: mean over the seeds; `low` and `high` are the ends of its interval.
        curves: per seed, the points (env steps, success rate).
    """

    name: str
    remark: str = ""
    is_claim: bool = False
    is_base: bool = False
    values: Mapping[int, float]
    mean: float
    low: float | None = None
    high: float | None = None
    curves: Sequence[Sequence[tuple[int, float]]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class StudyResult:
    """The content of the figure of a study.

    Attributes:
        title: a grey line above.
        label: the metric, with its unit.
        limits: least and greatest possible result; None: unlimited.
        arms: from top to bottom.
    """

    title: str
    label: str
    limits: tuple[float, float] | None
    arms: Sequence[ArmResult]


def figure_study(folder: Path, study: StudyResult) -> Path:
    """Draw a study into `figure.png` and `figure.svg`; returns the PNG's path."""
    styles = _styles(study.arms)
    with new_figure(WIDTH, max(4.4, 1.5 + ROW * len(study.arms))) as figure:
        panels = figure.subplot_mosaic(
            [["results", "learning"], ["results", "profile"]], width_ratios=[1.25, 1]
        )
        limits = _limits(study)
        _draw_results(panels["results"], study, styles, limits)
        _draw_learning(panels["learning"], study.arms, styles)
        _draw_profile(panels["profile"], study, styles, limits)
        headline(figure, *wrap(study.title, TITLE))
        save(figure, folder / "figure.svg")
        return save(figure, folder / "figure.png")


def _styles(arms: Sequence[ArmResult]) -> list[dict[str, Any]]:
    """Return colour and line style of each arm; bases are grey."""
    styles, learned = [], 0
    for number, arm in enumerate(arms):
        if arm.is_base:
            styles.append({"color": BASE_COLOUR, "ls": (0, (1, 1 + number))})
            continue
        turn, colour = divmod(learned, len(COLOURS))
        line = GROUP_LINES[turn % len(GROUP_LINES)]
        styles.append({"color": COLOURS[colour], "ls": line})
        learned += 1
    return styles


def _limits(study: StudyResult) -> tuple[float, float]:
    """Return the range of all results and intervals, with `EDGE` around."""
    ends = [value for arm in study.arms for value in arm.values.values()]
    ends += [arm.low for arm in study.arms if arm.low is not None]
    ends += [arm.high for arm in study.arms if arm.high is not None]
    low, high = min(ends), max(ends)
    if study.limits is not None:
        least, most = study.limits
        low, high = max(low, least), min(high, most)
    edge = EDGE * (high - low) or 1.0
    return low - edge, high + edge


def _draw_results(
    axes: "Axes",
    study: StudyResult,
    styles: Sequence[dict[str, Any]],
    limits: tuple[float, float],
) -> None:
    """Draw a row per arm; its coloured name is the legend of all panels."""
    arms = study.arms
    for y, (arm, style) in enumerate(zip(arms, styles, strict=True)):
        dots = list(arm.values.values())
        axes.plot(dots, [y + 0.2] * len(dots), ".", ms=5, color=SEED_COLOUR, alpha=0.7)
        inside = "white" if arm.is_base else style["color"]
        axes.plot(arm.mean, y - 0.08, "D", ms=6, color=style["color"], mfc=inside)
        if arm.low is not None and arm.high is not None:
            _draw_interval(axes, (arm.low, arm.high), y - 0.08, style["color"], limits)
    axes.set_ylim(len(arms) - 0.5, -0.5)
    axes.set_xlim(limits)
    axes.set_xlabel(f"{study.label}   ◆ mean, 95 % interval   • one seed")
    axes.grid(axis="y", visible=False)
    names = ["\n".join(wrap(arm.name, NAME)) for arm in arms]
    axes.set_yticks(range(len(arms)), names)
    for label, style in zip(axes.get_yticklabels(), styles, strict=True):
        label.set(color=style["color"], fontweight="bold")
    axes.set_title("Held-out episodes")
    for y, (arm, name) in enumerate(zip(arms, names, strict=True)):
        lines = name.count("\n") + 1
        axes.annotate(
            "\n".join(wrap(arm.remark, REMARK)),
            (0, y),
            (-9, -2 - 6.5 * lines),
            xycoords=("axes fraction", "data"),
            textcoords="offset points",
            ha="right",
            va="top",
            fontsize=8,
            fontweight="bold" if arm.is_claim else "normal",
            color=DARK,
        )


def _draw_interval(
    axes: "Axes",
    ends: tuple[float, float],
    place: float,
    colour: str,
    limits: tuple[float, float],
) -> None:
    """Draw an interval; an arrow marks an end outside of `limits`."""
    shown = [min(max(end, limits[0]), limits[1]) for end in ends]
    axes.plot(shown, [place] * 2, "-", color=colour, lw=1.6)
    for end, true, arrow in zip(shown, ends, "<>", strict=True):
        marker = "|" if end == true else arrow
        size = 8 if marker == "|" else 5
        axes.plot(end, place, marker, color=colour, ms=size, clip_on=False)


def _draw_learning(
    axes: "Axes", arms: Sequence[ArmResult], styles: Sequence[dict[str, Any]]
) -> None:
    """Draw the mean and the middle half of the seeds' learning curves."""
    import numpy as np

    for arm, style in zip(arms, styles, strict=True):
        seeds = [points for points in arm.curves if points]
        if not seeds:
            continue
        end = min(points[-1][0] for points in seeds)
        grid = sorted({step for points in seeds for step, _ in points if step <= end})
        rates = 100 * np.array(
            [np.interp(grid, *np.array(points, float).T) for points in seeds]
        )
        low, high = np.quantile(rates, (0.25, 0.75), axis=0)
        axes.plot(grid, rates.mean(0), **style)
        axes.fill_between(grid, low, high, color=style["color"], alpha=0.13, lw=0)
    percent_axis(axes, "success [%]")
    steps_axis(axes)
    axes.set_title("Learning")
    axes.set_title(
        "select episodes; band: middle half",
        loc="right",
        fontsize=8.5,
        fontweight="normal",
        color=GREY,
    )


def _draw_profile(
    axes: "Axes",
    study: StudyResult,
    styles: Sequence[dict[str, Any]],
    limits: tuple[float, float],
) -> None:
    """Draw the share of the seeds above each result."""
    for arm, style in zip(study.arms, styles, strict=True):
        steps = [limits[0], *sorted(set(arm.values.values())), limits[1]]
        shares = [100 * share.mean for share in profile(arm.values, steps)]
        axes.plot(steps, shares, drawstyle="steps-post", **style)
    percent_axis(axes, "share of seeds [%]")
    axes.set_xlim(limits)
    axes.set_xlabel(f"above this {study.label}")
    axes.set_title("Performance profile")

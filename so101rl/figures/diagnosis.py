"""The figure of `job=explain`: up to six panels with the limits of the rules."""

import math
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from so101rl.figures.failure_classes import colour_of, in_order, label_of
from so101rl.figures.style import (
    POLICY_COLOURS,
    WIDTH,
    curve,
    headline,
    new_figure,
    percent_axis,
    run_title,
    save,
    steps_axis,
)
from so101rl.runs.episodes_csv import FINAL
from so101rl.runs.run_dir import RunDir
from so101rl.runs.task import NumberInfo, TaskInfo
from so101rl.statistics import BASE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = Sequence[Mapping[str, float]]
Rows = Mapping[str, Sequence[Mapping[str, Any]]]
Limits = Mapping[str, Any]
LEFT, RIGHT, LIMIT = "#0072B2", "#D55E00", "#777777"
SMALL = 7.5  # font size of legends and limits [pt]
BINS = 20  # of a histogram
FILLED: dict[str, Any] = {"ms": 4.5, "mew": 0.3, "mec": "#444444"}
HOLLOW: dict[str, Any] = {"color": LIMIT, "mfc": "none"}  # of the base's episodes
# Label, style and episodes, per group of episodes.
Groups = Sequence[tuple[str, dict[str, Any], Sequence[Mapping[str, Any]]]]


def figure_diagnosis(
    run: RunDir, lines: Lines, rows: Rows, limits: Limits
) -> Path | None:
    """Draw the panels for which the run has data.

    Args:
        run: a run that was trained, evaluated, or both.
        lines: those of its `metrics.jsonl`, as in `Facts.lines`.
        rows: those of its `episodes.csv` by policy.
        limits: by symptom, `symptoms` of `conf/job/explain.yaml`.

    Returns:
        Path of `figures/diagnosis.png` in the run directory; None without any data.
    """
    panels = _panels(run, lines, rows, limits)
    if not panels:
        return None
    columns = min(len(panels), 2 if len(panels) == 4 else 3)
    n_rows = math.ceil(len(panels) / columns)
    width = max(WIDTH * columns / 3 + 0.6, 6.5)
    with new_figure(width, 2.9 * n_rows + 0.2) as figure:
        grid = figure.subplots(n_rows, columns, squeeze=False).ravel()
        for axes, draw in zip(grid, panels, strict=False):
            draw(axes)
        for axes in grid[len(panels) :]:
            axes.set_visible(False)
        headline(figure, run_title(run))
        return save(figure, run.file("figures/diagnosis.png"))


def _panels(
    run: RunDir, lines: Lines, rows: Rows, limits: Limits
) -> list[Callable[["Axes"], None]]:
    """The panels for which there is something to draw."""
    evaluation = run.evaluation() or {"policies": {}, "policy_step": None}
    task = run.task()
    known = {name for line in lines if line["step"] > 0 for name in line}
    wanted: list[tuple[object, Callable[[Axes], None]]] = [
        (
            known & {"rollout/success_rate", "eval/success_rate"},
            partial(_draw_learning, lines=lines, evaluation=evaluation),
        ),
        (rows and task.numbers, partial(_draw_ends, rows=rows, task=task)),
        ("residual/l2" in known, partial(_draw_residual, lines=lines, limits=limits)),
        ("train/approx_kl" in known, partial(_draw_kl, lines=lines, limits=limits)),
        (
            known & {"train/std", "train/ent_coef"},
            partial(_draw_exploration, lines=lines, limits=limits),
        ),
        (
            known & {"train/value_loss", "train/critic_loss"},
            partial(_draw_value, lines=lines, limits=limits),
        ),
    ]
    return [draw for has_data, draw in wanted if has_data]


def _draw_learning(axes: "Axes", lines: Lines, evaluation: Mapping[str, Any]) -> None:
    _plot(axes, lines, "rollout/success_rate", "with noise", "#56B4E9", scale=100)
    _plot(axes, lines, "eval/success_rate", "select episodes", LEFT, scale=100)
    for policy, scores in evaluation["policies"].items():
        style: dict[str, Any] = {"color": POLICY_COLOURS[policy], "ls": "--", "lw": 1.2}
        axes.axhline(100 * scores["success_rate"], label=f"{policy}, held-out", **style)
    if evaluation["policy_step"] is not None:
        axes.axvline(
            evaluation["policy_step"], color=LIMIT, lw=0.9, label="judged policy"
        )
    percent_axis(axes, "success rate [%]")
    _finish(axes, "Learning")


def _draw_ends(axes: "Axes", rows: Rows, task: TaskInfo) -> None:
    """Draw the task's numbers at the end: two as points, one as a histogram.

    Episodes of the last policy are in colour; failed ones of the base are hollow.
    """
    policy = list(rows)[-1]
    failed = [row for row in rows.get(BASE, ()) if not row["is_success"]]
    groups = [
        (
            f"{label_of(failure)} {len(own)}",
            {"color": colour_of(failure, task)},
            own,
        )
        for failure in in_order((row["failure"] for row in rows[policy]), task)
        if (own := [row for row in rows[policy] if row["failure"] == failure])
    ]
    if policy != BASE and failed:
        groups.append((f"base failed {len(failed)}", HOLLOW, failed))
    draw = _draw_points if len(task.numbers) > 1 else _draw_histogram
    draw(axes, groups, task.numbers)
    style = {"ncols": 2, "columnspacing": 0.8, "handletextpad": 0.2}
    axes.legend(loc="upper center", fontsize=SMALL, **style)
    axes.set_title(f"How episodes end: {policy}")


def _draw_points(axes: "Axes", groups: Groups, numbers: Sequence[NumberInfo]) -> None:
    """Draw the first number against the second one, a point per episode."""
    first, second = numbers[:2]
    for label, style, rows in groups:
        hollow = style is HOLLOW
        marks = {"ms": 5, "mew": 0.8, "zorder": 1} if hollow else FILLED
        values = _at_end(rows, first), _at_end(rows, second)
        axes.plot(*values, "o", label=label, **marks | style)
    points = np.concatenate([line.get_xdata() for line in axes.lines])
    if (points > 0).all():
        _decades(axes, "x")
    axes.set_xlabel(_end_label(first))
    axes.set_ylabel(_end_label(second))
    heights = np.concatenate([line.get_ydata() for line in axes.lines])
    _leave_room(axes, heights)


def _draw_histogram(
    axes: "Axes", groups: Groups, numbers: Sequence[NumberInfo]
) -> None:
    """Draw a stacked histogram of the first number."""
    number = numbers[0]
    values = [_at_end(rows, number) for _, _, rows in groups]
    edges = np.histogram_bin_edges(np.concatenate(values), bins=BINS)
    tops, highest = np.zeros(BINS), 0
    for (label, style, _), own in zip(groups, values, strict=True):
        counts, _ = np.histogram(own, edges)
        highest = max(highest, counts.max())
        if style is HOLLOW:
            axes.stairs(counts, edges, color=LIMIT, lw=1.2, label=label)
        else:
            axes.stairs(
                tops + counts, edges, baseline=tops, fill=True, label=label, **style
            )
            tops += counts
    axes.set_xlabel(_end_label(number))
    axes.set_ylabel("episodes")
    _leave_room(axes, np.append(tops, highest))


def _leave_room(axes: "Axes", heights: np.ndarray) -> None:
    """Scale the y axis so that a legend fits above all points."""
    low, high = min(0.0, heights.min()), max(heights.max(), 0.0)
    axes.set_ylim(low, low + 1.5 * (high - low or 1.0))


def _at_end(rows: Sequence[Mapping[str, Any]], number: NumberInfo) -> np.ndarray:
    """Return a number at the end of k episodes (k,), in its shown unit."""
    return number.factor * np.array([row[f"{FINAL}{number.name}"] for row in rows])


def _end_label(number: NumberInfo) -> str:
    unit = f" [{number.unit}]" if number.unit else ""
    return f"{number.title} at the end{unit}"


def _draw_residual(axes: "Axes", lines: Lines, limits: Limits) -> None:
    _plot(axes, lines, "residual/share", "size, of its largest", LEFT, scale=100)
    _plot(axes, lines, "residual/clipped", "actions clipped", RIGHT, scale=100)
    _limit(axes, 100 * limits["residual_saturated"]["share"], "saturated", LEFT)
    _limit(axes, 100 * limits["actions_clipped"]["share"], "much clipped", RIGHT)
    percent_axis(axes, "share [%]")
    _finish(axes, "Residual, with noise")


def _draw_kl(axes: "Axes", lines: Lines, limits: Limits) -> None:
    _plot(axes, lines, "train/approx_kl", "approx. KL", LEFT)
    _plot(axes, lines, "train/clip_fraction", "clip fraction", RIGHT)
    own = limits["unstable_updates"]
    _limit(axes, own["kl"], "KL unstable", LEFT, left=True)
    _limit(axes, own["clip_fraction"], "clip fraction unstable", RIGHT)
    _decades(axes)
    _finish(axes, "Size of the updates")


def _draw_exploration(axes: "Axes", lines: Lines, limits: Limits) -> None:
    own = limits["exploration_lost"]
    for name, label, least in (
        ("train/std", "standard deviation", own["std"]),
        ("train/ent_coef", "entropy coefficient", own["ent_coef"]),
    ):
        if _plot(axes, lines, name, label, LEFT):
            _limit(axes, least, "lost", left=True)
            axes.set_ylabel(label)
    _decades(axes)
    _finish(axes, "Exploration", legend=False)


def _draw_value(axes: "Axes", lines: Lines, limits: Limits) -> None:
    for name, label in (("value_loss", "value loss"), ("critic_loss", "critic loss")):
        if _plot(axes, lines, f"train/{name}", label, LEFT):
            axes.set_ylabel(label, color=LEFT)
    _decades(axes)
    _finish(axes, "Value network", legend=False)
    if not curve(lines, "train/explained_variance"):
        return
    other = axes.twinx()
    _plot(other, lines, "train/explained_variance", "explained variance", RIGHT)
    _limit(other, limits["value_poor"]["explained_variance"], "poor", RIGHT)
    other.set_ylim(-0.05, 1.05)
    other.set_ylabel("explained variance", color=RIGHT)
    other.grid(visible=False)


def _finish(axes: "Axes", title: str, *, legend: bool = True) -> None:
    steps_axis(axes)
    axes.set_title(title)
    if legend:
        axes.legend(fontsize=SMALL)


def _decades(axes: "Axes", axis: str = "y") -> None:
    """Make an axis logarithmic, between the powers of ten that enclose the data."""
    from matplotlib.ticker import NullFormatter

    data = [getattr(line, f"get_{axis}data")() for line in axes.lines]
    drawn = np.concatenate([np.asarray(own, float) for own in data])
    powers = np.log10(drawn[drawn > 0])
    axes.set(**{f"{axis}scale": "log"})
    if not len(powers):
        return
    low, high = math.floor(powers.min()), math.ceil(powers.max())
    axes.set(**{f"{axis}lim": (10.0**low, 10.0 ** max(high, low + 1))})
    shown = axes.yaxis if axis == "y" else axes.xaxis
    if high - low <= 4:
        shown.set_major_formatter("{x:g}")
    shown.set_minor_formatter(NullFormatter())


def _plot(
    axes: "Axes", lines: Lines, metric: str, label: str, colour: str, scale: float = 1
) -> bool:
    """Draw one metric over env steps; returns whether the run has it."""
    points = curve(lines, metric)
    if points:
        steps, values = np.array(points, float).T
        few: dict[str, Any] = {"marker": "o", "ms": 3} if len(points) <= 20 else {}
        axes.plot(steps, scale * values, color=colour, label=label, lw=1.5, **few)
    return bool(points)


def _limit(
    axes: "Axes", value: float, name: str, colour: str = LIMIT, *, left: bool = False
) -> None:
    """Draw the limit of a rule as a dotted line with a name."""
    axes.axhline(value, color=colour, ls=":", lw=1.1)
    axes.annotate(
        name,
        (0.01 if left else 0.99, value),
        (0, 2),
        xycoords=("axes fraction", "data"),
        textcoords="offset points",
        ha="left" if left else "right",
        fontsize=SMALL,
        color=colour,
    )

"""What `job=explain` looks at in six panels, each with the limits of the rules."""

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
from so101rl.runs.run_dir import RunDir
from so101rl.statistics import BASE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Lines = Sequence[Mapping[str, float]]
Rows = Mapping[str, Sequence[Mapping[str, Any]]]
Limits = Mapping[str, Any]
LEFT, RIGHT, LIMIT = "#0072B2", "#D55E00", "#777777"
SMALL = 7.5  # font size of legends and limits [pt]


def figure_diagnosis(
    run: RunDir, lines: Lines, rows: Rows, limits: Limits
) -> Path | None:
    """Draw the panels for which the run has data.

    Args:
        run: trained, or evaluated, or both.
        lines: of its `metrics.jsonl`, as `read_facts` gives them.
        rows: those of its `episodes.csv` by policy.
        limits: by symptom, as in `conf/job/explain.yaml`.

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
    known = {name for line in lines if line["step"] > 0 for name in line}
    wanted: list[tuple[object, Callable[[Axes], None]]] = [
        (
            known & {"rollout/success_rate", "eval/success_rate"},
            partial(_draw_learning, lines=lines, evaluation=evaluation),
        ),
        (rows, partial(_draw_ends, rows=rows, env=run.config().env)),
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


def _draw_ends(axes: "Axes", rows: Rows, env: Any) -> None:
    """Where the episodes of the last policy ended, and hollow those of the base."""
    policy = list(rows)[-1]
    for failure in in_order(row["failure"] for row in rows[policy]):
        own = [row for row in rows[policy] if row["failure"] == failure]
        style: dict[str, Any] = {"color": colour_of(failure), "mec": "#444444"}
        label = f"{label_of(failure)} {len(own)}"
        axes.plot(*_errors(own), "o", ms=4.5, mew=0.3, label=label, **style)
    failed = [row for row in rows.get(BASE, ()) if not row["is_success"]]
    if policy != BASE and failed:
        style = {"color": LIMIT, "mfc": "none", "label": f"base failed {len(failed)}"}
        axes.plot(*_errors(failed), "o", ms=5, mew=0.8, zorder=1, **style)
    _decades(axes, "x")
    yaw = _largest_yaw(env)
    if yaw is not None:
        _limit(axes, math.degrees(yaw), "too much to fit", left=True)
    axes.set_xlabel("distance at the end [mm]")
    axes.set_ylabel("yaw error at the end [deg]")
    axes.set_ylim(0, 70)  # 45 is the largest; the rest is the legend's
    axes.set_yticks(range(0, 46, 15))
    style = {"ncols": 2, "columnspacing": 0.8, "handletextpad": 0.2}
    axes.legend(loc="upper center", fontsize=SMALL, **style)
    axes.set_title(f"How episodes end: {policy}")


def _draw_residual(axes: "Axes", lines: Lines, limits: Limits) -> None:
    _plot(axes, lines, "residual/share", "size, of its largest", LEFT, scale=100)
    _plot(axes, lines, "residual/clipped", "joint actions clipped", RIGHT, scale=100)
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
    """Make an axis logarithmic, from one power of ten to another around all data."""
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
    """Draw the value from which on a rule finds its symptom."""
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


def _errors(rows: Sequence[Mapping[str, Any]]) -> tuple[list[float], list[float]]:
    """Distances [mm] and yaw errors [deg] of episodes."""
    return (
        [1000 * row["final_distance_m"] for row in rows],
        [math.degrees(row["final_yaw_error_rad"]) for row in rows],
    )


def _largest_yaw(env: Any) -> float | None:
    """The yaw error [rad] up to which a centred sheet fits into the square."""
    if "scene" not in env or "square_side" not in env.scene:
        return None
    width, height = env.scene.object_size[:2]
    yaw = np.linspace(0, np.pi / 4, 1000)
    a = width * np.cos(yaw) + height * np.sin(yaw)
    b = width * np.sin(yaw) + height * np.cos(yaw)
    fits = np.maximum(a, b) <= env.scene.square_side
    return float(yaw[fits].max()) if fits.any() else None

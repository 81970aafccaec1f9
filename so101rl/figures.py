"""Figures in one style: readable at README width, safe for colour-blind eyes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.errors import So101Error
from so101rl.rundir import RunDir
from so101rl.statistics import Interval

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


def figure_summary(run: RunDir) -> Path:
    """Draw what a run achieved: success, learning curve, failure classes.

    Args:
        run: a run with an evaluation; without metrics the curve is left out.

    Returns:
        Path of `figures/summary.png` in the run directory.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    evaluation = run.evaluation()
    if evaluation is None:
        raise FigureError(f"{run.path} has no evaluation.json to draw")
    policies, lines = evaluation["policies"], run.metrics()
    widths = [1.0, 1.75, 1.25] if lines else [1.0, 1.25]
    with rc_context(STYLE):
        figure = Figure(figsize=(2.45 * sum(widths), 3.1), layout="constrained")
        panels = list(figure.subplots(1, len(widths), width_ratios=widths))
        _draw_success(panels[0], policies)
        if lines:
            _draw_learning(panels[1], lines, policies)
        _draw_failures(panels[-1], policies)
        figure.suptitle(_title(run), x=0.01, ha="left", fontsize=9, color="#555555")
        return _save(figure, run.file("figures/summary.png"))


def figure_study(
    path: Path,
    curves: Mapping[str, Sequence[Sequence[tuple[int, float]]]],
    finals: Mapping[str, Mapping[str, Sequence[float]]],
    intervals: Mapping[str, Mapping[str, Interval]],
    title: str,
) -> Path:
    """Draw a study: mean learning curves with seed spread, and final success.

    Args:
        path: PNG to write.
        curves: per group and seed the points (env steps, success rate).
        finals: per group and policy the success rates, one per seed.
        intervals: per group and policy the mean and its interval.
        title: what all groups have in common.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    height = max(3.2, 1.5 + 0.42 * len(finals))
    with rc_context(STYLE):
        figure = Figure(figsize=(10, height), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1.25, 1])
        for index, seeds in enumerate(curves.values()):
            _draw_spread(left, seeds, index)
        _percent_axis(left, "success rate, select episodes [%]")
        _steps_axis(left)
        left.set_title("Learning (mean, band: min to max over seeds)")
        _draw_finals(right, finals, intervals)
        figure.suptitle(title, x=0.01, ha="left", fontsize=9, color="#555555")
        return _save(figure, path)


def _draw_success(axes: "Axes", policies: Mapping[str, Any]) -> None:
    for x, (policy, scores) in enumerate(policies.items()):
        rate = 100 * scores["success_rate"]
        low, high = (100 * end for end in scores["wilson_95"])
        axes.bar(x, rate, 0.62, color=POLICY_COLOURS.get(policy, "#999999"))
        axes.errorbar(
            x, rate, [[rate - low], [high - rate]], color="black", capsize=4, lw=1.3
        )
        axes.annotate(
            f"{rate:.0f} %", (x, high), (0, 4), textcoords="offset points", ha="center"
        )
    labels = [
        f"{name}\nn = {scores['n_episodes']}" for name, scores in policies.items()
    ]
    axes.set_xticks(range(len(policies)), labels)
    axes.set_xlim(-0.6, len(policies) - 0.4)
    axes.grid(axis="x", visible=False)
    _percent_axis(axes, "success [%], 95 % Wilson")
    axes.set_title("Held-out episodes")


def _draw_learning(
    axes: "Axes", lines: Sequence[Mapping[str, float]], policies: Mapping[str, Any]
) -> None:
    shown: list[tuple[str, str, dict[str, Any]]] = [
        ("rollout/success_rate", "training", {"color": "#56B4E9", "lw": 1.2}),
        ("eval/success_rate", "select episodes", {"color": "#0072B2", "marker": "o"}),
    ]
    for name, label, look in shown:
        points = curve(lines, name)
        if points:
            steps, rates = zip(*points, strict=True)
            percents = [100 * rate for rate in rates]
            axes.plot(steps, percents, label=label, markersize=3.5, **look)
    if "base" in policies:
        base = 100 * policies["base"]["success_rate"]
        axes.axhline(
            base, color=POLICY_COLOURS["base"], ls="--", label="base, held-out"
        )
    _percent_axis(axes, "success rate [%]")
    _steps_axis(axes)
    axes.legend(loc="best")
    axes.set_title("Learning")


def _draw_failures(axes: "Axes", policies: Mapping[str, Any]) -> None:
    present = {name for scores in policies.values() for name in scores["failures"]}
    classes = [*CLASS_COLOURS, *sorted(present - set(CLASS_COLOURS))]
    tops = [0.0] * len(policies)
    for name in classes:
        shares = [
            100 * scores["failures"].get(name, 0) / scores["n_episodes"]
            for scores in policies.values()
        ]
        if not any(shares):
            continue
        axes.bar(
            list(policies),
            shares,
            0.62,
            bottom=tops,
            color=CLASS_COLOURS.get(name, "#bbbbbb"),
            edgecolor="white",
            linewidth=0.8,
            label="success" if name == "none" else name.replace("_", " "),
        )
        tops = [top + share for top, share in zip(tops, shares, strict=True)]
    axes.grid(axis="x", visible=False)
    axes.set_xlim(-0.6, len(policies) - 0.4)
    _percent_axis(axes, "share of episodes [%]")
    axes.set_title("How episodes end")
    axes.legend(
        loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True, handlelength=1.0
    )


def _draw_spread(
    axes: "Axes", seeds: Sequence[Sequence[tuple[int, float]]], index: int
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
    look = _group_look(index)
    axes.plot(grid, rates.mean(0), **look)
    axes.fill_between(
        grid, rates.min(0), rates.max(0), color=look["color"], alpha=0.15, lw=0
    )


def _draw_finals(
    axes: "Axes",
    finals: Mapping[str, Mapping[str, Sequence[float]]],
    intervals: Mapping[str, Mapping[str, Interval]],
) -> None:
    """The tick labels, in the groups' colours, are the legend of both panels."""
    for y, group in enumerate(finals):
        colour = _group_look(y)["color"]
        for policy, rates in finals[group].items():
            place = y + (0.17 if policy == "residual" else -0.17)
            found = intervals[group][policy]
            ends, mean = [100 * found.low, 100 * found.high], 100 * found.mean
            inside = colour if policy == "residual" else "white"
            axes.plot(ends, [place] * 2, "|-", color=colour, ms=7, lw=1.6)
            axes.plot(mean, place, "D", ms=6, color=colour, mfc=inside)
            dots = [100 * rate for rate in rates]
            axes.plot(dots, [place + 0.14] * len(dots), ".", ms=4, color="#777777")
    axes.plot([], [], "D", ms=6, color="#555555", mfc="white", label="base")
    axes.plot([], [], "D", ms=6, color="#555555", label="residual")
    axes.plot([], [], ".", ms=4, color="#777777", label="one seed")
    axes.set_yticks(range(len(finals)), list(finals))
    for y, label in enumerate(axes.get_yticklabels()):
        label.set_color(_group_look(y)["color"])
        label.set_fontweight("bold")
    axes.set_ylim(len(finals) - 0.5, -0.5)
    axes.set_xlim(-4, 104)
    axes.set_xlabel("success rate [%], mean and 95 % interval")
    axes.grid(axis="y", visible=False)
    axes.set_title("Held-out episodes")
    axes.legend(loc="best")


def curve(lines: Sequence[Mapping[str, float]], name: str) -> list[tuple[int, float]]:
    """Points (env steps, value) of one metric."""
    return [(int(line["step"]), line[name]) for line in lines if name in line]


def _group_look(index: int) -> dict[str, Any]:
    turn, colour = divmod(index, len(GROUP_COLOURS))
    return {"color": GROUP_COLOURS[colour], "ls": GROUP_LINES[turn % len(GROUP_LINES)]}


def _percent_axis(axes: "Axes", label: str) -> None:
    axes.set_ylim(0, 109)
    axes.set_yticks(range(0, 101, 20))
    axes.set_ylabel(label)


def _steps_axis(axes: "Axes") -> None:
    from matplotlib.ticker import EngFormatter

    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(EngFormatter(sep=""))
    axes.set_xlabel("env steps")


def _title(run: RunDir) -> str:
    groups = run.info["groups"]
    chosen = [groups[key] for key in ("env", "base_policy", "algo") if key in groups]
    parts = [" / ".join(chosen), f"seed {run.info['seed']}", run.info["name"]]
    return "   ".join(part for part in parts if part)


def _save(figure: "Figure", path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, metadata={"Software": None})
    return path

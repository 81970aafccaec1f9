"""Figures in one style: readable at README width, safe for colour-blind eyes."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
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
            _percent_axis(axes, "success, select episodes [%]")
            _steps_axis(axes)
            axes.set_title(f"Learning: {env}")
        for axes in panels[1:-1]:
            axes.set_ylabel("")
        _draw_finals(panels[-1], arms, looks)
        figure.suptitle(title, x=0.01, ha="left", fontsize=9, color="#555555")
        figure.legend(
            *panels[-1].get_legend_handles_labels(), loc="outside lower center", ncols=6
        )
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
    ends = {
        policy: {**scores["failures"], "none": _successes(scores)}
        for policy, scores in policies.items()
    }
    present = {name for counts in ends.values() for name in counts}
    classes = [*CLASS_COLOURS, *sorted(present - set(CLASS_COLOURS))]
    tops = [0.0] * len(policies)
    for name in classes:
        shares = [
            100 * counts.get(name, 0) / policies[policy]["n_episodes"]
            for policy, counts in ends.items()
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


def _successes(scores: Mapping[str, Any]) -> int:
    return round(scores["success_rate"] * scores["n_episodes"])


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

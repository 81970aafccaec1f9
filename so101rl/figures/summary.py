"""The summary of a run: success, learning curve, failure classes."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.envs.task import SUCCESS
from so101rl.figures.failure_classes import colour_of, in_order, label_of
from so101rl.figures.style import (
    POLICY_COLOURS,
    FigureError,
    curve,
    headline,
    new_figure,
    percent_axis,
    run_title,
    save,
    steps_axis,
)
from so101rl.runs.run_dir import RunDir
from so101rl.runs.task import TaskInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def figure_summary(run: RunDir) -> Path:
    """Draw success, learning curve and failure classes of a run.

    Args:
        run: a run with an evaluation; without metrics the curve is left out.

    Returns:
        Path of `figures/summary.png` in the run directory.
    """
    evaluation = run.evaluation()
    if evaluation is None:
        raise FigureError(f"{run.path} has no evaluation.json to draw")
    lines, policies = run.metrics(), evaluation["policies"]
    widths = [1.0, 1.75, 1.25] if lines else [1.0, 1.25]
    with new_figure(2.45 * sum(widths), 3.1) as figure:
        panels = list(figure.subplots(1, len(widths), width_ratios=widths))
        _draw_success(panels[0], policies)
        if lines:
            _draw_learning(panels[1], lines, policies)
            _mark_kept(panels[1], lines, evaluation["policy_step"])
        _draw_failures(panels[-1], policies, run.task())
        headline(figure, run_title(run))
        return save(figure, run.file("figures/summary.png"))


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
    percent_axis(axes, "success [%], 95 % Wilson")
    axes.set_title("Held-out episodes")


def _draw_learning(
    axes: "Axes", lines: Sequence[Mapping[str, float]], policies: Mapping[str, Any]
) -> None:
    metrics: list[tuple[str, str, dict[str, Any]]] = [
        ("rollout/success_rate", "training", {"color": "#56B4E9", "lw": 1.2}),
        ("eval/success_rate", "select episodes", {"color": "#0072B2", "marker": "o"}),
    ]
    for name, label, style in metrics:
        points = curve(lines, name)
        if points:
            steps, rates = zip(*points, strict=True)
            percents = [100 * rate for rate in rates]
            axes.plot(steps, percents, label=label, ms=3.5, clip_on=False, **style)
    if "base" in policies:
        base = 100 * policies["base"]["success_rate"]
        axes.axhline(
            base, color=POLICY_COLOURS["base"], ls="--", label="base, held-out"
        )
    percent_axis(axes, "success rate [%]")
    steps_axis(axes)
    axes.set_title("Learning")


def _mark_kept(axes: "Axes", lines: Sequence[Mapping[str, float]], step: int) -> None:
    """Draw a ring around the point of the evaluated checkpoint."""
    kept = [point for point in curve(lines, "eval/success_rate") if point[0] == step]
    for x, rate in kept[-1:]:
        style: dict[str, Any] = {"mfc": "none", "mec": "#0072B2", "clip_on": False}
        axes.plot(x, 100 * rate, "o", ms=9, label="kept", ls="", **style)
    axes.legend(loc="best")


def _draw_failures(axes: "Axes", policies: Mapping[str, Any], task: TaskInfo) -> None:
    tops = [0.0] * len(policies)
    failed = {name for scores in policies.values() for name in scores["failures"]}
    for name in in_order({SUCCESS, *failed}, task):
        shares = [100 * _share(scores, name) for scores in policies.values()]
        if not any(shares):
            continue
        axes.bar(
            list(policies),
            shares,
            0.62,
            bottom=tops,
            color=colour_of(name, task),
            edgecolor="white",
            linewidth=0.8,
            label=label_of(name),
        )
        tops = [top + share for top, share in zip(tops, shares, strict=True)]
    axes.grid(axis="x", visible=False)
    axes.set_xlim(-0.6, len(policies) - 0.4)
    percent_axis(axes, "share of episodes [%]")
    axes.set_title("How episodes end")
    axes.legend(
        loc="center left", bbox_to_anchor=(1.0, 0.5), reverse=True, handlelength=1.0
    )


def _share(scores: Mapping[str, Any], failure: str) -> float:
    n = scores["n_episodes"]
    solved = round(scores["success_rate"] * n)
    return (solved if failure == SUCCESS else scores["failures"].get(failure, 0)) / n

"""Size of the residual and numbers of the task over the time of an episode."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from so101rl.envs.task import SUCCESS
from so101rl.figures.held_out import (
    Episodes,
    HeldOutEpisode,
    read_episodes,
    read_paired_failures,
)
from so101rl.figures.style import (
    GREY,
    POLICY_COLOURS,
    WIDTH,
    FigureError,
    area_key,
    headline,
    legend_below,
    line_key,
    new_figure,
    percent_axis,
    run_title,
    save,
)
from so101rl.runs.run_dir import EVALUATION, RunDir
from so101rl.runs.task import NumberInfo

if TYPE_CHECKING:
    from matplotlib.axes import Axes

RUNNING = "left: of the episodes still running"
ENDED = "middle: of all, an episode that has ended keeps its last value"
FEW = 0.1  # share of the episodes; a mean over fewer is pale


def figure_residual(run: RunDir) -> Path:
    """Draw residual, clipping, the task's first two numbers and ends over time.

    All are functions of the time since the start of an episode [s].

    Args:
        run: a run with `trajectories.npz` and the episodes of base and residual.

    Returns:
        Path of `figures/residual.png` in the run directory.
    """
    read_paired_failures(run)  # raises if base or residual has no episodes
    episodes, task = read_episodes(run), run.task()
    hz, numbers = task.control_hz, task.numbers[:2]
    evaluation = run.evaluation()
    if evaluation is None:
        raise FigureError(f"{run.path} has no {EVALUATION}, which holds alpha")
    columns = 3 if numbers else 2
    with new_figure(WIDTH * columns / 3, 4.9) as figure:
        panels = figure.subplots(2, columns, sharex=True)
        largest = float(np.linalg.norm(evaluation["alpha"]))
        _draw_effort(panels[:, 0], episodes["residual"], hz, largest)
        for axes, number in zip(panels[:, 1], numbers, strict=False):
            _draw_number(axes, episodes, number, hz)
        _draw_ends(panels[:, -1], episodes, hz)
        longest = max(len(e.steps) for own in episodes.values() for e in own)
        panels[0, 0].set_xlim(0, longest / hz)
        for axes in panels[-1]:
            axes.set_xlabel("time in the episode [s]")
        if len(numbers) == 1:
            panels[1, 1].set_visible(False)
            panels[0, 1].tick_params(labelbottom=True)
            panels[0, 1].set_xlabel("time in the episode [s]")
        n, pale = len(episodes["residual"]), f"fewer than {100 * FEW:.0f} %"
        keys = [
            *(
                line_key(f"{policy}, mean of {n}", color=colour)
                for policy, colour in POLICY_COLOURS.items()
            ),
            area_key("middle half of the episodes", color=GREY, alpha=0.25, lw=0),
            line_key(f"{pale} still running", color=GREY, lw=0.8, alpha=0.5),
            line_key("largest possible", color=GREY, lw=1.2, ls=":"),
        ]
        legend_below(figure, keys)
        remark = f"{RUNNING}; {ENDED}" if numbers else RUNNING
        headline(figure, run_title(run), remark)
        return save(figure, run.file("figures/residual.png"))


def over_time(rows: Sequence[np.ndarray], *, hold: bool) -> np.ndarray:
    """Return n rows of different lengths as one array (n, T).

    Args:
        rows: a row per episode, with a number per step.
        hold: whether the rest of a row repeats its last number; otherwise it is NaN.
    """
    longest = max(len(row) for row in rows)
    filled = np.full((len(rows), longest), np.nan)
    for line, row in zip(filled, rows, strict=True):
        line[: len(row)] = row
        if hold:
            line[len(row) :] = row[-1]
    return filled


def _draw_effort(
    panels: Sequence["Axes"],
    episodes: Sequence[HeldOutEpisode],
    hz: int,
    largest: float,
) -> None:
    """Draw means over the running episodes only; ended ones have no residual."""
    sizes = over_time([e.steps.residual_l2 for e in episodes], hold=False)
    _draw_band(panels[0], sizes, hz, "residual")
    panels[0].axhline(largest, color=GREY, ls=":", lw=1.2)
    panels[0].set_ylim(0, 1.09 * largest or 1)  # alpha may be 0
    panels[0].set_ylabel("norm of alpha * residual")
    panels[0].set_title("Size of the residual")
    shares = over_time([100 * e.steps.clipped for e in episodes], hold=False)
    _draw_band(panels[1], shares, hz, "residual")
    percent_axis(panels[1], "share of the elements [%]")
    panels[1].set_title("Clipped actions")


def _draw_number(axes: "Axes", episodes: Episodes, number: NumberInfo, hz: int) -> None:
    """Draw means over all episodes; running ones alone would mostly be failures."""
    lowest = 0.0
    for policy, own in episodes.items():
        values = [number.factor * e.steps.numbers[number.name] for e in own]
        lowest = min(lowest, *(value.min() for value in values))
        _draw_band(axes, over_time(values, hold=True), hz, policy)
    if lowest >= 0:
        axes.set_ylim(bottom=0)
    axes.set_title(number.title[:1].upper() + number.title[1:])
    axes.set_ylabel(f"[{number.unit}]" if number.unit else "")


def _draw_ends(panels: Sequence["Axes"], episodes: Episodes, hz: int) -> None:
    for policy, own in episodes.items():
        lengths = np.array([len(e.steps) for e in own])
        solved = np.array([e.failure == SUCCESS for e in own])
        steps = np.arange(lengths.max() + 1)
        done = [100 * np.mean(solved & (lengths <= step)) for step in steps]
        left = [100 * np.mean(lengths > step) for step in steps[:-1]]
        style: dict[str, Any] = {"color": POLICY_COLOURS[policy], "label": policy}
        panels[0].step(steps / hz, done, where="post", **style)
        panels[1].step(steps[:-1] / hz, left, where="post", **style)
    percent_axis(panels[0], "share of episodes [%]")
    panels[0].set_title("Episodes solved so far")
    percent_axis(panels[1], "share of episodes [%]")
    panels[1].set_title("Episodes still running")


def _draw_band(axes: "Axes", rows: np.ndarray, hz: int, policy: str) -> None:
    """Draw mean and middle half of rows (n, T); pale if fewer than FEW have values."""
    colour, seconds = POLICY_COLOURS[policy], (1 + np.arange(rows.shape[1])) / hz
    mean = np.nanmean(rows, axis=0)
    low, high = np.nanquantile(rows, (0.25, 0.75), axis=0)
    many = np.isfinite(rows).mean(axis=0) >= FEW
    axes.plot(seconds, mean, color=colour, lw=0.8, alpha=0.5)
    axes.plot(seconds[many], mean[many], color=colour)
    axes.fill_between(
        seconds[many], low[many], high[many], color=colour, alpha=0.2, lw=0
    )

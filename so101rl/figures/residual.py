"""How much the residual does, and what it does to the errors, second by second."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from so101rl.figures.held_out import Played, paired, read_ends, read_played
from so101rl.figures.style import (
    POLICY_COLOURS,
    STYLE,
    SUCCESS,
    WIDTH,
    FigureError,
    explain,
    headline,
    percent_axis,
    save,
)
from so101rl.runs.run_dir import EVALUATION, RunDir

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REMARK = (
    "left: of the episodes still running; middle: of all, an episode that has ended "
    "keeps its last value"
)
FEW = 0.1  # share of the episodes; a mean over fewer is drawn pale
Groups = Mapping[str, Sequence[Played]]


def figure_residual(run: RunDir) -> Path:
    """Draw size and saturation of the residual, errors and ends, over an episode.

    Args:
        run: a run with `trajectories.npz` and the episodes of base and residual.

    Returns:
        Path of `figures/residual.png` in the run directory.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    paired(read_ends(run), run)
    played, hz, evaluation = (
        read_played(run),
        run.config().env.control_hz,
        run.evaluation(),
    )
    if evaluation is None:
        raise FigureError(f"{run.path} has no {EVALUATION}, which says what alpha was")
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.9), layout="constrained")
        panels = figure.subplots(2, 3, sharex=True)
        largest = float(np.linalg.norm(evaluation["alpha"]))
        _draw_effort(panels[:, 0], played["residual"], hz, largest)
        _draw_errors(panels[:, 1], played, hz)
        _draw_ends(panels[:, 2], played, hz)
        longest = max(len(e.steps.clipped) for own in played.values() for e in own)
        panels[0, 0].set_xlim(0, longest / hz)
        for axes in panels[-1]:
            axes.set_xlabel("time in the episode [s]")
        _explain(figure, len(played["residual"]))
        headline(figure, run, REMARK)
        return save(figure, run.file("figures/residual.png"))


def over_time(rows: Sequence[np.ndarray], *, hold: bool) -> np.ndarray:
    """Rows of different length as (n, T).

    Args:
        rows: a number per step, per episode.
        hold: whether the last number goes on for ever, or nothing (NaN) follows it.
    """
    longest = max(len(row) for row in rows)
    filled = np.full((len(rows), longest), np.nan)
    for line, row in zip(filled, rows, strict=True):
        line[: len(row)] = row
        if hold:
            line[len(row) :] = row[-1]
    return filled


def _draw_effort(
    panels: Sequence["Axes"], episodes: Sequence[Played], hz: int, largest: float
) -> None:
    """Of the episodes that still run: an arm that has arrived does nothing."""
    sizes = over_time([e.steps.residual_l2 for e in episodes], hold=False)
    _draw_band(panels[0], sizes, hz, "residual")
    panels[0].axhline(largest, color="#555555", ls=":", lw=1.2)
    panels[0].set_ylim(0, 1.09 * largest or 1)  # alpha may be 0
    panels[0].set_ylabel("norm of alpha * residual")
    panels[0].set_title("Size of the residual")
    shares = over_time([100 * e.steps.clipped for e in episodes], hold=False)
    _draw_band(panels[1], shares, hz, "residual")
    percent_axis(panels[1], "share of the joints [%]")
    panels[1].set_title("Clipped actions")


def _draw_errors(panels: Sequence["Axes"], played: Groups, hz: int) -> None:
    """Of all episodes: a mean over those that still run would be one of failures."""
    for policy, episodes in played.items():
        distances = [1000 * e.steps.distance_m for e in episodes]
        _draw_band(panels[0], over_time(distances, hold=True), hz, policy)
        angles = [np.degrees(e.steps.yaw_error_rad) for e in episodes]
        _draw_band(panels[1], over_time(angles, hold=True), hz, policy)
    names = {"Distance to the goal": "[mm]", "Yaw error": "[degrees]"}
    for axes, (name, unit) in zip(panels, names.items(), strict=True):
        axes.set_ylim(bottom=0)
        axes.set_title(name)
        axes.set_ylabel(unit)


def _draw_ends(panels: Sequence["Axes"], played: Groups, hz: int) -> None:
    for policy, episodes in played.items():
        lengths = np.array([len(e.steps.clipped) for e in episodes])
        solved = np.array([e.end == SUCCESS for e in episodes])
        steps = np.arange(lengths.max() + 1)
        done = [100 * np.mean(solved & (lengths <= step)) for step in steps]
        left = [100 * np.mean(lengths > step) for step in steps[:-1]]
        look: dict[str, Any] = {"color": POLICY_COLOURS[policy], "label": policy}
        panels[0].step(steps / hz, done, where="post", **look)
        panels[1].step(steps[:-1] / hz, left, where="post", **look)
    percent_axis(panels[0], "share of episodes [%]")
    panels[0].set_title("Episodes solved so far")
    percent_axis(panels[1], "share of episodes [%]")
    panels[1].set_title("Episodes still running")


def _draw_band(axes: "Axes", rows: np.ndarray, hz: int, policy: str) -> None:
    """Mean and middle half of (n, T); pale where fewer than FEW of the rows go on."""
    colour, seconds = POLICY_COLOURS[policy], (1 + np.arange(rows.shape[1])) / hz
    mean = np.nanmean(rows, axis=0)
    low, high = np.nanquantile(rows, (0.25, 0.75), axis=0)
    many = np.isfinite(rows).mean(axis=0) >= FEW
    axes.plot(seconds, mean, color=colour, lw=0.8, alpha=0.5)
    axes.plot(seconds[many], mean[many], color=colour)
    axes.fill_between(
        seconds[many], low[many], high[many], color=colour, alpha=0.2, lw=0
    )


def _explain(figure: "Figure", n: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Artist] = [
        Line2D([], [], color=colour, label=f"{policy}, mean of {n}")
        for policy, colour in POLICY_COLOURS.items()
    ]
    pale = f"fewer than {100 * FEW:.0f} % still running"
    handles += [
        Patch(color="#555555", alpha=0.25, lw=0, label="middle half of the episodes"),
        Line2D([], [], color="#555555", lw=0.8, alpha=0.5, label=pale),
        Line2D([], [], color="#555555", lw=1.2, ls=":", label="largest possible"),
    ]
    explain(figure, handles)

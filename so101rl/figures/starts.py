"""Which starts a policy solves: where the sheet lay, how it was turned."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from so101rl.figures.failure_classes import SUCCESS, colour_of, failure_keys, in_order
from so101rl.figures.held_out import (
    Episodes,
    HeldOutEpisode,
    failures_in,
    read_episodes,
)
from so101rl.figures.style import (
    GREY,
    POLICY_COLOURS,
    WIDTH,
    headline,
    legend_below,
    line_key,
    new_figure,
    percent_axis,
    run_title,
    save,
)
from so101rl.figures.tabletop import extent, on_page, show_part
from so101rl.runs.run_dir import RunDir
from so101rl.statistics import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

TICK = 0.02  # [m]
GROUPS = 5  # of episodes with about the same yaw error
MARGIN = 0.012  # [m] around the starts
NEEDLE = 0.004  # [m] half the length of the line that shows a yaw


def figure_starts(run: RunDir) -> Path:
    """Draw the start of every episode in the colour of its end, a panel per policy.

    Args:
        run: a run with `trajectories.npz`.

    Returns:
        Path of `figures/starts.png` in the run directory.
    """
    episodes = read_episodes(run)
    starts = np.array([e.poses[0] for own in episodes.values() for e in own])
    part = extent(starts[:, :2], margin=MARGIN)
    with new_figure(WIDTH, 4.1) as figure:
        panels = figure.subplots(1, len(episodes) + 1)
        for axes, (policy, own) in zip(panels, episodes.items(), strict=False):
            _draw_starts(axes, own)
            show_part(axes, part, every=TICK)
            solved = sum(e.failure == SUCCESS for e in own)
            axes.set_title(f"{policy}: {solved} of {len(own)} solved")
            axes.set_xlabel("y [mm]")
        panels[0].set_ylabel("x [mm], away from the arm")
        _draw_yaw(panels[-1], episodes)
        panels[-1].set_box_aspect(np.divide(*(part[1] - part[0])))
        keys = failure_keys(failures_in(episodes), ls="", marker="o")
        keys.append(line_key("the sheet's long edge", color=GREY))
        keys += [
            line_key(policy, marker="o", color=POLICY_COLOURS[policy])
            for policy in episodes
        ]
        legend_below(figure, keys)
        headline(figure, run_title(run))
        return save(figure, run.file("figures/starts.png"))


def _draw_starts(axes: "Axes", episodes: Sequence[HeldOutEpisode]) -> None:
    from matplotlib.collections import LineCollection

    for failure in in_order(e.failure for e in episodes):  # failures on top
        poses = np.array([e.poses[0] for e in episodes if e.failure == failure])
        # The sheet's own y axis: its long edge.
        along = NEEDLE * np.column_stack([-np.sin(poses[:, 2]), np.cos(poses[:, 2])])
        needles = np.stack([poses[:, :2] - along, poses[:, :2] + along], axis=1)
        colour = colour_of(failure)
        axes.add_collection(LineCollection(list(on_page(needles)), color=colour))
        axes.plot(*on_page(poses[:, :2]).T, "o", ms=5, color=colour)


def _draw_yaw(axes: "Axes", episodes: Episodes) -> None:
    """Success of every policy by how far the sheet has to be turned."""
    for i, (policy, own) in enumerate(episodes.items()):
        style: dict[str, Any] = {"color": POLICY_COLOURS[policy], "clip_on": False}
        errors = np.degrees([e.steps.yaw_error_rad[0] for e in own])
        # Beside each other, not on top of each other.
        shift = 0.03 * errors.max() * (i - (len(episodes) - 1) / 2)
        for group in np.array_split(np.argsort(errors), min(GROUPS, len(own))):
            k, n = sum(own[j].failure == SUCCESS for j in group), len(group)
            x, interval = errors[group].mean() + shift, wilson(k, n)
            axes.plot([x] * 2, [100 * end for end in interval], lw=1.3, **style)
            axes.plot(x, 100 * k / n, "o", ms=6, **style)
    axes.set_xlim(left=0)
    axes.set_xlabel("yaw error at the start [degrees]")
    percent_axis(axes, "success [%], 95 % Wilson")
    axes.set_title(f"By yaw, in {GROUPS} groups")

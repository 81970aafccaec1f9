"""Which starts a policy solves: where the sheet lay, how it was turned."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from so101rl.figures.held_out import Played, read_played
from so101rl.figures.style import (
    POLICY_COLOURS,
    STYLE,
    SUCCESS,
    WIDTH,
    class_colour,
    class_name,
    explain,
    headline,
    in_order,
    percent_axis,
    save,
)
from so101rl.figures.tabletop import extent, on_page, show_part
from so101rl.runs.run_dir import RunDir
from so101rl.statistics import wilson

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

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
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    played = read_played(run)
    starts = np.array([e.poses[0] for episodes in played.values() for e in episodes])
    part = extent(starts[:, :2], margin=MARGIN)
    with rc_context(STYLE):
        figure = Figure(figsize=(WIDTH, 4.1), layout="constrained")
        panels = figure.subplots(1, len(played) + 1)
        for axes, (policy, episodes) in zip(panels, played.items(), strict=False):
            _draw_starts(axes, episodes)
            show_part(axes, part, every=TICK)
            solved = sum(e.end == SUCCESS for e in episodes)
            axes.set_title(f"{policy}: {solved} of {len(episodes)} solved")
            axes.set_xlabel("y [mm]")
        panels[0].set_ylabel("x [mm], away from the arm")
        _draw_yaw(panels[-1], played)
        panels[-1].set_box_aspect(np.divide(*(part[1] - part[0])))
        _explain(figure, played)
        headline(figure, run)
        return save(figure, run.file("figures/starts.png"))


def _draw_starts(axes: "Axes", episodes: Sequence[Played]) -> None:
    from matplotlib.collections import LineCollection

    for end in in_order(e.end for e in episodes):  # failures on top
        poses = np.array([e.poses[0] for e in episodes if e.end == end])
        # The sheet's own y axis: its long edge.
        along = NEEDLE * np.column_stack([-np.sin(poses[:, 2]), np.cos(poses[:, 2])])
        ends = np.stack([poses[:, :2] - along, poses[:, :2] + along], axis=1)
        axes.add_collection(
            LineCollection(list(on_page(ends)), color=class_colour(end))
        )
        axes.plot(*on_page(poses[:, :2]).T, "o", ms=5, color=class_colour(end))


def _draw_yaw(axes: "Axes", played: Mapping[str, Sequence[Played]]) -> None:
    """Success of every policy by how far the sheet has to be turned."""
    for i, (policy, episodes) in enumerate(played.items()):
        look: dict[str, Any] = {"color": POLICY_COLOURS[policy], "clip_on": False}
        errors = np.degrees([e.steps.yaw_error_rad[0] for e in episodes])
        apart = 0.03 * errors.max() * (i - (len(played) - 1) / 2)
        for group in np.array_split(np.argsort(errors), min(GROUPS, len(episodes))):
            k, n = sum(episodes[j].end == SUCCESS for j in group), len(group)
            place, ends = errors[group].mean() + apart, wilson(k, n)
            axes.plot([place] * 2, [100 * end for end in ends], lw=1.3, **look)
            axes.plot(place, 100 * k / n, "o", ms=6, **look)
    axes.set_xlim(left=0)
    axes.set_xlabel("yaw error at the start [degrees]")
    percent_axis(axes, "success [%], 95 % Wilson")
    axes.set_title(f"By yaw, in {GROUPS} groups")


def _explain(figure: "Figure", played: Mapping[str, Sequence[Played]]) -> None:
    from matplotlib.lines import Line2D

    ends = in_order(e.end for episodes in played.values() for e in episodes)
    handles: list[Artist] = [
        Line2D([], [], ls="", marker="o", color=class_colour(e), label=class_name(e))
        for e in ends
    ]
    handles.append(Line2D([], [], color="#555555", label="the sheet's long edge"))
    handles += [
        Line2D([], [], marker="o", color=POLICY_COLOURS[policy], label=policy)
        for policy in played
    ]
    explain(figure, handles)

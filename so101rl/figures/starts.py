"""Which starts a policy solves: position and yaw of the first part that moves."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from so101rl.envs.task import SUCCESS
from so101rl.figures.failure_classes import colour_of, failure_keys, in_order
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
from so101rl.figures.tabletop import (
    extent,
    long_axis,
    on_page,
    placed,
    show_part,
    title_of,
)
from so101rl.runs.run_dir import RunDir
from so101rl.runs.task import NumberInfo, TaskInfo
from so101rl.statistics import wilson

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GROUPS = 5  # groups of episodes with a similar number at the start
MARGIN = 0.012  # [m] around the starts
NEEDLE = 0.004  # [m] half the length of the line that shows a direction


def figure_starts(run: RunDir) -> Path:
    """Draw the start of every episode in the colour of its class, a panel per policy.

    Args:
        run: a run with `trajectories.npz`.

    Returns:
        Path of `figures/starts.png` in the run directory.
    """
    episodes, task = read_episodes(run), run.task()
    number = next(iter(task.numbers[1::-1]), None)  # the second, or else the first
    starts = np.array([e.way[0] for own in episodes.values() for e in own])
    part = extent(starts, margin=MARGIN)
    columns = len(episodes) + (number is not None)
    with new_figure(max(WIDTH * columns / 3, WIDTH / 2), 4.1) as figure:
        panels = figure.subplots(1, columns, squeeze=False)[0]
        for axes, (policy, own) in zip(panels, episodes.items(), strict=False):
            _draw_starts(axes, own, task)
            show_part(axes, part)
            solved = sum(e.failure == SUCCESS for e in own)
            axes.set_title(f"{policy}: {solved} of {len(own)} solved")
            axes.set_xlabel("y [mm]")
        panels[0].set_ylabel("x [mm], away from the arm")
        keys = failure_keys(failures_in(episodes), task, ls="", marker="o")
        for name, moving in list(task.free.items())[:1]:
            if long_axis(moving.outline) is not None:
                keys.append(line_key(f"long side of {title_of(name)}", color=GREY))
        if number is not None:
            _draw_success(panels[-1], episodes, number)
            panels[-1].set_box_aspect(np.divide(*(part[1] - part[0])))
            keys += [
                line_key(policy, marker="o", color=POLICY_COLOURS[policy])
                for policy in episodes
            ]
        legend_below(figure, keys)
        headline(figure, run_title(run))
        return save(figure, run.file("figures/starts.png"))


def _draw_starts(
    axes: "Axes", episodes: Sequence[HeldOutEpisode], task: TaskInfo
) -> None:
    from matplotlib.collections import LineCollection

    for failure in in_order((e.failure for e in episodes), task):  # failures on top
        own = [e for e in episodes if e.failure == failure]
        colour = colour_of(failure, task)
        for name, part in list(task.free.items())[:1]:
            axis = long_axis(part.outline)
            if axis is not None:
                ends = NEEDLE * np.array([axis, -axis])
                needles = [on_page(placed(ends, e.poses[name][0])) for e in own]
                axes.add_collection(LineCollection(needles, color=colour))
        starts = np.array([e.way[0] for e in own])
        axes.plot(*on_page(starts).T, "o", ms=5, color=colour)


def _draw_success(axes: "Axes", episodes: Episodes, number: NumberInfo) -> None:
    """Draw the success of every policy over a number of the task at the start."""
    starts = {
        policy: number.factor * np.array([e.steps.numbers[number.name][0] for e in own])
        for policy, own in episodes.items()
    }
    together = np.concatenate(list(starts.values()))
    low, high = float(together.min()), float(together.max())
    low = 0.0 if 0 <= low < high / 2 else low
    for i, (policy, own) in enumerate(episodes.items()):
        style: dict[str, Any] = {"color": POLICY_COLOURS[policy], "clip_on": False}
        # Policies are shifted, so that they do not cover each other.
        shift = 0.03 * (high - low) * (i - (len(episodes) - 1) / 2)
        order = np.argsort(starts[policy])
        for group in np.array_split(order, min(GROUPS, len(own))):
            k, n = sum(own[j].failure == SUCCESS for j in group), len(group)
            x, interval = starts[policy][group].mean() + shift, wilson(k, n)
            axes.plot([x] * 2, [100 * end for end in interval], lw=1.3, **style)
            axes.plot(x, 100 * k / n, "o", ms=6, **style)
    if low == 0:
        axes.set_xlim(left=0)
    unit = f" [{number.unit}]" if number.unit else ""
    axes.set_xlabel(f"{number.title} at the start{unit}")
    percent_axis(axes, f"success of {GROUPS} groups [%], 95 % Wilson")
    axes.set_title(f"By {number.title}")

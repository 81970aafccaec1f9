"""Paths of fingertip and objects from above: all episodes, and a few in steps."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from so101rl.figures.failure_classes import (
    colour_of,
    failure_keys,
    in_order,
    label_of,
)
from so101rl.figures.held_out import (
    Episodes,
    HeldOutEpisode,
    failures_in,
    read_episodes,
)
from so101rl.figures.style import (
    DARK,
    WIDTH,
    area_key,
    headline,
    legend_below,
    line_key,
    new_figure,
    run_title,
    save,
)
from so101rl.figures.tabletop import (
    draw_fixed,
    extent,
    fixed,
    fixed_keys,
    ink,
    on_page,
    placed,
    show_part,
    title_of,
)
from so101rl.runs.run_dir import RunDir
from so101rl.runs.task import TaskInfo

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

REMARK = "left: all episodes, then the first of the commonest ways to end"
SHOWN = 3  # episodes drawn step by step
MARGIN = 0.012  # [m] around what is drawn
START: dict[str, Any] = {"fc": "none", "ec": DARK, "ls": (0, (3, 2))}
BETWEEN: dict[str, Any] = {"fc": "none", "ec": "#8a8f98", "lw": 0.5}
END: dict[str, Any] = {"fc": "#00000038", "ec": "black"}


def figure_trajectories(run: RunDir) -> Path:
    """Draw paths of fingertip and objects; a row per policy with the same episodes.

    Args:
        run: a run with `trajectories.npz`.

    Returns:
        Path of `figures/trajectories.png` in the run directory.
    """
    episodes, task = read_episodes(run), run.task()
    chosen = commonest(episodes)
    part = extent(_drawn_points(episodes, chosen, task), margin=MARGIN)
    rows, columns = len(episodes), 1 + len(chosen)
    column, (x, y) = WIDTH / (1 + SHOWN), part[1] - part[0]
    height = 1.05 + rows * (0.3 + 0.92 * column * x / y)
    with new_figure(column * columns, height) as figure:
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for line, (policy, own) in zip(panels, episodes.items(), strict=True):
            _draw_all(line[0], own, task)
            line[0].set_title(f"{policy}, n = {len(own)}")
            line[0].set_ylabel("x [mm]")
            for axes, i in zip(line[1:], chosen, strict=True):
                _draw_episode(axes, own[i], task)
                seconds = len(own[i].steps) / task.control_hz
                title = f"no. {i}: {label_of(own[i].failure)}, {seconds:.1f} s"
                axes.set_title(title, fontsize=9.5, fontweight="normal")
        for axes in panels.flat:
            draw_fixed(axes, task.parts)
            show_part(axes, part)
        for axes in panels[-1]:
            axes.set_xlabel("y [mm]")
        legend_below(figure, _keys(episodes, task))
        first = next((f"{title_of(name)}'s centre" for name in task.free), "fingertip")
        remark = f"in colour: the way of the {first}; {REMARK}"
        headline(figure, run_title(run), remark)
        return save(figure, run.file("figures/trajectories.png"))


def commonest(episodes: Episodes) -> list[int]:
    """Return the numbers of `SHOWN` episodes, the first of each way to end.

    A way has the class with each policy, such as (missed, none); common ways first.
    """
    by_policy = [[e.failure for e in own] for own in episodes.values()]
    ways = list(zip(*by_policy, strict=True))
    firsts = [ways.index(way) for way, _ in Counter(ways).most_common()]
    others = [number for number in range(len(ways)) if number not in firsts]
    return (firsts + others)[:SHOWN]


def _keys(episodes: Episodes, task: TaskInfo) -> "list[Artist]":
    keys: list[Artist] = [
        *failure_keys(failures_in(episodes), task),
        line_key("fingertip", color=DARK, lw=0.7),
    ]
    names = [title_of(name) for name in task.free]
    if names:
        keys += [
            area_key(f"{names[0]} at the start", **START),
            area_key("every second", **BETWEEN),
            area_key("at the end", **END),
        ]
    others = list(task.free.items())[1:]
    keys += [area_key(title_of(n), **_filled(part.rgba)) for n, part in others]
    return keys + fixed_keys(task.parts)


def _draw_all(axes: "Axes", episodes: Sequence[HeldOutEpisode], task: TaskInfo) -> None:
    from matplotlib.collections import LineCollection

    for failure in in_order((e.failure for e in episodes), task):
        paths = [on_page(e.way) for e in episodes if e.failure == failure]
        colour = colour_of(failure, task)
        style: dict[str, Any] = {"color": colour, "lw": 0.8, "alpha": 0.6}
        axes.add_collection(LineCollection(paths, **style))
        axes.plot(*np.array([path[-1] for path in paths]).T, ".", ms=4, **style)


def _draw_episode(axes: "Axes", episode: HeldOutEpisode, task: TaskInfo) -> None:
    colour, hz = colour_of(episode.failure, task), task.control_hz
    ended: dict[str, Any] = {"ec": colour, "fc": f"{colour}38", "lw": 1.6}
    for number, (name, part) in enumerate(task.free.items()):
        poses = episode.poses[name]
        corners = [on_page(placed(part.outline, pose)).T for pose in poses]
        for own in corners[hz:-1:hz]:  # every second
            axes.fill(*own, **BETWEEN, alpha=0.6)
        axes.fill(*corners[-1], **(_filled(part.rgba) if number else ended))
        axes.fill(*corners[0], **START, lw=1.1)
        if number:
            axes.plot(*on_page(poses[:, :2]).T, color=ink(part.rgba), lw=1.0)
    axes.plot(*on_page(episode.steps.tip[:, :2]).T, color=DARK, lw=0.7)
    axes.plot(*on_page(episode.way).T, color=colour, lw=1.8)
    axes.plot(*on_page(episode.way[-1]), "o", color=colour, ms=4)


def _filled(rgba: Sequence[float]) -> dict[str, Any]:
    return {"fc": (*rgba[:3], 0.4), "ec": ink(tuple(rgba)), "lw": 1.2}


def _drawn_points(
    episodes: Episodes, chosen: Sequence[int], task: TaskInfo
) -> np.ndarray:
    """Return points (k, 2) [m] that the axes must include."""
    return np.concatenate(list(_points(episodes, chosen, task)))


def _points(
    episodes: Episodes, chosen: Sequence[int], task: TaskInfo
) -> Iterator[np.ndarray]:
    yield from (part.outline for part in fixed(task.parts).values())
    for own in episodes.values():
        yield from (e.way for e in own)
        for episode in (own[number] for number in chosen):
            yield episode.steps.tip[:, :2]
            for name, part in task.free.items():
                yield from (placed(part.outline, p) for p in episode.poses[name])

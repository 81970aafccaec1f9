"""Where fingertip and sheet went, from above: all episodes, and a few step by step."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from so101rl.figures.held_out import Played, read_played
from so101rl.figures.style import (
    STYLE,
    WIDTH,
    class_colour,
    class_name,
    explain,
    headline,
    in_order,
    save,
)
from so101rl.figures.tabletop import (
    draw_tape,
    extent,
    on_page,
    outline,
    show_part,
)
from so101rl.runs.run_dir import RunDir

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REMARK = (
    "in colour: the way of the sheet's centre; left: all episodes, then the first of "
    "the commonest ways to end"
)
SHOWN = 3  # episodes drawn step by step
TIP = "#333333"
START = "#8a8f98"
MARGIN = 0.012  # [m] around what is drawn


def figure_trajectories(run: RunDir) -> Path:
    """Draw the paths of fingertip and sheet, a row per policy, the same episodes.

    Args:
        run: a run with `trajectories.npz`.

    Returns:
        Path of `figures/trajectories.png` in the run directory.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    played, env = read_played(run), run.config().env
    chosen, size = typical(played), list(env.scene.object_size[:2])
    square = env.scene.square_centre, env.scene.square_side, env.scene.tape_width
    part = extent(_seen(played, chosen, size, square), margin=MARGIN)
    rows, columns = len(played), 1 + len(chosen)
    with rc_context(STYLE):
        x, y = part[1] - part[0]
        column = WIDTH / (1 + SHOWN)
        size_of_all = (column * columns, 1.05 + rows * (0.3 + 0.92 * column * x / y))
        figure = Figure(figsize=size_of_all, layout="constrained")
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for line, (policy, episodes) in zip(panels, played.items(), strict=True):
            _draw_all(line[0], episodes)
            line[0].set_title(f"{policy}, n = {len(episodes)}")
            line[0].set_ylabel("x [mm]")
            for axes, number in zip(line[1:], chosen, strict=True):
                _draw_episode(axes, episodes[number], size, env.control_hz)
                text = _said(number, episodes[number], env.control_hz)
                axes.set_title(text, fontsize=9.5, fontweight="normal")
        for axes in panels.flat:
            draw_tape(axes, *square)
            show_part(axes, part, every=0.1)
        for axes in panels[-1]:
            axes.set_xlabel("y [mm]")
        _explain(figure, played)
        headline(figure, run, REMARK)
        return save(figure, run.file("figures/trajectories.png"))


def typical(played: Mapping[str, Sequence[Played]]) -> list[int]:
    """Numbers of the first episodes that end in the commonest ways.

    A way is what became of an episode with every policy, for example (wrong_yaw, none).
    """
    every = [[e.end for e in episodes] for episodes in played.values()]
    ways = list(zip(*every, strict=True))
    firsts = [ways.index(way) for way, _ in Counter(ways).most_common()]
    others = [number for number in range(len(ways)) if number not in firsts]
    return (firsts + others)[:SHOWN]


def _draw_all(axes: "Axes", episodes: Sequence[Played]) -> None:
    from matplotlib.collections import LineCollection

    for end in in_order(e.end for e in episodes):
        paths = [on_page(e.poses[:, :2]) for e in episodes if e.end == end]
        look: dict[str, Any] = {"color": class_colour(end), "lw": 0.8, "alpha": 0.6}
        axes.add_collection(LineCollection(paths, **look))
        axes.plot(*np.array([path[-1] for path in paths]).T, ".", ms=4, **look)


def _draw_episode(
    axes: "Axes", episode: Played, size: Sequence[float], hz: int
) -> None:
    colour, poses = class_colour(episode.end), episode.poses
    for pose in poses[hz:-1:hz]:  # every second
        _draw_sheet(axes, pose, size, ec=START, lw=0.5, alpha=0.6)
    _draw_sheet(axes, poses[-1], size, ec=colour, fc=f"{colour}38", lw=1.6)
    _draw_sheet(axes, poses[0], size, ec=TIP, lw=1.1, ls=(0, (3, 2)))
    axes.plot(*on_page(episode.steps.tip[:, :2]).T, color=TIP, lw=0.7)
    axes.plot(*on_page(poses[:, :2]).T, color=colour, lw=1.8)
    axes.plot(*on_page(poses[-1, :2]), "o", color=colour, ms=4)


def _said(number: int, episode: Played, hz: int) -> str:
    seconds = len(episode.steps.distance_m) / hz
    return f"no. {number}: {class_name(episode.end)}, {seconds:.1f} s"


def _draw_sheet(
    axes: "Axes",
    pose: np.ndarray,
    size: Sequence[float],
    *,
    fc: str = "none",
    **look: Any,
) -> None:
    axes.fill(*on_page(outline(pose, size)).T, fc=fc, **look)


def _seen(
    played: Mapping[str, Sequence[Played]],
    chosen: Sequence[int],
    size: Sequence[float],
    square: tuple[Sequence[float], float, float],
) -> np.ndarray:
    """Points (k, 2) [m] that have to be in the picture."""
    centre, side, tape = square
    points = [outline(np.array([*centre, 0.0]), [side + 2 * tape] * 2)]
    for episodes in played.values():
        points += [e.poses[:, :2] for e in episodes]
        for episode in (episodes[number] for number in chosen):
            points += [episode.steps.tip[:, :2]]
            points += [outline(pose, size) for pose in episode.poses]
    return np.concatenate(points)


def _explain(figure: "Figure", played: Mapping[str, Sequence[Played]]) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    ends = in_order(e.end for episodes in played.values() for e in episodes)
    handles: list[Artist] = [
        Line2D([], [], color=class_colour(end), label=class_name(end)) for end in ends
    ]
    handles += [
        Line2D([], [], color=TIP, lw=0.7, label="fingertip"),
        Patch(fc="none", ec=TIP, ls=(0, (3, 2)), label="sheet at the start"),
        Patch(fc="none", ec=START, lw=0.5, label="every second"),
        Patch(fc="#00000038", ec="black", label="at the end"),
    ]
    explain(figure, handles)

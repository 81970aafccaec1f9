"""Where fingertip and sheet went, from above: all episodes, and a few step by step."""

from collections import Counter
from collections.abc import Sequence
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
from so101rl.figures.tabletop import draw_tape, extent, on_page, outline, show_part
from so101rl.runs.run_dir import RunDir

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from omegaconf import DictConfig

REMARK = (
    "in colour: the way of the sheet's centre; left: all episodes, then the first of "
    "the commonest ways to end"
)
SHOWN = 3  # episodes drawn step by step
MARGIN = 0.012  # [m] around what is drawn
START: dict[str, Any] = {"fc": "none", "ec": DARK, "ls": (0, (3, 2))}
BETWEEN: dict[str, Any] = {"fc": "none", "ec": "#8a8f98", "lw": 0.5}


def figure_trajectories(run: RunDir) -> Path:
    """Draw the paths of fingertip and sheet, a row per policy, the same episodes.

    Args:
        run: a run with `trajectories.npz`.

    Returns:
        Path of `figures/trajectories.png` in the run directory.
    """
    episodes, env = read_episodes(run), run.config().env
    chosen, scene = commonest(episodes), env.scene
    part = extent(_drawn_points(episodes, chosen, scene), margin=MARGIN)
    rows, columns = len(episodes), 1 + len(chosen)
    column, (x, y) = WIDTH / (1 + SHOWN), part[1] - part[0]
    height = 1.05 + rows * (0.3 + 0.92 * column * x / y)
    with new_figure(column * columns, height) as figure:
        panels = figure.subplots(rows, columns, squeeze=False, sharex=True, sharey=True)
        for line, (policy, own) in zip(panels, episodes.items(), strict=True):
            _draw_all(line[0], own)
            line[0].set_title(f"{policy}, n = {len(own)}")
            line[0].set_ylabel("x [mm]")
            for axes, i in zip(line[1:], chosen, strict=True):
                _draw_episode(axes, own[i], scene.object_size[:2], env.control_hz)
                seconds = len(own[i].steps.distance_m) / env.control_hz
                title = f"no. {i}: {label_of(own[i].failure)}, {seconds:.1f} s"
                axes.set_title(title, fontsize=9.5, fontweight="normal")
        for axes in panels.flat:
            draw_tape(axes, scene.square_centre, scene.square_side, scene.tape_width)
            show_part(axes, part, every=0.1)
        for axes in panels[-1]:
            axes.set_xlabel("y [mm]")
        keys = [
            *failure_keys(failures_in(episodes)),
            line_key("fingertip", color=DARK, lw=0.7),
            area_key("sheet at the start", **START),
            area_key("every second", **BETWEEN),
            area_key("at the end", fc="#00000038", ec="black"),
        ]
        legend_below(figure, keys)
        headline(figure, run_title(run), REMARK)
        return save(figure, run.file("figures/trajectories.png"))


def commonest(episodes: Episodes) -> list[int]:
    """Numbers of the first episodes that end in the commonest ways.

    A way is what became of an episode with every policy, for example (wrong_yaw, none).
    """
    by_policy = [[e.failure for e in own] for own in episodes.values()]
    ways = list(zip(*by_policy, strict=True))
    firsts = [ways.index(way) for way, _ in Counter(ways).most_common()]
    others = [number for number in range(len(ways)) if number not in firsts]
    return (firsts + others)[:SHOWN]


def _draw_all(axes: "Axes", episodes: Sequence[HeldOutEpisode]) -> None:
    from matplotlib.collections import LineCollection

    for failure in in_order(e.failure for e in episodes):
        paths = [on_page(e.poses[:, :2]) for e in episodes if e.failure == failure]
        style: dict[str, Any] = {"color": colour_of(failure), "lw": 0.8, "alpha": 0.6}
        axes.add_collection(LineCollection(paths, **style))
        axes.plot(*np.array([path[-1] for path in paths]).T, ".", ms=4, **style)


def _draw_episode(
    axes: "Axes", episode: HeldOutEpisode, size: Sequence[float], hz: int
) -> None:
    def draw_sheet(pose: np.ndarray, **style: Any) -> None:
        axes.fill(*on_page(outline(pose, size)).T, **style)

    colour, poses = colour_of(episode.failure), episode.poses
    for pose in poses[hz:-1:hz]:  # every second
        draw_sheet(pose, **BETWEEN, alpha=0.6)
    draw_sheet(poses[-1], ec=colour, fc=f"{colour}38", lw=1.6)
    draw_sheet(poses[0], **START, lw=1.1)
    axes.plot(*on_page(episode.steps.tip[:, :2]).T, color=DARK, lw=0.7)
    axes.plot(*on_page(poses[:, :2]).T, color=colour, lw=1.8)
    axes.plot(*on_page(poses[-1, :2]), "o", color=colour, ms=4)


def _drawn_points(
    episodes: Episodes, chosen: Sequence[int], scene: "DictConfig"
) -> np.ndarray:
    """Points (k, 2) [m] that have to be in the figure."""
    edge = scene.square_side + 2 * scene.tape_width
    points = [outline((*scene.square_centre, 0.0), (edge, edge))]
    for own in episodes.values():
        points += [e.poses[:, :2] for e in own]
        for episode in (own[number] for number in chosen):
            points += [episode.steps.tip[:, :2]]
            points += [outline(pose, scene.object_size[:2]) for pose in episode.poses]
    return np.concatenate(points)

"""How the object slides on the table, compared with Coulomb friction."""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from so101rl.figures.style import DARK, GROUP_COLOURS, WIDTH, new_figure, save
from so101rl.sysid.friction import TOW, Coulomb, Pulls

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MEASURED, EXPECTED, EVEN = GROUP_COLOURS[0], DARK, GROUP_COLOURS[5]
SHOWN = 5.0  # [mm] of sliding
AROUND = 0.08  # [s] shown before and after the release
TOWS_SHOWN = 3  # the slowest, one in between, the fastest


def figure_friction(directory: Path, *, pulls: Pulls, expected: Coulomb) -> Path:
    """Draw a rising pull, a tow that is released, and a rising moment.

    Args:
        directory: where the figure goes.
        pulls: measured motion.
        expected: prediction of Coulomb friction.

    Returns:
        Path of `friction.png` in the directory.
    """
    with new_figure(WIDTH, 3.1) as figure:
        pulled, towed, turned = figure.subplots(1, 3)
        _draw_pull(pulled, pulls, expected)
        _draw_let_go(towed, pulls, expected)
        _draw_turn(turned, pulls, expected)
        return save(figure, directory / "friction.png")


def _draw_pull(axes: "Axes", pulls: Pulls, expected: Coulomb) -> None:
    _draw_onset(axes, "pull [mN]", 1e3 * pulls.force, 1e3 * pulls.moved)
    _mark(axes, 1e3 * expected.force, "Coulomb", EXPECTED)
    axes.set_ylabel("moved by [mm]")
    axes.set_title("Pulled slowly harder")


def _draw_turn(axes: "Axes", pulls: Pulls, expected: Coulomb) -> None:
    arc = pulls.turned * expected.radius  # of a corner
    _draw_onset(axes, "moment [mN m]", 1e3 * pulls.moment, 1e3 * arc)
    _mark(axes, 1e3 * expected.even_moment, "lying flat", EVEN)
    _mark(axes, 1e3 * expected.moment, "on 4 corners", EXPECTED)
    axes.set_ylabel("corner moved by [mm]")
    axes.set_title("Turned slowly harder")


def _draw_onset(axes: "Axes", name: str, load: np.ndarray, way: np.ndarray) -> None:
    shown = np.arange(len(way)) <= np.argmax(np.append(way > SHOWN, True))
    axes.plot(load[shown], way[shown], color=MEASURED)
    axes.set_xlim(0, load.max())
    axes.set_ylim(-0.02 * SHOWN, SHOWN)
    axes.set_xlabel(name)


def _mark(axes: "Axes", load: float, name: str, colour: str) -> None:
    axes.axvline(load, color=colour, lw=1.2, ls="--")
    axes.annotate(
        name,
        (load, SHOWN),
        (-4, -4),
        textcoords="offset points",
        rotation=90,
        ha="right",
        va="top",
        fontsize=8.5,
        color=colour,
    )


def _draw_let_go(axes: "Axes", pulls: Pulls, expected: Coulomb) -> None:
    since = pulls.time - TOW
    shown = np.abs(since) < AROUND
    picked = np.linspace(0, pulls.speed.shape[1] - 1, TOWS_SHOWN).astype(int)
    for k, colour in zip(picked, GROUP_COLOURS, strict=False):
        speed = pulls.speed[:, k]
        start = speed[(since > -TOW / 2) & (since <= 0)].mean()
        axes.plot(since[shown], speed[shown], color=colour, lw=1.2)
        stop = start / expected.slowing
        ideal = axes.plot(
            [-AROUND, 0, stop], [start, start, 0], color=EXPECTED, lw=1.2, ls="--"
        )
    ideal[0].set_label("Coulomb")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("time since it was let go [s]")
    axes.set_ylabel("speed [m/s]")
    axes.set_title("Towed, then let go")
    axes.legend(loc="upper right")

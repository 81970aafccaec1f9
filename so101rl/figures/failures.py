"""How the same episodes end with the base alone and with the residual."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from so101rl.envs.task import SUCCESS
from so101rl.figures.failure_classes import SUCCESS_COLOUR, in_order, label_of
from so101rl.figures.held_out import read_paired_failures
from so101rl.figures.style import WIDTH, headline, new_figure, run_title, save
from so101rl.runs.run_dir import RunDir

if TYPE_CHECKING:
    from matplotlib.axes import Axes

GAINED, LOST, UNCHANGED = SUCCESS_COLOUR, "#D55E00", "#7f8790"


def figure_failures(run: RunDir) -> Path:
    """Draw how the same episodes end without and with the residual.

    Args:
        run: a run with the episodes of base and residual.

    Returns:
        Path of `figures/failures.png` in the run directory.
    """
    pairs = read_paired_failures(run)
    classes = in_order((failure for pair in pairs for failure in pair), run.task())
    with new_figure(WIDTH, 1.8 + 0.36 * max(3, len(classes))) as figure:
        left, right = figure.subplots(1, 2, width_ratios=[1.6, 1])
        _draw_matrix(left, count(pairs, classes), classes)
        _draw_change(right, pairs)
        headline(figure, run_title(run))
        return save(figure, run.file("figures/failures.png"))


def count(pairs: Sequence[tuple[str, str]], classes: Sequence[str]) -> np.ndarray:
    """Count episodes (k, k) by class with the base (row) and the residual (column)."""
    found = Counter(pairs)
    return np.array([[found[before, now] for now in classes] for before in classes])


def _draw_matrix(axes: "Axes", matrix: np.ndarray, classes: Sequence[str]) -> None:
    for i, before in enumerate(classes):
        for j, now in enumerate(classes):
            n = int(matrix[i, j])
            shade = 0.12 + 0.88 * n / matrix.max() if n else 0.0
            axes.fill(
                [j - 0.5, j + 0.5, j + 0.5, j - 0.5],
                [i - 0.5, i - 0.5, i + 0.5, i + 0.5],
                fc=_change_colour(before == SUCCESS, now == SUCCESS),
                alpha=shade,
            )
            ink = "white" if shade > 0.8 else "black" if n else "#bbbbbb"
            axes.annotate(str(n), (j, i), ha="center", va="center", color=ink)
    names = [label_of(failure) for failure in classes]
    rows = [f"{name} ({n})" for name, n in zip(names, matrix.sum(1), strict=True)]
    columns = [  # a word per line, because columns are narrow
        f"({n})\n" + name.replace(" ", "\n")
        for name, n in zip(names, matrix.sum(0), strict=True)
    ]
    axes.set_xticks(range(len(classes)), columns)
    axes.set_yticks(range(len(classes)), rows)
    axes.set_xlim(-0.5, len(classes) - 0.5)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.tick_params(length=0)
    axes.tick_params(axis="x", labelsize=8.5)
    axes.grid(visible=False)
    axes.set_xlabel("with the residual")
    axes.set_ylabel("base alone")
    axes.set_title(f"What became of the same {matrix.sum()} episodes")


def _draw_change(axes: "Axes", pairs: Sequence[tuple[str, str]]) -> None:
    n = Counter((before == SUCCESS, now == SUCCESS) for before, now in pairs)
    rows = {
        "solved by both": (True, True),
        "only with the residual": (False, True),
        "only by the base alone": (True, False),
        "by neither": (False, False),
    }
    drawn = axes.barh(
        list(rows),
        [n[solved] for solved in rows.values()],
        0.62,
        color=[_change_colour(*solved) for solved in rows.values()],
    )
    axes.bar_label(drawn, padding=4)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.09 * len(pairs))
    axes.set_xlabel("episodes")
    axes.grid(axis="y", visible=False)
    axes.set_title("What the residual changed")


def _change_colour(base_solved: bool, residual_solved: bool) -> str:
    if base_solved == residual_solved:
        return UNCHANGED
    return GAINED if residual_solved else LOST

"""What became of the base policy's episodes when the residual played them."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from so101rl.figures.held_out import paired, read_ends
from so101rl.figures.style import (
    CLASS_COLOURS,
    STYLE,
    SUCCESS,
    WIDTH,
    class_name,
    headline,
    in_order,
    save,
)
from so101rl.runs.run_dir import RunDir

if TYPE_CHECKING:
    from matplotlib.axes import Axes

MENDED, BROKEN, ELSE = CLASS_COLOURS[SUCCESS], "#D55E00", "#7f8790"


def figure_failures(run: RunDir) -> Path:
    """Draw how the same episodes ended before and after.

    Args:
        run: a run with the episodes of base and residual.

    Returns:
        Path of `figures/failures.png` in the run directory.
    """
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    pairs = paired(read_ends(run), run)
    classes = in_order(end for pair in pairs for end in pair)
    with rc_context(STYLE):
        size = (WIDTH, 1.8 + 0.36 * max(3, len(classes)))
        figure = Figure(figsize=size, layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=[1.6, 1])
        _draw_matrix(left, counts(pairs, classes), classes)
        _draw_change(right, pairs)
        headline(figure, run)
        return save(figure, run.file("figures/failures.png"))


def counts(pairs: Sequence[tuple[str, str]], classes: Sequence[str]) -> np.ndarray:
    """Episodes (k, k) by class with the base (row) and with the residual (column)."""
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
                fc=_colour(before, now),
                alpha=shade,
            )
            ink = "white" if shade > 0.8 else "black" if n else "#bbbbbb"
            axes.annotate(str(n), (j, i), ha="center", va="center", color=ink)
    ticks = range(len(classes))
    totals = zip(classes, matrix.sum(0), matrix.sum(1), strict=True)
    below, beside = zip(*(_said(*total) for total in totals), strict=True)
    axes.set_xticks(ticks, below)
    axes.set_yticks(ticks, beside)
    axes.set_xlim(-0.5, len(classes) - 0.5)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    axes.tick_params(length=0)
    axes.tick_params(axis="x", labelsize=8.5)
    axes.grid(visible=False)
    axes.set_xlabel("with the residual")
    axes.set_ylabel("base alone")
    axes.set_title(f"What became of the same {matrix.sum()} episodes")


def _draw_change(axes: "Axes", pairs: Sequence[tuple[str, str]]) -> None:
    solved = Counter((before == SUCCESS, now == SUCCESS) for before, now in pairs)
    bars = {
        "solved by both": (solved[True, True], ELSE),
        "only with the residual": (solved[False, True], MENDED),
        "only by the base alone": (solved[True, False], BROKEN),
        "by neither": (solved[False, False], ELSE),
    }
    numbers, colours = zip(*bars.values(), strict=True)
    drawn = axes.barh(list(bars), numbers, 0.62, color=colours)
    axes.bar_label(drawn, padding=4)
    axes.invert_yaxis()
    axes.set_xlim(0, 1.09 * len(pairs))
    axes.set_xlabel("episodes")
    axes.grid(axis="y", visible=False)
    axes.set_title("What the residual changed")


def _said(end: str, now: int, before: int) -> tuple[str, str]:
    """The labels of a class: of its narrow column, and of its row."""
    name = class_name(end)
    return f"({now})\n" + name.replace(" ", "\n"), f"{name} ({before})"


def _colour(before: str, now: str) -> str:
    if (before == SUCCESS) == (now == SUCCESS):
        return ELSE
    return MENDED if now == SUCCESS else BROKEN

"""`episodes.csv`: a row per policy and held-out episode."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from so101rl.errors import So101Error

FINAL = "final_"  # begins the column of a task's number at the end of an episode
# Columns before and after those of the task's numbers, and what reads their values.
BEFORE: dict[str, Callable[[str], Any]] = {
    "policy": str,
    "episode": int,
    "seed": int,
    "is_success": lambda text: text == "True",
    "return": float,
    "length": int,
}
AFTER: dict[str, Callable[[str], Any]] = {
    "time_to_success_s": lambda text: float(text) if text else None,
    "mean_residual_l2": float,
    "failure": str,
}
READERS = {**BEFORE, **AFTER}


class EpisodeRowError(So101Error):
    """A row has other columns than the first one, or lacks one that all have."""


def columns_of(row: Mapping[str, Any]) -> list[str]:
    """Return the columns of a row in the file's order.

    Raises:
        EpisodeRowError: it lacks a column, or has one that no episode has.
    """
    numbers = [name for name in row if name.startswith(FINAL)]
    columns = [*BEFORE, *numbers, *AFTER]
    wrong = set(row) ^ set(columns)
    if wrong:
        raise EpisodeRowError(
            f"an episode's row has or lacks {sorted(wrong)}; "
            f"expected {', '.join(columns)}"
        )
    return columns


def to_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return the rows as text; all have the columns of the first one."""
    text, found = io.StringIO(), list(rows)
    columns = columns_of(found[0]) if found else list(READERS)
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    for row in found:
        if columns_of(row) != columns:
            raise EpisodeRowError(
                f"an episode's row has the columns {', '.join(columns_of(row))}; "
                f"expected those of the first one, {', '.join(columns)}"
            )
        writer.writerow(row)
    return text.getvalue()


def read_row(row: Mapping[str, str]) -> dict[str, Any]:
    """Return the values of a row of text.

    Raises:
        KeyError: a column is missing.
        ValueError: a value cannot be read.
    """
    columns = [*BEFORE, *(name for name in row if name.startswith(FINAL)), *AFTER]
    return {name: READERS.get(name, float)(row[name]) for name in columns}


def rows_in(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file; none if there is none."""
    return from_csv(path.read_text()) if path.exists() else []


def from_csv(text: str) -> list[dict[str, Any]]:
    """Return the rows that `to_csv` wrote."""
    return [read_row(row) for row in csv.DictReader(io.StringIO(text))]

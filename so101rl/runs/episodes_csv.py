"""`episodes.csv`: a row per policy and held-out episode."""

import csv
import io
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from so101rl.errors import So101Error

# Each column, and the function that reads its values.
COLUMNS: dict[str, Callable[[str], Any]] = {
    "policy": str,
    "episode": int,
    "seed": int,
    "is_success": lambda text: text == "True",
    "return": float,
    "length": int,
    "final_distance_m": float,
    "final_yaw_error_rad": float,
    "time_to_success_s": lambda text: float(text) if text else None,
    "mean_residual_l2": float,
    "failure": str,
}


class EpisodeRowError(So101Error):
    """A row has other columns than COLUMNS."""


def to_csv(rows: Iterable[Mapping[str, Any]]) -> str:
    """The rows as text; every row has exactly COLUMNS."""
    text = io.StringIO()
    writer = csv.DictWriter(text, list(COLUMNS), lineterminator="\n")
    writer.writeheader()
    for number, row in enumerate(rows):
        wrong = set(row) ^ set(COLUMNS)
        if wrong:
            raise EpisodeRowError(
                f"episode row {number} has or lacks {sorted(wrong)}; "
                f"expected {', '.join(COLUMNS)}"
            )
        writer.writerow(row)
    return text.getvalue()


def rows_in(path: Path) -> list[dict[str, Any]]:
    """The rows of a file; none if there is none."""
    return from_csv(path.read_text()) if path.exists() else []


def from_csv(text: str) -> list[dict[str, Any]]:
    """The rows that `to_csv` wrote."""
    rows = csv.DictReader(io.StringIO(text))
    return [{name: read(row[name]) for name, read in COLUMNS.items()} for row in rows]

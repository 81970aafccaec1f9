"""Age and size of runs, and how ages, durations and sizes are shown."""

import os
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path

from so101rl.runs.run_dir import RunDir

UNITS = {"s": 60, "min": 60, "h": 24}  # and how many of each make the next unit


def age_s(run: RunDir) -> float:
    """Seconds since a run ended, or started if it has not ended."""
    stamp = run.info["ended"] or run.info["started"]
    return (datetime.now(UTC) - datetime.fromisoformat(stamp)).total_seconds()


def size_bytes(paths: Iterable[Path]) -> int:
    """Size of files and folders [bytes]; links are not followed."""
    total = 0
    for path in paths:
        total += _file_bytes(path) if path.is_file() else 0
        for folder, _, files in os.walk(path):
            total += sum(_file_bytes(os.path.join(folder, name)) for name in files)
    return total


def _file_bytes(path: str | Path) -> int:
    """A file's size; 0 if a running training has just removed it."""
    try:
        return os.lstat(path).st_size
    except FileNotFoundError:
        return 0


def format_age(seconds: float) -> str:
    """An age in its largest unit, such as `3 h`."""
    number = int(seconds)
    for unit, many in UNITS.items():
        if number < many:
            return f"{number} {unit}"
        number //= many
    return f"{number} d"


def format_duration(seconds: float) -> str:
    """A duration, exact to a percent or two, such as `1 h 45 min`."""
    if round(seconds) < 100:
        return f"{round(seconds)} s"
    if round(seconds) < 600:
        minutes, rest = divmod(round(seconds), 60)
        return f"{minutes} min {rest} s" if rest else f"{minutes} min"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    hours, rest = divmod(minutes, 60)
    return f"{hours} h {rest} min" if hours < 48 else f"{hours} h"


def format_size(n: float) -> str:
    """A size such as `12.3 MB`."""
    if n < 1e6:
        return f"{n / 1e3:,.0f} kB"
    return f"{n / 1e6:,.1f} MB" if n < 1e9 else f"{n / 1e9:,.1f} GB"

"""Interleaved measurements and the records of them."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from so101rl.runs.provenance import cpu_name, git_state, versions


@dataclass
class Row:
    """One measured quantity.

    Attributes:
        label: what was measured.
        unit: of the values.
        values: one per repeat.
        target: the value to reach, None for information only.
        sense: whether the target is a lower (`>=`) or an upper (`<=`) bound.
    """

    label: str
    unit: str
    values: list[float]
    target: float | None = None
    sense: str = ">="

    def to_dict(self) -> dict[str, Any]:
        """All fields, with the median and the range."""
        summary = {
            "median": statistics.median(self.values),
            "min": min(self.values),
            "max": max(self.values),
        }
        return asdict(self) | summary


@dataclass(kw_only=True)
class Effort:
    """How long to measure.

    Attributes:
        repeats: interleaved repeats of each case.
        seconds: rough length of one repeat of one case [s].
        quick: whether this is a smoke test, whose numbers mean nothing.
    """

    repeats: int = 5
    seconds: float = 1.0
    quick: bool = False


@dataclass
class Result:
    """The rows of one program of measurements."""

    name: str
    title: str
    rows: list[Row]
    extra: dict[str, Any] = field(default_factory=dict)


def interleave(
    cases: Mapping[str, Callable[[], float]], repeats: int
) -> dict[str, list[float]]:
    """Measure A B C, A B C, ..., so that a disturbance meets all cases alike.

    Args:
        cases: each returns one measurement.
        repeats: how often each is measured.
    """
    values: dict[str, list[float]] = {name: [] for name in cases}
    for _ in range(repeats):
        for name, measure in cases.items():
            values[name].append(measure())
    return values


def ratios(above: list[float], below: list[float]) -> list[float]:
    """Ratios repeat by repeat, whose two sides were measured under the same load."""
    return [a / b for a, b in zip(above, below, strict=True)]


def rate(work: Callable[[], int], seconds: float) -> float:
    """Call `work` for `seconds` [s]; returns the sum of its results per second."""
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        done += work()
    return done / (time.perf_counter() - begin)


class Residuals:
    """Random residuals, like those of a learner that explores.

    Args:
        n: number of environments.
        std: their standard deviation.
    """

    def __init__(self, n: int, std: float):
        rng = np.random.default_rng(0)
        actions = std * rng.standard_normal((64, n, 6))
        self._actions = np.clip(actions, -1, 1).astype(np.float32)
        self._next = 0

    def __call__(self) -> np.ndarray:
        """The next residuals (n, 6)."""
        self._next = (self._next + 1) % len(self._actions)
        return self._actions[self._next]


def machine() -> dict[str, Any]:
    """The machine, the versions and the commit of a measurement."""
    cpus = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else None
    state = git_state() or {}
    return {
        "cpu": cpu_name(),
        "cpus": os.cpu_count(),
        "usable_cpus": cpus or os.cpu_count(),
        "system": f"{platform.system()} {platform.machine()}",
        "versions": versions(),
        "commit": state.get("commit"),
        "dirty": state.get("dirty"),
    }


def commit_text(where: Mapping[str, Any]) -> str:
    """The commit of a measurement for a table, with a mark for uncommitted changes."""
    return (where["commit"] or "unknown")[:8] + (" + changes" if where["dirty"] else "")


def load() -> list[float]:
    """Load averages over 1, 5 and 15 minutes."""
    return [round(value, 2) for value in os.getloadavg()]


def write(folder: Path, result: Result, context: dict[str, Any]) -> Path:
    """Write `folder/<name>.json`."""
    content = {
        "name": result.name,
        "title": result.title,
        **context,
        "rows": [row.to_dict() for row in result.rows],
        "extra": result.extra,
    }
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.name}.json"
    path.write_text(json.dumps(content, indent=1) + "\n")
    return path

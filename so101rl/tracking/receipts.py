"""What a tracker has been given: a small file in the run or sweep, by its place."""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from so101rl.files import read_json, to_json, write_atomic
from so101rl.runs.metrics_log import METRICS
from so101rl.runs.run_dir import EVALUATION, RUN, RunDir
from so101rl.runs.sweep_dir import NUMBERS, SUMMARY, SWEEP, SweepDir
from so101rl.tracking.base import Tracker

FOLDER = ".delivered"
OF_RUNS, OF_SWEEPS = (RUN, METRICS, EVALUATION), (SWEEP, SUMMARY, NUMBERS)


def has_all(run: RunDir | SweepDir, name: str, tracker: Tracker[Any]) -> bool:
    """Whether the tracker called `name` has all of a run, as it is now."""
    path = _receipt(run, name, tracker)
    return path.exists() and read_json(path) == _contents(run)


@contextlib.contextmanager
def signed(run: RunDir | SweepDir, name: str, tracker: Tracker[Any]) -> Iterator[None]:
    """Sign for what there is before the block delivers it, once it has."""
    contents = _contents(run)
    yield
    write_atomic(_receipt(run, name, tracker), to_json(contents))


def _receipt(run: RunDir | SweepDir, name: str, tracker: Tracker[Any]) -> Path:
    digest = hashlib.sha256(tracker.place.encode()).hexdigest()[:12]
    return run.file(f"{FOLDER}/{name}-{digest}.json")


def _contents(run: RunDir | SweepDir) -> dict[str, Any]:
    """What changes when a run, or a sweep, goes on."""
    return {
        name: hashlib.sha256((run.path / name).read_bytes()).hexdigest()
        for name in (OF_RUNS if isinstance(run, RunDir) else OF_SWEEPS)
        if (run.path / name).exists()
    }

"""Delivering a run or a sweep to its trackers, exactly once.

A receipt is a small file in the directory of the run or sweep. It holds the hashes, at
the time of delivery, of the files that change when the run or sweep continues.
"""

import contextlib
import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.files import read_json, to_json, write_atomic
from so101rl.runs.run_dir import RunDir
from so101rl.runs.sweep_dir import SweepDir
from so101rl.tracking.base import Tracker

if TYPE_CHECKING:
    from omegaconf import DictConfig

FOLDER = ".delivered"
FAILED = "failed"  # marks a failed delivery in the text that `deliver` returns


def deliver(run: RunDir | SweepDir, trackers: "DictConfig") -> str:
    """Deliver a run or a sweep to all trackers; returns the result for each as text."""
    from hydra.utils import instantiate

    results = []
    for name, node in ((str(key), node) for key, node in trackers.items()):
        try:
            tracker = instantiate(node)
            if isinstance(run, SweepDir):
                tracker = tracker.of_sweeps()
            results.append(f"{name} {_deliver(run, name, tracker)}")
        except Exception as error:  # a server or a disk may cause any error
            lines = str(error).splitlines() or [type(error).__name__]
            results.append(f"{name} {FAILED} ({lines[0][:120]})")
    return ", ".join(results) or "no tracker is chosen"


def _deliver(run: RunDir | SweepDir, name: str, tracker: Tracker[Any] | None) -> str:
    if tracker is None:
        return "does not record sweeps"
    run.update_status()
    if type(run).open(run.path).info["status"] == "running":
        return f"gets it later: the {run.kind} is running"
    path = _receipt(run, name, tracker)
    if path.exists() and read_json(path) == _hashes(run):
        return "already has it"
    with receipt(run, name, tracker):
        tracker.start(run)
        tracker.finish(run)
    return "has received it"


@contextlib.contextmanager
def receipt(run: RunDir | SweepDir, name: str, tracker: Tracker[Any]) -> Iterator[None]:
    """Write a receipt after a block without error, with the hashes from before it."""
    hashes = _hashes(run)
    yield
    write_atomic(_receipt(run, name, tracker), to_json(hashes))


def _receipt(run: RunDir | SweepDir, name: str, tracker: Tracker[Any]) -> Path:
    digest = hashlib.sha256(tracker.place.encode()).hexdigest()[:12]
    return run.file(f"{FOLDER}/{name}-{digest}.json")


def _hashes(run: RunDir | SweepDir) -> dict[str, str]:
    return {
        name: hashlib.sha256((run.path / name).read_bytes()).hexdigest()
        for name in run.growing_files
        if (run.path / name).exists()
    }

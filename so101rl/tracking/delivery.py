"""Delivering a run or a sweep to its trackers, exactly once."""

from collections.abc import Sequence
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from so101rl.runs.run_dir import RunDir
from so101rl.runs.sweep_dir import SweepDir
from so101rl.tracking.base import Tracker
from so101rl.tracking.receipts import has_all, signed


def deliver(run: RunDir | SweepDir, trackers: DictConfig) -> str:
    """Deliver a run or a sweep to all trackers; returns what came of it, in words."""
    said = []
    for name, node in ((str(key), node) for key, node in trackers.items()):
        try:
            tracker = instantiate(node)
            if isinstance(run, SweepDir):
                tracker = tracker.of_sweeps()
            said.append(f"{name} {_deliver(run, name, tracker)}")
        except Exception as error:  # whatever a server or a disk may answer
            said.append(f"{name} failed ({_short(error)})")
    return ", ".join(said) or "no tracker is chosen"


def _deliver(run: RunDir | SweepDir, name: str, tracker: Tracker[Any] | None) -> str:
    if tracker is None:
        return "keeps no sweeps"
    run.update_status()
    if type(run).open(run.path).info["status"] == "running":
        kind = "run" if isinstance(run, RunDir) else "sweep"
        return f"has to wait: the {kind} is running"
    if has_all(run, name, tracker):
        return "had it"
    with signed(run, name, tracker):
        tracker.start(run)
        tracker.finish(run)
    return "has it"


def _short(error: Exception) -> str:
    lines: Sequence[str] = str(error).splitlines() or [type(error).__name__]
    return lines[0][:120]

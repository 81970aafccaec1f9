"""`job=sync`: deliver runs and sweeps to the trackers, each exactly once."""

from collections.abc import Sequence
from typing import Any

from hydra.utils import instantiate
from omegaconf import DictConfig

from so101rl.errors import So101Error
from so101rl.rundir import RunDir, find_runs
from so101rl.saved_run import OUTPUT_ROOTS
from so101rl.tracking.base import Tracker
from so101rl.tracking.receipts import has_all, signed
from so101rl.tracking.sweepdir import SweepDir, find_sweeps


class SyncError(So101Error):
    """Some runs could not be delivered."""


def sync(cfg: DictConfig) -> None:
    """Deliver `run=RUN_DIR`, or all runs and sweeps below `outputs/` and `multirun/`.

    A run whose process is gone is settled first; one that is running is left to its
    own tracker. Whatever a tracker has already it does not get again.

    Raises:
        SyncError: something could not be delivered.
    """
    if cfg.run is not None:
        sweeps, runs = [], [RunDir.open(cfg.run)]
    else:  # sweeps first: then their runs find them
        sweeps, runs = find_sweeps(OUTPUT_ROOTS), find_runs(OUTPUT_ROOTS)
    for run in tuple(runs):
        runs += find_runs([run.path / "evaluations"])
    everything: list[RunDir | SweepDir] = [*sweeps, *runs]
    said = [deliver(one, cfg.tracking.trackers) for one in everything]
    for one, words in zip(everything, said, strict=True):
        print(f"{one.path}: {words}")
    failed = sum("failed" in words for words in said)
    what = f"{len(runs)} runs" + (f" and {len(sweeps)} sweeps" if sweeps else "")
    print(f"{what}, {failed} not delivered")
    if failed:
        raise SyncError(f"{failed} of {what} could not be delivered")


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
    run.settle()
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

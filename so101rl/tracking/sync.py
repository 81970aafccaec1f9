"""`job=sync`: deliver run directories to the trackers, each exactly once."""

from collections.abc import Sequence

from hydra.utils import instantiate
from omegaconf import DictConfig

from so101rl.errors import So101Error
from so101rl.rundir import RunDir, find_runs
from so101rl.saved_run import OUTPUT_ROOTS
from so101rl.tracking.base import Tracker
from so101rl.tracking.receipts import has_all, signed


class SyncError(So101Error):
    """Some runs could not be delivered."""


def sync(cfg: DictConfig) -> None:
    """Deliver `run=RUN_DIR`, or every run below `outputs/` and `multirun/`.

    A run whose process is gone is settled first; one that is running is left to its
    own tracker. Whatever a tracker has already it does not get again.

    Raises:
        SyncError: something could not be delivered.
    """
    runs = [RunDir.open(cfg.run)] if cfg.run is not None else find_runs(OUTPUT_ROOTS)
    for run in tuple(runs):
        runs += find_runs([run.path / "evaluations"])
    said = [deliver(run, cfg.tracking.trackers) for run in runs]
    for run, words in zip(runs, said, strict=True):
        print(f"{run.path}: {words}")
    failed = sum("failed" in words for words in said)
    print(f"{len(runs)} runs, {failed} not delivered")
    if failed:
        raise SyncError(f"{failed} of {len(runs)} runs could not be delivered")


def deliver(run: RunDir, trackers: DictConfig) -> str:
    """Deliver one run to all trackers; returns what came of it, in words."""
    said = []
    for name, node in ((str(key), node) for key, node in trackers.items()):
        try:
            said.append(f"{name} {_deliver(run, name, instantiate(node))}")
        except Exception as error:  # whatever a server or a disk may answer
            said.append(f"{name} failed ({_short(error)})")
    return ", ".join(said) or "no tracker is chosen"


def _deliver(run: RunDir, name: str, tracker: Tracker) -> str:
    run.settle()
    if RunDir.open(run.path).info["status"] == "running":
        return "has to wait: the run is running"
    if has_all(run, name, tracker):
        return "had it"
    with signed(run, name, tracker):
        tracker.start(run)
        tracker.finish(run)
    return "has it"


def _short(error: Exception) -> str:
    lines: Sequence[str] = str(error).splitlines() or [type(error).__name__]
    return lines[0][:120]

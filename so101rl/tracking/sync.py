"""`job=sync`: deliver run directories to the trackers, each exactly once."""

from collections.abc import Sequence

from hydra.utils import instantiate
from omegaconf import DictConfig, OmegaConf

from so101rl.errors import So101Error
from so101rl.rundir import RunDir, find_runs
from so101rl.saved_run import OUTPUT_ROOTS
from so101rl.tracking.receipts import is_signed, receipt, sign


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
    said = [deliver(run, cfg.tracking.trackers) for run in runs]
    for run, words in zip(runs, said, strict=True):
        print(f"{run.path}: {words}")
    failed = sum("failed" in words for words in said)
    print(f"{len(runs)} runs, {failed} not delivered")
    if failed:
        raise SyncError(f"{failed} of {len(runs)} runs could not be delivered")


def deliver(run: RunDir, trackers: DictConfig) -> str:
    """Deliver one run to all trackers; returns what came of it, in words."""
    run.settle()
    if run.info["status"] == "running":
        return "is running"
    said = []
    for name, node in ((str(key), node) for key, node in trackers.items()):
        path = receipt(run, name, OmegaConf.to_container(node, resolve=True))
        if is_signed(run, path):
            said.append(f"{name} had it")
            continue
        try:
            tracker = instantiate(node)
            tracker.start(run)
            tracker.finish(run)
        except Exception as error:  # whatever a server may answer
            said.append(f"{name} failed ({_short(error)})")
            continue
        sign(run, path)
        said.append(f"{name} has it")
    return ", ".join(said) or "no tracker is chosen"


def _short(error: Exception) -> str:
    lines: Sequence[str] = str(error).splitlines() or [type(error).__name__]
    return lines[0][:120]

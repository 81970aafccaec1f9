"""`job=sync`: deliver runs and sweeps to the trackers, each exactly once."""

from omegaconf import DictConfig

from so101rl.config.from_run import OUTPUT_ROOTS
from so101rl.errors import So101Error
from so101rl.runs.run_dir import RunDir, find_runs
from so101rl.runs.sweep_dir import SweepDir, find_sweeps
from so101rl.tracking.delivery import FAILED, deliver


class SyncError(So101Error):
    """Some runs could not be delivered."""


def sync(cfg: DictConfig) -> None:
    """Deliver `run=RUN_DIR`, or all runs and sweeps below `outputs/` and `multirun/`.

    A run that is running is left to its own tracker; one whose process is gone counts
    as killed. A tracker gets nothing that it has already.

    Raises:
        SyncError: something could not be delivered.
    """
    if cfg.run is not None:
        sweeps, runs = [], [RunDir.open(cfg.run)]
    else:  # sweeps first: then their runs find them
        sweeps, runs = find_sweeps(OUTPUT_ROOTS), find_runs(OUTPUT_ROOTS)
    runs += [inner for run in runs for inner in run.evaluations()]
    everything: list[RunDir | SweepDir] = [*sweeps, *runs]
    failed = 0
    for one in everything:
        result = deliver(one, cfg.tracking.trackers)
        print(f"{one.path}: {result}", flush=True)
        failed += FAILED in result
    what = f"{len(runs)} runs" + (f" and {len(sweeps)} sweeps" if sweeps else "")
    print(f"{what}, {failed} not delivered")
    if failed:
        raise SyncError(f"{failed} of {what} could not be delivered")

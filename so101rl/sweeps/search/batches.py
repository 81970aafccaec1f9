"""A search through a launcher of Hydra's: some trials at a time, without pruning."""

from collections.abc import Callable
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from hydra.plugins.launcher import Launcher

from so101rl.sweeps.launchers import end_of, launch
from so101rl.sweeps.outcome import RESUMABLE, Breaker, Outcome
from so101rl.sweeps.processes import Program
from so101rl.sweeps.search.search import Plan, env_steps, judged, refuse_stranger
from so101rl.sweeps.search.trials import Trials

if TYPE_CHECKING:
    from optuna import Trial


def in_batches(
    plan: Plan,
    trials: Trials,
    ask: "Callable[[], Trial | None]",
    place: Path,
    program: Program,
    through: Launcher,
    n_jobs: int,
) -> None:
    """Run trials until enough have ended, `n_jobs` at a time with all of their runs.

    Args:
        plan: what is looked for.
        trials: the study; this must be its only worker, for no sign of life is given.
        ask: gives the next trial.
        place: the sweep's folder, held.
        program: what runs are told besides.
        through: runs them.
        n_jobs: trials at a time.

    Raises:
        BrokenSweep: three trials in a row failed for the same reason.
    """
    breaker = Breaker()
    try:
        while True:
            asked = [ask() for _ in range(n_jobs)]
            batch = [trial for trial in asked if trial is not None]
            if not batch:
                return
            runs = range(len(plan.seeds))
            jobs = [plan.job(trial, done) for trial in batch for done in runs]
            for job in jobs:
                refuse_stranger(place / job.name)
            launch(through, jobs, place, program.common)
            ends = []
            for trial in batch:
                folders = [place / plan.job(trial, done).name for done in runs]
                ends.append(_settle(trial.number, folders, plan, trials))
            for end in ends:  # once all of the batch is told: what finished stays
                breaker.check(end)
    finally:
        trials.abandon()


def _settle(number: int, folders: list[Path], plan: Plan, trials: Trials) -> Outcome:
    """Tell the study how a trial has ended: as the first of its runs that did not."""
    facts: dict[str, Any] = {"env_steps": sum(map(env_steps, folders))}
    ends, runs = [], []
    for folder in folders:
        end, values = end_of(folder), list[float]()
        if end.status == "finished":
            end, values = judged(folder, end, plan.objectives)
        ends.append(end)
        runs.append(values)
    bad = next((end for end in ends if end.status != "finished"), None)
    if bad is None:
        means = [fmean(column) for column in zip(*runs, strict=True)]
        trials.tell(number, values=means, runs=runs, **facts)
        return ends[0]
    facts |= {"kind": bad.kind, "reason": bad.reason}
    if bad.kind in RESUMABLE:
        trials.lost(number, **facts)
    else:
        trials.tell(number, state="FAIL", **facts)
    return bad

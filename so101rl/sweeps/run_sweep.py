"""Runs a sweep with a fixed list of jobs: all typed combinations, or a study."""

import contextlib
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from hydra.plugins.launcher import Launcher

from so101rl.config.threads import n_threads
from so101rl.runs.preregistration import register
from so101rl.runs.signals import Stop
from so101rl.runs.sweep_dir import SweepDir
from so101rl.sweeps.context import SweepContext
from so101rl.sweeps.job import Job, SweepError, every_combination
from so101rl.sweeps.launchers import Runner, make_runner
from so101rl.sweeps.outcome import Breaker, Outcome, is_done, log_of, run_outcome
from so101rl.sweeps.preview import preview
from so101rl.sweeps.progress import SweepProgress, best_run
from so101rl.sweeps.results import conclude_jobs
from so101rl.sweeps.studies import study_of

WAIT_S = 1.0  # between two looks at the queue [s]
SHOWN = 3  # failures that the last message names


def run_sweep(
    context: SweepContext,
    *,
    launcher: Launcher | None,
    n_jobs: int | None,
    timeout_s: float | None,
    dry_run: bool,
) -> None:
    """Run a sweep to its end, or continue one.

    Args:
        context: config and command line of the sweep.
        launcher: Hydra launcher that gets all jobs at once; None for processes.
        n_jobs: processes at a time; None for one per core.
        timeout_s: time limit of a job [s]; None for no limit.
        dry_run: only show what would be run.

    Raises:
        So101Error: the sweep cannot start, or a job has not finished.
    """
    n_parallel = n_jobs or n_threads(None)
    if dry_run:
        _show(context, n_parallel)
        return
    sweep = SweepDir.at(context.folder)
    with sweep.locked():
        jobs = _define(context, sweep)
        runner = make_runner(context.program(n_parallel), launcher, timeout_s)
        n_parallel = n_parallel if launcher is None else len(jobs)
        ends: dict[str, Outcome] = {}
        with context.tracked(sweep, lambda: conclude_jobs(jobs, sweep.path, ends)):
            print(f"sweep: {sweep.path} ({len(jobs)} jobs, {n_parallel} at a time)")
            with SweepProgress(context.name, len(jobs), n_parallel) as progress:
                ends |= run_all(jobs, sweep.path, runner, progress, n_jobs=n_parallel)
            print(progress.summary())
            _check_results(ends, sweep.path)


def run_all(
    jobs: Sequence[Job],
    folder: Path,
    runner: Runner,
    progress: SweepProgress,
    *,
    n_jobs: int,
) -> dict[str, Outcome]:
    """Run or resume the jobs without a final outcome, `n_jobs` at a time.

    Returns:
        The outcome of each job by name, in the order of `jobs`.

    Raises:
        BrokenSweep: three jobs in a row failed for the same reason, and some are left.
        KeyboardInterrupt, Terminated: on Ctrl+C and SIGTERM, after the jobs saved.
    """
    ends: dict[str, Outcome] = {}
    queue: deque[Job] = deque()
    for job in jobs:
        before = run_outcome(folder / job.name)
        if before is not None and before.is_final:
            ends[job.name] = before
            progress.ended_before(before)
        else:
            queue.append(job)
    breaker = Breaker()
    with Stop().signals(), contextlib.closing(runner):
        while queue or runner.running:
            while queue and len(runner.running) < n_jobs:
                job = queue.popleft()
                runner.start(job, folder / job.name)
                progress.started(job.name, folder / job.name)
            for name, found in runner.ended(WAIT_S):
                ends[name] = found
                progress.ended(name, found)
                done = [one for one, end in ends.items() if end.status == "finished"]
                progress.best = best_run({one: folder / one for one in done})
                if queue or runner.running:
                    breaker.check(found)
    return {job.name: ends[job.name] for job in jobs}


def _show(context: SweepContext, n_jobs: int) -> None:
    """Print the jobs that would run."""
    if context.config.study is None:
        jobs = every_combination(context.typed(), context.name)
    else:
        study = study_of(context)
        jobs = [*study.jobs]
        print(study.warning, end="")
    left = [job for job in jobs if not is_done(context.folder / job.name)]
    if len(left) < len(jobs):
        print(f"{len(jobs) - len(left)} of {len(jobs)} jobs are done")
    if left:
        print(preview(left, context.compose, context.program(n_jobs), n_jobs))


def _define(context: SweepContext, sweep: SweepDir) -> list[Job]:
    """Record the sweep's jobs or register its study; return the jobs."""
    if context.config.study is None:
        jobs = every_combination(context.typed(), context.name)
        what = {f"job {job.name}": " ".join(job.overrides) for job in jobs}
        sweep.define(what, context.line)
        return jobs
    study = study_of(context)
    sweep.define({"study": context.name}, context.line)
    print(study.warning, end="")
    digest, changes = register(
        sweep.path, context.name, study.promised, study.settings, context.line
    )
    for change in changes:
        print(f"DEVIATION from what was registered: {change}")
    registered = {"registration": digest}
    return [replace(job, part_of={**job.part_of, **registered}) for job in study.jobs]


def _check_results(ends: Mapping[str, Outcome], folder: Path) -> None:
    """Raise an error with the first failures unless every job has finished."""
    failed = {name: end for name, end in ends.items() if end.status != "finished"}
    if not failed:
        return
    lines = [f"{len(failed)} of {len(ends)} jobs gave no result:"]
    for name, end in [*failed.items()][:SHOWN]:
        lines.append(f"  {name}: {end.reason[:120]} ({log_of(folder / name)})")
    if len(failed) > SHOWN:
        lines.append(f"  and {len(failed) - SHOWN} more")
    raise SweepError("\n".join(lines))

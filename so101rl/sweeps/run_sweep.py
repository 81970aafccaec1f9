"""Starts a sweep whose jobs are known: all combinations typed, or a study."""

from hydra.plugins.launcher import Launcher

from so101rl.config.threads import n_threads
from so101rl.runs.preregistration import register
from so101rl.runs.sweep_dir import SweepDir
from so101rl.sweeps.context import SweepContext
from so101rl.sweeps.job import Job, every_combination
from so101rl.sweeps.launchers import end_of, is_done, launch
from so101rl.sweeps.mirrored import mirrored
from so101rl.sweeps.outcome import Outcome
from so101rl.sweeps.preview import preview
from so101rl.sweeps.progress import SweepProgress
from so101rl.sweeps.results import conclude_jobs
from so101rl.sweeps.runner import refuse_failures, run_all
from so101rl.sweeps.studies import StudyPlan, study_of


def run_sweep(
    call: SweepContext,
    n_jobs: int | None,
    timeout_s: float | None,
    *,
    dry_run: bool,
    through: Launcher | None = None,
) -> None:
    """Run a sweep to its end, or go on with one.

    Args:
        call: what was typed.
        n_jobs: processes at a time; None: as many as there are cores.
        timeout_s: for one job [s]; None: none.
        dry_run: only say what would be run.
        through: what runs the jobs; None: processes of our own.

    Raises:
        So101Error: it cannot start, or a job gave no result.
    """
    at_a_time = n_jobs or n_threads(None)
    if dry_run:
        _show(call, at_a_time)
        return
    sweep = SweepDir.at(call.folder)
    with sweep.locked():
        jobs = _jobs(call, sweep)
        program = call.program(at_a_time)
        ends: dict[str, Outcome] = {}
        with mirrored(call, sweep, lambda: conclude_jobs(jobs, sweep.path, ends)):
            if through is not None:
                left = [job for job in jobs if not is_done(sweep.path / job.name)]
                launch(through, left, sweep.path, program.common)
                ends |= {job.name: end_of(sweep.path / job.name) for job in jobs}
                refuse_failures(ends, sweep.path)
                return
            print(f"sweep: {sweep.path} ({len(jobs)} jobs, {at_a_time} at a time)")
            with SweepProgress(call.name, len(jobs), at_a_time) as board:
                ends |= run_all(
                    jobs,
                    sweep.path,
                    program,
                    board,
                    n_jobs=at_a_time,
                    timeout_s=timeout_s,
                )
            print(board.summary())
            refuse_failures(ends, sweep.path)


def _show(call: SweepContext, n_jobs: int) -> None:
    """Say what would be run."""
    if call.config.study is None:
        jobs = every_combination(call.typed(), call.name)
    else:
        study = study_of(call)
        jobs = [*study.jobs]
        _doubt(study)
    left = [job for job in jobs if not is_done(call.folder / job.name)]
    if len(left) < len(jobs):
        print(f"{len(jobs) - len(left)} of {len(jobs)} jobs are done")
    if left:
        print(preview(left, call.compose, call.program(n_jobs), n_jobs))


def _jobs(call: SweepContext, sweep: SweepDir) -> list[Job]:
    if call.config.study is None:
        jobs = every_combination(call.typed(), call.name)
        what = {f"job {job.name}": " ".join(job.overrides) for job in jobs}
        sweep.define(what, call.line)
        return jobs
    study = study_of(call)
    sweep.define({"study": call.name}, call.line)
    _doubt(study)
    digest, changes = register(
        sweep.path, call.name, study.promised, study.settings, call.line
    )
    for change in changes:
        print(f"DEVIATION from what was registered: {change}")
    return study.registered(digest)


def _doubt(study: StudyPlan) -> None:
    """Say so if a study cannot come to a verdict."""
    if study.doubt:
        print(study.doubt)

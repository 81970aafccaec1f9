"""Starts a sweep whose jobs are known: all combinations typed, or a study."""

from so101rl.sweeps.board import Board
from so101rl.sweeps.call import Call
from so101rl.sweeps.job import Job, every_combination
from so101rl.sweeps.place import Place
from so101rl.sweeps.runner import refuse_failures, run_all
from so101rl.sweeps.studies import study_jobs
from so101rl.threads import n_threads


def start(
    call: Call, n_jobs: int | None, timeout_s: float | None, *, dry_run: bool
) -> None:
    """Run a sweep to its end, or go on with one.

    Args:
        call: what was typed.
        n_jobs: processes at a time; None: as many as there are cores.
        timeout_s: for one job [s]; None: none.
        dry_run: only say what would be run.

    Raises:
        So101Error: it cannot start, or a job gave no result.
    """
    at_a_time = n_jobs or n_threads(None)
    place = Place(call.folder)
    with place.held():
        jobs = _jobs(call, place)
        print(f"sweep: {place.path} ({len(jobs)} jobs, {at_a_time} at a time)")
        with Board(call.name, len(jobs), at_a_time) as board:
            ends = run_all(
                jobs,
                place.path,
                call.program(at_a_time),
                board,
                n_jobs=at_a_time,
                timeout_s=timeout_s,
            )
        print(board.summary())
    refuse_failures(ends, place.path)


def _jobs(call: Call, place: Place) -> list[Job]:
    if call.config.study is None:
        jobs = every_combination(call.typed(), call.name)
        what = {f"job {job.name}": " ".join(job.overrides) for job in jobs}
        place.settle(what, call.line)
        return jobs
    place.settle({"study": call.name}, call.line)
    jobs, changes = study_jobs(call)
    for change in changes:
        print(f"DEVIATION from what was registered: {change}")
    return jobs

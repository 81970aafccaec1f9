"""Runs the jobs of a sweep whose list is known: `-m key=a,b`, or a study."""

import contextlib
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from so101rl.runs.signals import Stop
from so101rl.sweeps.job import Job, SweepError
from so101rl.sweeps.outcome import Breaker, Outcome, log_of, standing
from so101rl.sweeps.processes import Processes, Program
from so101rl.sweeps.progress import SweepProgress, best_run

WAIT_S = 1.0  # between two looks at the queue [s]
LISTED = 3  # failures that the last message names


def run_all(
    jobs: Sequence[Job],
    place: Path,
    program: Program,
    board: SweepProgress,
    *,
    n_jobs: int,
    timeout_s: float | None = None,
) -> dict[str, Outcome]:
    """Run what has not come to its end yet; `n_jobs` at a time.

    A finished run is left as it is, one that was stopped or shot goes on where it
    stood, and one that failed by itself has failed.

    Args:
        jobs: all of the sweep.
        place: the sweep's folder, held.
        program: how to call one.
        board: what somebody sees.
        n_jobs: processes at a time.
        timeout_s: for one job [s].

    Returns:
        How each ended, by name, in their order.

    Raises:
        BrokenSweep: three in a row failed for the same reason.
        KeyboardInterrupt, Terminated: by Ctrl+C and SIGTERM, once the jobs have saved.
    """
    ends: dict[str, Outcome] = {}
    todo: deque[tuple[Job, bool]] = deque()
    for job in jobs:
        before = standing(place / job.name)
        if before is not None and before.is_final:
            ends[job.name] = before
            board.known(before)
        else:
            todo.append((job, before is not None))
    pool, breaker = Processes(timeout_s), Breaker()
    with Stop().signals(), contextlib.closing(pool):
        while todo or pool.running:
            while todo and len(pool.running) < n_jobs:
                job, resumed = todo.popleft()
                folder = place / job.name
                new = program.new(job.words, folder)
                command = program.resumed(folder) if resumed else new
                pool.start(job.name, command, folder)
                board.started(job.name, folder)
            for name, found in pool.ended(WAIT_S):
                ends[name] = found
                board.ended(name, found)
                done = [one for one, end in ends.items() if end.status == "finished"]
                board.best(best_run({one: place / one for one in done}))
                breaker.check(found)
    return {job.name: ends[job.name] for job in jobs}


def refuse_failures(ends: dict[str, Outcome], place: Path) -> None:
    """Raise if not every job has finished, with the first few."""
    failed = {name: end for name, end in ends.items() if end.status != "finished"}
    if not failed:
        return
    lines = [f"{len(failed)} of {len(ends)} jobs gave no result:"]
    for name, end in list(failed.items())[:LISTED]:
        lines.append(f"  {name}: {end.reason[:120]} ({log_of(place / name)})")
    if len(failed) > LISTED:
        lines.append(f"  and {len(failed) - LISTED} more")
    raise SweepError("\n".join(lines))

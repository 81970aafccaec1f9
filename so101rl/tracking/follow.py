"""One tracker's process: `Mirror` starts it, and its standard input ends with the run.

It ends so too if the run's process is shot, and reads everything else where it lies:
in the run directory. A sweep is followed as a run is.
"""

import logging
import os
import pickle
import select
import sys
import time

from so101rl.runs.run_dir import RunDir
from so101rl.tracking.base import Mirrored, Tracker
from so101rl.tracking.receipts import signed

log = logging.getLogger(__name__)

PATIENCE_S = 5.0  # for the lock of a process that is going [s]
NICENESS = 19  # the lowest: the training goes first


def main() -> None:
    """Do what the first object on standard input says."""
    os.nice(NICENESS)
    name, tracker, run, every_s = pickle.load(sys.stdin.buffer)
    follow(name, tracker, run, every_s)


def follow(
    name: str, tracker: Tracker[Mirrored], run: Mirrored, every_s: float
) -> None:
    """Mirror a run, or a sweep, until standard input ends.

    Args:
        name: of the tracker.
        tracker: not started yet.
        run: what it mirrors.
        every_s: pause between two pushes [s].
    """
    call = "start"
    try:
        tracker.start(run)
        call = "push"
        while not select.select([sys.stdin], [], [], every_s)[0]:
            tracker.push(run)
        call = "finish"
        _settle(run)  # if nobody else could say that it has ended
        with signed(run, name, tracker):
            tracker.finish(run)
    except Exception as error:  # design: tracking never costs a run
        reason = f"{type(error).__name__}: {error}"
        later = f"job=sync run={run.path}" if isinstance(run, RunDir) else "job=sync"
        log.warning(
            "%s stopped at %s (%s); the run goes on, %s has everything; "
            "deliver it later: python main.py %s",
            *(name, call, reason, run.path, later),
        )


def _settle(run: Mirrored) -> None:
    """Settle a run whose process is gone, or still going.

    What dies closes the pipe a moment before the kernel frees its lock.
    """
    end = time.monotonic() + PATIENCE_S
    while (now := type(run).open(run.path)).info["status"] == "running":
        if now.update_status() or time.monotonic() > end:
            return
        time.sleep(0.05)


if __name__ == "__main__":
    main()

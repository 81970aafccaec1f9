"""The process of one tracker, started by `Mirror`; it ends with its standard input.

Standard input is closed at the end of the run, also if the run is killed. The tracker
reads everything else from the folder of the run or sweep.
"""

import logging
import os
import pickle
import select
import sys
import time

from so101rl.runs.run_dir import RunDir
from so101rl.tracking.base import Mirrored, Tracker
from so101rl.tracking.delivery import receipt

log = logging.getLogger(__name__)

LOCK_PATIENCE_S = 5.0  # longest wait for the lock of an ending process [s]
NICENESS = 19  # the lowest priority, below the training


def main() -> None:
    """Follow the run or sweep that is pickled on standard input."""
    os.nice(NICENESS)
    name, tracker, run, every_s = pickle.load(sys.stdin.buffer)
    follow(name, tracker, run, every_s)


def follow(
    name: str, tracker: Tracker[Mirrored], run: Mirrored, every_s: float
) -> None:
    """Mirror a run or a sweep every `every_s` [s], until standard input ends."""
    call = "start"
    try:
        tracker.start(run)
        call = "push"
        while not select.select([sys.stdin], [], [], every_s)[0]:
            tracker.push(run)
        call = "finish"
        _wait_for_status(run)
        with receipt(run, name, tracker):
            tracker.finish(run)
    except Exception as error:  # a tracker's error never ends a run
        reason = f"{type(error).__name__}: {error}"
        later = f"job=sync run={run.path}" if isinstance(run, RunDir) else "job=sync"
        log.warning(
            "%s stopped at %s (%s); the run goes on, %s has everything; "
            "deliver it later: python main.py %s",
            *(name, call, reason, run.path, later),
        )


def _wait_for_status(run: Mirrored) -> None:
    """Wait until the status is no longer `running`.

    If a process is killed, its pipe closes shortly before its lock is freed.
    """
    end = time.monotonic() + LOCK_PATIENCE_S
    while (now := type(run).open(run.path)).info["status"] == "running":
        if now.update_status() or time.monotonic() > end:
            return
        time.sleep(0.05)


if __name__ == "__main__":
    main()

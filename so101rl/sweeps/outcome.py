"""How a job of a sweep ended, from its run directory or else from its exit code."""

import re
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from so101rl.runs.failures import format_error
from so101rl.runs.run_dir import RUN, RunDir
from so101rl.sweeps.job import SweepError

# Failures that do not depend on the settings: the same command resumes these jobs.
RESUMABLE = ("infrastructure", "stopped")
MAX_EQUAL_FAILURES = 3  # so many in a row end a sweep
WAIT_FOR_EXIT_S = 20.0  # longest wait for a process to save and exit [s]
USER_ERROR = 2  # exit code of a user's mistake
TAIL = 65_536  # bytes at the end of a log that are searched for an error
# Numbers in an error message differ between jobs; failures are compared without them.
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: that of `run.json`; else `finished`, `failed`, `killed` or `to do`.
        kind: kind of the failure, see `runs.failures`; empty if there was none.
        reason: message of the failure in one line; empty if there was none.
    """

    status: str
    kind: str = ""
    reason: str = ""

    @property
    def is_final(self) -> bool:
        """Whether the job is not run again when the sweep's command is repeated."""
        return self.status != "running" and self.kind not in RESUMABLE


class FolderState(NamedTuple):
    """State of a job's folder before its process starts.

    Attributes:
        log_size: size of the log [bytes].
        run: inode and modification time [ns] of `run.json`; None if there is none.
    """

    log_size: int
    run: tuple[int, int] | None

    @classmethod
    def of(cls, folder: Path) -> "FolderState":
        """Read the state of a job's folder and of the log beside it."""
        log = log_of(folder)
        return cls(log.stat().st_size if log.exists() else 0, _run_stamp(folder))


def process_outcome(folder: Path, code: int, before: FolderState) -> Outcome:
    """Return how a job's process ended, even if it wrote no run into the folder.

    The exit code is negative for a signal; `before` is the folder's state when the
    process started.
    """
    found = run_outcome(folder)
    if found is not None and _run_stamp(folder) != before.run:
        return found
    if code == 0:
        return Outcome("finished")
    if code < 0:
        return Outcome("killed", "infrastructure", f"ended by signal {-code}")
    kind = "config" if code == USER_ERROR else "bug"
    last = _last_line(log_of(folder), before.log_size)
    return Outcome("failed", kind, last or f"exit code {code}")


def run_outcome(folder: Path, wait_s: float = WAIT_FOR_EXIT_S) -> Outcome | None:
    """Return how the run in a folder ended; None if there is no run.

    Waits at most `wait_s` [s] for a run whose process still exists.
    """
    if not (folder / RUN).is_file():
        return None
    run = RunDir.open(folder)
    end = time.monotonic() + wait_s
    while run.info["status"] == "running":
        if run.update_status() or time.monotonic() > end:
            break
        time.sleep(0.1)
        run = RunDir.open(folder)
    error = run.info["error"] if run.info["status"] != "pruned" else None
    if error is None:
        return Outcome(run.info["status"])
    return Outcome(run.info["status"], error["kind"], format_error(error))


def is_done(folder: Path) -> bool:
    """Whether the outcome in a folder is final; does not wait for a process."""
    found = run_outcome(folder, wait_s=0)
    return found is not None and found.is_final


def log_of(folder: Path) -> Path:
    """Return the path of a job's log, which lies beside its folder."""
    return folder.with_name(f"{folder.name}.log")


class BrokenSweep(SweepError):
    """The same failure occurs three times in a row."""


class Breaker:
    """Ends a sweep whose jobs fail for the same reason several times in a row.

    Only failures that will probably recur in the next job are counted: bugs, wrong
    settings, a full disk. A diverged, slow or killed training resets the count.
    """

    def __init__(self) -> None:
        self._last: deque[tuple[str, str]] = deque(maxlen=MAX_EQUAL_FAILURES)

    def check(self, found: Outcome) -> None:
        """Count an outcome.

        Raises:
            BrokenSweep: it is the third equal failure in a row.
        """
        disk_full = found.status == "failed" and found.kind == "infrastructure"
        if found.kind not in ("bug", "config") and not disk_full:
            self._last.clear()
            return
        self._last.append((found.kind, _NUMBER.sub("#", found.reason)))
        if len(self._last) == MAX_EQUAL_FAILURES and len(set(self._last)) == 1:
            failures = f"{MAX_EQUAL_FAILURES} jobs in a row failed for the same reason"
            raise BrokenSweep(f"stopped: {failures}: {found.reason[:300]}")


def _run_stamp(folder: Path) -> tuple[int, int] | None:
    path = folder / RUN
    if not path.is_file():
        return None
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _last_line(log: Path, begin: int) -> str:
    """Return the last error, or else the last line, in a log from byte `begin` on."""
    with log.open("rb") as file:
        file.seek(max(begin, log.stat().st_size - TAIL))
        text = file.read().decode(errors="replace")
    lines = [line for line in text.splitlines() if line.strip()]
    errors = [line for line in lines if line.startswith("error: ")]
    return (errors or lines or [""])[-1].removeprefix("error: ")[:300]

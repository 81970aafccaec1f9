"""How a job of a sweep ended, as its run directory tells, or else its exit code."""

import re
import time
from collections import deque
from dataclasses import dataclass
from pathlib import Path

from so101rl.errors import So101Error
from so101rl.runs.run_dir import RUN, RunDir

# Ends that are not the settings' fault: the same command takes these jobs up again.
RESUMABLE = ("infrastructure", "stopped")
SAME_IN_A_ROW = 3  # equal failures that end a sweep
PATIENCE_S = 20.0  # for a process that saves before it goes [s]
REFUSED = 2  # exit code of a user's mistake
TAIL = 65_536  # bytes of a log that are read for its last line
_NUMBER = re.compile(r"[-+]?\d+(\.\d+)?(e[-+]?\d+)?")  # differs from job to job


@dataclass(frozen=True)
class Outcome:
    """How a job ended.

    Attributes:
        status: that of `run.json`; `finished` or `failed` for jobs without one.
        kind: of the failure, see `failures`, or `timeout`; empty if there was none.
        reason: in a line.
    """

    status: str
    kind: str = ""
    reason: str = ""

    @property
    def is_final(self) -> bool:
        """Whether it stands when the sweep's command is given again."""
        return self.status != "running" and self.kind not in RESUMABLE


@dataclass(frozen=True)
class Before:
    """What was there before a process began; the rest is its work.

    Attributes:
        log: bytes of its log.
        run: what tells a `run.json` from its successors; None without one.
    """

    log: int = 0
    run: tuple[int, int] | None = None

    @classmethod
    def of(cls, folder: Path) -> "Before":
        """Look at a job's folder and its log."""
        log = log_of(folder)
        return cls(log.stat().st_size if log.exists() else 0, _stamp(folder))


def outcome(folder: Path, code: int, before: Before) -> Outcome:
    """How a process ended that worked in a folder.

    Args:
        folder: the job's; need not hold a run.
        code: of its exit, below zero for a signal.
        before: what was there when it began.
    """
    found = standing(folder)
    if found is not None and _stamp(folder) != before.run:
        return found
    if code == 0:
        return Outcome("finished")
    if code < 0:
        return Outcome("killed", "infrastructure", f"ended by signal {-code}")
    kind = "config" if code == REFUSED else "bug"
    last = _last_line(log_of(folder), before.log)
    return Outcome("failed", kind, last or f"exit code {code}")


def standing(folder: Path, patience_s: float = PATIENCE_S) -> Outcome | None:
    """How the run in a folder ended; None if there is none.

    Args:
        folder: a job's.
        patience_s: how long to wait for a run that is still going [s].
    """
    if not (folder / RUN).is_file():
        return None
    run = RunDir.open(folder)
    end = time.monotonic() + patience_s
    while run.info["status"] == "running":  # its process is gone, or going
        if run.update_status() or time.monotonic() > end:
            break
        time.sleep(0.1)
        run = RunDir.open(folder)
    error = run.info["error"] if run.info["status"] != "pruned" else None
    if error is None:
        return Outcome(run.info["status"])
    text = " ".join(f"{error['class']}: {error['message']}".split())
    return Outcome(run.info["status"], error["kind"], text)


def log_of(folder: Path) -> Path:
    """Where a job's output goes: beside its folder."""
    return folder.with_name(f"{folder.name}.log")


class Breaker:
    """Ends a sweep whose jobs fail for the same reason, again and again.

    What counts are failures that the next job will most likely have, too: mistakes in
    the code or the settings, a full disk. Trainings that diverge, take too long or are
    shot have theirs.
    """

    def __init__(self) -> None:
        """Nothing has failed yet."""
        self._last: deque[tuple[str, str]] = deque(maxlen=SAME_IN_A_ROW)

    def check(self, found: Outcome) -> None:
        """Take notice of an end.

        Raises:
            BrokenSweep: it was the third in a row of its kind.
        """
        is_full = found.status == "failed" and found.kind == "infrastructure"
        if found.kind not in ("bug", "config") and not is_full:
            self._last.clear()
            return
        self._last.append((found.kind, _NUMBER.sub("#", found.reason)))
        if len(self._last) == SAME_IN_A_ROW and len(set(self._last)) == 1:
            raise BrokenSweep(found)


class BrokenSweep(So101Error):
    """The same failure, three times in a row."""

    def __init__(self, found: Outcome) -> None:
        """Name the failure."""
        super().__init__(
            f"stopped: {SAME_IN_A_ROW} jobs in a row failed alike: {found.reason[:300]}"
        )


def _stamp(folder: Path) -> tuple[int, int] | None:
    path = folder / RUN
    if not path.is_file():
        return None
    found = path.stat()
    return found.st_ino, found.st_mtime_ns


def _last_line(log: Path, begin: int) -> str:
    """The last line that a process wrote, without `error:` in front."""
    with log.open("rb") as file:
        file.seek(max(begin, log.stat().st_size - TAIL))
        lines = file.read().decode(errors="replace").splitlines()
    said = [line for line in lines if line.strip()]
    errors = [line for line in said if line.startswith("error: ")]
    return (errors or said or [""])[-1].removeprefix("error: ")[:300]

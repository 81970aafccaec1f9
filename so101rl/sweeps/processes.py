"""Runs each job in its own process, so that a crash does not affect other jobs."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from so101rl.runs import signals
from so101rl.runs.failures import timeout_entry
from so101rl.runs.run_dir import RUN, RunDir
from so101rl.sweeps.job import Job, quoted
from so101rl.sweeps.outcome import (
    FolderState,
    Outcome,
    log_of,
    process_outcome,
    run_outcome,
)

POLL_S = 0.1  # between two looks at the processes [s]
PRUNE_S = 90.0  # time for a pruned job and its trackers to end [s]


@dataclass(frozen=True)
class Program:
    """How to call this program again.

    Attributes:
        words: words after `python`.
        conf: the folder of the yaml files.
        common: words that every call gets.
    """

    words: tuple[str, ...]
    conf: Path
    common: tuple[str, ...] = ()

    def job_words(self, job: Job, folder: Path) -> list[str]:
        """Return the words for a job, or for resuming the run in its folder."""
        if run_outcome(folder) is None:
            return [*self.common, *job.words]
        return [*self.common, "job=resume", f"run={quoted(str(folder))}"]

    def command(self, job: Job, folder: Path) -> list[str]:
        """Return the command line of a job, or of resuming the run in its folder."""
        call = [sys.executable, *self.words, "-cp", str(self.conf)]
        words = self.job_words(job, folder)
        if "job=resume" in words:
            return [*call, *words]
        return [*call, *words, f"hydra.run.dir={quoted(str(folder))}"]


@dataclass
class JobProcess:
    """A job's process.

    Attributes:
        folder: the job's folder.
        process: the process.
        pipe: writing end of a pipe; the job ends when it closes.
        before: the folder's state when the process started.
        started: monotonic time [s].
        is_late: whether it was stopped because it took too long.
        kill_at: when it is killed if it still runs [monotonic s].
    """

    folder: Path
    process: "subprocess.Popen[bytes]"
    pipe: int
    before: FolderState
    started: float
    is_late: bool = False
    kill_at: float | None = None

    def signal(self, number: int) -> None:
        """Send a signal, if the process still exists."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def stop(self, number: int, patience_s: float) -> None:
        """Send a signal, and SIGKILL if the process still runs after that time [s]."""
        self.signal(number)
        self.kill_at = time.monotonic() + patience_s


class Processes:
    """Runs jobs, each in a process of its own.

    Args:
        program: how to start a job.
        timeout_s: time after which a job is stopped [s]; None for no limit.

    Attributes:
        running: processes by the name of their job.
    """

    can_prune = True

    def __init__(self, program: Program, timeout_s: float | None = None) -> None:
        """Start nothing yet."""
        self._program, self._timeout_s = program, timeout_s
        self.running: dict[str, JobProcess] = {}

    def start(self, job: Job, folder: Path) -> None:
        """Start a job; its output goes into a file beside its folder."""
        command = self._program.command(job, folder)
        reading, writing = os.pipe()
        folder.parent.mkdir(parents=True, exist_ok=True)
        before = FolderState.of(folder)
        try:
            with log_of(folder).open("ab") as log:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=os.environ | {signals.PARENT_PIPE: str(reading)},
                    pass_fds=[reading],
                    process_group=0,  # Ctrl+C goes to the sweep, which passes it on
                )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        started = time.monotonic()
        self.running[job.name] = JobProcess(folder, process, writing, before, started)

    def ended(self, wait_s: float) -> list[tuple[str, Outcome]]:
        """Return the jobs that have ended; wait at most `wait_s` [s] for the first."""
        end = time.monotonic() + wait_s
        while True:
            self._enforce_limits()
            names = [
                name
                for name, one in self.running.items()
                if one.process.poll() is not None
            ]
            if names or not self.running or time.monotonic() > end:
                return [(name, self._collect(name)) for name in names]
            time.sleep(POLL_S)

    def prune(self, name: str) -> None:
        """Ask a job to end because its result is not needed any more."""
        if name in self.running:
            self.running[name].stop(signal.SIGUSR1, PRUNE_S)

    def close(self) -> None:
        """Stop all jobs: by SIGTERM, which lets them save, then by SIGKILL."""
        for one in self.running.values():
            one.stop(signal.SIGTERM, signals.PARENT_PATIENCE_S)
        while self.running:
            self.ended(signals.PARENT_PATIENCE_S)

    def _enforce_limits(self) -> None:
        """Stop jobs that take too long, and kill jobs that do not stop."""
        now = time.monotonic()
        for one in self.running.values():
            if one.kill_at is not None and now > one.kill_at:
                one.signal(signal.SIGKILL)
            elif (
                self._timeout_s is not None
                and not one.is_late
                and now > one.started + self._timeout_s
            ):
                one.is_late = True
                one.stop(signal.SIGTERM, signals.PARENT_PATIENCE_S)

    def _collect(self, name: str) -> Outcome:
        one = self.running.pop(name)
        os.close(one.pipe)
        found = process_outcome(one.folder, one.process.returncode, one.before)
        if not one.is_late or found.status == "finished":
            return found
        assert self._timeout_s is not None
        error = timeout_entry(self._timeout_s)
        if (one.folder / RUN).is_file():  # or else it was stopped before it began
            RunDir.open(one.folder).mark_failed(error)
        return Outcome("failed", error["kind"], error["message"])

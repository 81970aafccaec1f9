"""Runs each job in its own process, so that a crash does not affect other jobs."""

import contextlib
import math
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
    """How to call this program again."""

    words: tuple[str, ...]  # after `python`
    conf: Path  # the folder of the yaml files
    common: tuple[str, ...] = ()  # words that every call gets

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
    """The process of a job, and the folder that the job writes into."""

    folder: Path
    process: "subprocess.Popen[bytes]"
    pipe: int  # writing end of a pipe; the job ends when it closes
    before: FolderState  # of the folder when the process started
    started: float  # monotonic time [s]
    is_late: bool = False  # whether it was stopped because it took too long
    kill_at: float | None = None  # when it is killed if it still runs [monotonic s]

    def signal(self, number: int) -> None:
        """Send a signal, if the process still exists."""
        with contextlib.suppress(ProcessLookupError):
            os.kill(self.process.pid, number)

    def stop(self, number: int, patience_s: float) -> None:
        """Send a signal; set the time of SIGKILL to `patience_s` [s] from now."""
        self.signal(number)
        self.kill_at = time.monotonic() + patience_s


class Processes:
    """Runs jobs, each in a process of its own, which is stopped after `timeout_s` [s].

    Attributes:
        running: processes by the name of their job.
    """

    can_prune = True

    def __init__(self, program: Program, timeout_s: float | None = None) -> None:
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
            jobs = self.running.items()
            names = [name for name, one in jobs if one.process.poll() is not None]
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
        limit = math.inf if self._timeout_s is None else self._timeout_s
        for one in self.running.values():
            if one.kill_at is not None and now > one.kill_at:
                one.signal(signal.SIGKILL)
            elif now > one.started + limit and not one.is_late:
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
        if (one.folder / RUN).is_file():  # absent if it was stopped very early
            RunDir.open(one.folder).mark_failed(error)
        return Outcome("failed", error["kind"], error["message"])

"""Jobs as processes of their own: one that dies takes nobody along."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from so101rl.runs import signals
from so101rl.runs.failures import timeout_entry
from so101rl.runs.run_dir import RUN, RunDir
from so101rl.sweeps.job import quoted
from so101rl.sweeps.outcome import Before, Outcome, log_of, outcome

POLL_S = 0.1  # between two looks at the processes [s]
DELIVERY_S = 90.0  # for a pruned job, whose trackers have to catch up [s]


@dataclass
class Running:
    """A job's process.

    Attributes:
        folder: where it works.
        process: itself.
        leash: the end of a pipe that is closed when nobody waits for it any more.
        before: what was there when it began.
        started: monotonic time [s].
        is_late: whether it was stopped for having taken too long.
        shot_at: when patience with it ends [monotonic s].
    """

    folder: Path
    process: "subprocess.Popen[bytes]"
    leash: int
    before: Before
    started: float
    is_late: bool = False
    shot_at: float | None = None


class Processes:
    """Runs command lines, each in a process of its own.

    Args:
        timeout_s: after which a job is stopped [s]; None: never.
    """

    def __init__(self, timeout_s: float | None = None) -> None:
        """Run nothing yet."""
        self._timeout_s = timeout_s
        self.running: dict[str, Running] = {}

    def start(self, name: str, command: Sequence[str], folder: Path) -> None:
        """Start a process; its output goes into a file beside its folder.

        Args:
            name: to tell it by.
            command: program and arguments.
            folder: where the job will work.
        """
        reading, writing = os.pipe()
        folder.parent.mkdir(parents=True, exist_ok=True)
        before = Before.of(folder)
        try:
            with log_of(folder).open("ab") as log:
                process = subprocess.Popen(
                    command,
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env=os.environ | {signals.PARENT_PIPE: str(reading)},
                    pass_fds=[reading],
                    process_group=0,  # Ctrl+C is the sweep's, which passes it on
                )
        except BaseException:
            os.close(writing)
            raise
        finally:
            os.close(reading)
        now = time.monotonic()
        self.running[name] = Running(folder, process, writing, before, now)

    def ended(self, wait_s: float) -> list[tuple[str, Outcome]]:
        """The jobs that have ended; waits for the first a while.

        Args:
            wait_s: at most [s].
        """
        end = time.monotonic() + wait_s
        while True:
            self._hurry()
            gone = [
                name
                for name, one in self.running.items()
                if one.process.poll() is not None
            ]
            if gone or not self.running or time.monotonic() > end:
                return [(name, self._collect(name)) for name in gone]
            time.sleep(POLL_S)

    def prune(self, name: str) -> None:
        """Let a job know that nobody waits for its result any more."""
        one = self.running[name]
        self._signal(one, signal.SIGUSR1)
        one.shot_at = time.monotonic() + DELIVERY_S

    def close(self) -> list[tuple[str, Outcome]]:
        """Stop what runs: first by asking, which lets it save, then for good."""
        for one in self.running.values():
            self._ask_to_stop(one)
        found = []
        while self.running:
            found += self.ended(signals.PARENT_PATIENCE_S)
        return found

    def _hurry(self) -> None:
        """Stop what takes too long, and shoot what does not stop."""
        now = time.monotonic()
        for one in self.running.values():
            if one.shot_at is not None and now > one.shot_at:
                self._signal(one, signal.SIGKILL)
            elif (
                self._timeout_s is not None
                and not one.is_late
                and now > one.started + self._timeout_s
            ):
                one.is_late = True
                self._ask_to_stop(one)

    def _ask_to_stop(self, one: Running) -> None:
        self._signal(one, signal.SIGTERM)
        one.shot_at = time.monotonic() + signals.PARENT_PATIENCE_S

    def _signal(self, one: Running, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(one.process.pid, number)

    def _collect(self, name: str) -> Outcome:
        one = self.running.pop(name)
        os.close(one.leash)
        found = outcome(one.folder, one.process.returncode, one.before)
        if one.is_late and self._timeout_s is not None and found.status != "finished":
            error = timeout_entry(self._timeout_s)
            if (one.folder / RUN).is_file():  # or else it was too late to begin
                RunDir.open(one.folder).mark_failed(error)
            return Outcome("failed", error["kind"], error["message"])
        return found


@dataclass(frozen=True)
class Program:
    """How to call this program again.

    Attributes:
        words: what follows `python`.
        conf: the folder of the yaml files.
        common: words that every call gets.
    """

    words: tuple[str, ...]
    conf: Path
    common: tuple[str, ...] = ()

    def new(self, words: Sequence[str], folder: Path) -> list[str]:
        """The command that runs a job in a folder."""
        where = f"hydra.run.dir={quoted(str(folder))}"
        return [*self._call(), *self.common, *words, where]

    def resumed(self, folder: Path) -> list[str]:
        """The command that goes on with the run in a folder."""
        run = f"run={quoted(str(folder))}"
        return [*self._call(), *self.common, "job=resume", run]

    def _call(self) -> list[str]:
        return [sys.executable, *self.words, "-cp", str(self.conf)]

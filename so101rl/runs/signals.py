"""Signals that end a run: at once if nothing is lost, else at the next safe point.

A job of a sweep ends with its sweep. The sweep holds the writing end of a pipe and
never writes. Its death, kill -9 included, closes the pipe, which a thread of the job
notices: the job then ends as by SIGTERM, with a checkpoint, and by SIGKILL if that
takes too long.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

PATIENCE_S = 8.0  # after which a training stops wherever it is [s]
PARENT_PIPE = "SO101RL_LEASH"  # the number of the pipe's reading end
PARENT_PATIENCE_S = 15.0  # for a job to save before it is shot [s]


class Terminated(SystemExit):
    """SIGTERM arrived while a run was alive; exit code 143."""

    def __init__(self) -> None:
        """Take the exit code that a shell gives a process ended by SIGTERM."""
        super().__init__(128 + signal.SIGTERM)

    def __str__(self) -> str:
        """Say what happened; the code alone tells nobody."""
        return "stopped by SIGTERM"


class Pruned(SystemExit):
    """A sweep has seen enough of a run (SIGUSR1); exit code 0, for nothing is wrong."""

    def __init__(self) -> None:
        """Take the exit code of success."""
        super().__init__(0)

    def __str__(self) -> str:
        """Say what happened; the code alone tells nobody."""
        return "pruned: the sweep has seen enough of it"


REASONS: dict[int, type[BaseException]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
    signal.SIGUSR1: Pruned,
}


class Stop:
    """What somebody who wants a run to end gets.

    Attributes:
        requested: whether a signal waits for the next safe point.
    """

    def __init__(self) -> None:
        """Nobody wants it to end yet."""
        self.requested = False
        self._reason: type[BaseException] = KeyboardInterrupt
        self._deferring = False

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Turn signals into exceptions; they belong to the main thread alone."""
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        numbers = (*REASONS, signal.SIGALRM)
        before = {number: signal.signal(number, self._handle) for number in numbers}
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
            for number, handler in before.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def deferred(self) -> Iterator[None]:
        """Let a signal wait for `now`: once, and not for long."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.now()  # it arrived after the last safe point

    def now(self) -> None:
        """A safe point: end here if a signal waits.

        Raises:
            KeyboardInterrupt: Ctrl+C was pressed.
            Terminated: SIGTERM arrived.
            Pruned: SIGUSR1 arrived.
        """
        if self.requested:
            self.requested = False
            raise self._reason()

    def _handle(self, number: int, frame: FrameType | None) -> None:
        del frame
        waited = number == signal.SIGALRM or self.requested
        self._reason = REASONS.get(number, self._reason)
        self.requested = True
        if waited or not self._deferring:
            self.now()
        signal.setitimer(signal.ITIMER_REAL, PATIENCE_S)


def follow_parent() -> None:
    """Follow the sweep that started this process, if one did."""
    number = os.environ.pop(PARENT_PIPE, None)  # not for the processes of this one
    if number is None:
        return
    pipe = int(number)
    if select.select([pipe], [], [], 0)[0]:  # gone already: nothing may begin
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Thread(target=_wait_for_parent, args=(pipe,), daemon=True).start()


def _wait_for_parent(pipe: int) -> None:
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PARENT_PATIENCE_S)
    os.kill(os.getpid(), signal.SIGKILL)

"""Signals that end a run: at once, or during a training at the next safe point.

A job of a sweep ends with its sweep. The sweep holds the writing end of a pipe and
never writes. When the sweep ends, by kill -9 too, the pipe closes, and a thread of the
job ends the job: by SIGTERM, which saves a checkpoint, and by SIGKILL if that takes too
long.
"""

import contextlib
import os
import select
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

PATIENCE_S = 8.0  # a training that reaches no safe point by then stops anyway [s]
PARENT_PIPE = "SO101RL_PARENT_PIPE"  # the number of the pipe's reading end
PARENT_PATIENCE_S = 15.0  # for a job to save before it is killed [s]


class Terminated(SystemExit):
    """SIGTERM arrived while a run was alive; exit code 143."""

    def __init__(self) -> None:
        super().__init__(128 + signal.SIGTERM)

    def __str__(self) -> str:
        """The message; without it only the exit code would show."""
        return "stopped by SIGTERM"


class Pruned(SystemExit):
    """A sweep ended a run early (SIGUSR1); exit code 0, since nothing is wrong."""

    def __init__(self) -> None:
        super().__init__(0)

    def __str__(self) -> str:
        """The message; without it only the exit code would show."""
        return "pruned by its sweep"


REASONS: dict[int, type[BaseException]] = {
    signal.SIGINT: KeyboardInterrupt,
    signal.SIGTERM: Terminated,
    signal.SIGUSR1: Pruned,
}


class Stop:
    """Ends a run after a signal: at once, or at the next safe point.

    Attributes:
        requested: whether a signal waits for the next safe point.
    """

    def __init__(self) -> None:
        self.requested = False
        self._reason: type[BaseException] = KeyboardInterrupt
        self._deferring = False

    @contextlib.contextmanager
    def signals(self) -> Iterator[None]:
        """Turn signals into exceptions; only the main thread receives signals."""
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
        """In the block a first signal waits for `now`, at most PATIENCE_S."""
        self._deferring = True
        try:
            yield
        finally:
            self._deferring = False
            signal.setitimer(signal.ITIMER_REAL, 0)
        self.now()  # it arrived after the last safe point

    def now(self) -> None:
        """A safe point: raise if a signal is waiting.

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
    """End this process when the sweep that started it ends, if one did."""
    number = os.environ.pop(PARENT_PIPE, None)  # not inherited by child processes
    if number is None:
        return
    pipe = int(number)
    if select.select([pipe], [], [], 0)[0]:  # the sweep has ended already
        os.kill(os.getpid(), signal.SIGTERM)
    threading.Thread(target=_wait_for_parent, args=(pipe,), daemon=True).start()


def _wait_for_parent(pipe: int) -> None:
    os.read(pipe, 1)
    os.kill(os.getpid(), signal.SIGTERM)
    time.sleep(PARENT_PATIENCE_S)
    os.kill(os.getpid(), signal.SIGKILL)

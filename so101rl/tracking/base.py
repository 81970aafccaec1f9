"""The interface of trackers; each runs in its own process, so it cannot stop a run."""

import contextlib
import logging
import os
import pickle
import subprocess
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from so101rl.errors import So101Error
from so101rl.files import read_jsonl
from so101rl.runs.metrics import all_scores
from so101rl.runs.metrics_log import CLOCK, METRICS, TIMINGS
from so101rl.runs.run_dir import RunDir
from so101rl.runs.sweep_dir import SweepDir

if TYPE_CHECKING:
    from omegaconf import DictConfig

log = logging.getLogger(__name__)

PATIENCE_S = 60.0  # how long a run that has ended waits for its trackers [s]
PATIENCE_IF_KILLED_S = 1.0  # the same for a run that a user stopped [s]
SWEEP_S = 10.0  # between two pushes of a sweep [s]
Mirrored = TypeVar("Mirrored", RunDir, SweepDir)


class TrackerError(So101Error):
    """A tracker cannot be built or reached."""


class Tracker(ABC, Generic[Mirrored]):
    """Mirrors one run; it may block and raise, since `Mirror` runs it in a process.

    A tracker of sweeps mirrors the folder of a sweep.

    Attributes:
        place: address of the mirror, which identifies it.
    """

    place: str = ""

    def of_sweeps(self) -> "Tracker[SweepDir] | None":
        """Return the tracker that mirrors sweeps to the same place, or None."""
        return None

    @abstractmethod
    def start(self, run: Mirrored) -> None:
        """Open the mirror; called once, before any push."""

    @abstractmethod
    def push(self, run: Mirrored) -> None:
        """Copy the log lines that are new since the last push."""

    @abstractmethod
    def finish(self, run: Mirrored) -> None:
        """Copy the rest, results and final status of a run that has ended."""


class Mirror:
    """All trackers of a run by name, each in its own process.

    A thread would slow down the training: importing MLflow takes seconds.
    The first failure of a tracker is logged as a warning and ends that tracker; the run
    continues, and the run directory holds everything.

    Args:
        trackers: by name; each can be pickled before it has started.
        every_s: pause between two pushes [s].
    """

    def __init__(self, trackers: Mapping[str, Tracker[Any]], every_s: float = 1.0):
        self._workers = [_Worker(*item, every_s) for item in trackers.items()]

    @contextlib.contextmanager
    def follow(self, run: RunDir | SweepDir) -> Iterator[None]:
        """Start the trackers, and finish them when the block ends, however it ends.

        Put it outside of `run.lifecycle()`, which writes the status that they read.
        """
        try:
            for worker in self._workers:
                worker.start(run)
            yield
        finally:
            for worker in self._workers:
                worker.run_ended()
            stopped = run.info["status"] == "killed"
            patience = PATIENCE_IF_KILLED_S if stopped else PATIENCE_S
            end = time.monotonic() + patience
            for worker in self._workers:
                worker.join(end, kill=not stopped)


def make_mirror(cfg: "DictConfig") -> Mirror:
    """Build the mirror from the config group `tracking`."""
    return Mirror(_make_trackers(cfg))


def _make_trackers(cfg: "DictConfig") -> dict[str, Tracker[Any]]:
    from hydra.utils import instantiate

    return {str(name): instantiate(node) for name, node in cfg.trackers.items()}


@contextlib.contextmanager
def followed(
    sweep: SweepDir,
    cfg: "DictConfig",
    *,
    name: str,
    groups: Mapping[str, Any],
    group: str | None,
) -> Iterator[None]:
    """Mirror a sweep while the block runs it, and record how it ended.

    The caller has locked and defined the sweep; `SweepDir.begin` gets the rest.
    """
    trackers = _make_trackers(cfg).items()
    of_sweeps = {key: tracker.of_sweeps() for key, tracker in trackers}
    mirror = Mirror({key: own for key, own in of_sweeps.items() if own}, SWEEP_S)
    sweep.begin(name=name, groups=groups, group=group)
    with mirror.follow(sweep), sweep.lifecycle():
        yield


class _Worker:
    """Starts and ends the process of one tracker."""

    def __init__(self, name: str, tracker: Tracker[Any], every_s: float) -> None:
        self._name, self._tracker, self._every_s = name, tracker, every_s
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, run: RunDir | SweepDir) -> None:
        try:
            task = pickle.dumps((self._name, self._tracker, run, self._every_s))
            self._process = subprocess.Popen(
                [sys.executable, "-m", "so101rl.tracking.follow"],
                stdin=subprocess.PIPE,  # the task; it is closed when the run ends
                env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
                start_new_session=True,  # Ctrl+C reaches only the run
            )
            assert self._process.stdin is not None
            self._process.stdin.write(task)
            self._process.stdin.flush()
        except BrokenPipeError:
            pass  # the process has ended already, which `join` reports
        except Exception as error:  # a tracker's error never ends a run
            log.warning("%s could not be started: %r", self._name, error)

    def run_ended(self) -> None:
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self._process.stdin.close()

    def join(self, end: float, *, kill: bool) -> None:
        """Wait for the process until the monotonic time `end` [s].

        `kill` says whether to kill it then; otherwise it continues in its own session.
        """
        if self._process is None:
            return
        try:
            code = self._process.wait(max(0.0, end - time.monotonic()))
        except subprocess.TimeoutExpired:
            if kill:
                later = "deliver it later: python main.py job=sync"
                log.warning("%s did not catch up; %s", self._name, later)
                self._process.kill()
                self._process.wait()
            return
        if code:
            log.warning("%s ended with exit code %d", self._name, code)


class LogReader:
    """Reads new lines of both logs of a run, from the end of the last reading on."""

    def __init__(self) -> None:
        self._offsets = {METRICS: 0, TIMINGS: 0}
        self._clocks: list[float] = []
        self.last_step, self.last_clock = 0, 0.0

    def read(self, run: RunDir) -> Iterator[tuple[str, float, int, float]]:
        """Yield new scalars as (name, value, step, unix time [s])."""
        metrics, timings = (self._new_lines(run, name) for name in (METRICS, TIMINGS))
        self._clocks += [line[CLOCK] for line in timings]
        count = len(metrics)  # the timings line of a metrics line is written first
        clocks, self._clocks = self._clocks[:count], self._clocks[count:]
        timed = [*zip(metrics, clocks, strict=True)]
        for line, clock in [*timed, *((line, line[CLOCK]) for line in timings)]:
            self.last_step = max(self.last_step, line["step"])
            self.last_clock = max(self.last_clock, clock)
            for name, value in line.items():
                if name not in ("step", CLOCK):
                    yield name, float(value), line["step"], clock

    def _new_lines(self, run: RunDir, name: str) -> list[dict[str, Any]]:
        lines, self._offsets[name] = read_jsonl(run.path / name, self._offsets[name])
        return lines


def results(run: RunDir) -> dict[str, float]:
    """Return the numbers of `evaluation.json`, named `base/success_rate` and so on."""
    flat: dict[str, float] = {}
    for policy, scores in all_scores(run.evaluation()).items():
        for name, value in scores.items():
            if isinstance(value, int | float):
                flat[f"{policy}/{name}"] = float(value)
        low, high = scores["wilson_95"]
        flat |= {f"{policy}/success_low": low, f"{policy}/success_high": high}
        for failure, count in scores["failures"].items():
            flat[f"{policy}/failures/{failure}"] = float(count)
    return flat

"""The run directory: the truth about one run, written here and nowhere else.

Trackers and reports only read it. Names are stable, JSON files are replaced
atomically, and no name can leave the directory.
"""

import contextlib
import csv
import fcntl
import io
import json
import math
import os
import platform
import re
import time
import uuid
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.errors import DivergedError, So101Error
from so101rl.files import (
    FileError,
    append,
    cut,
    flushed_size,
    inside,
    read_json,
    read_jsonl,
    read_lines,
    to_json,
    write_atomic,
)
from so101rl.provenance import (
    code_sha256,
    cpu_name,
    file_hashes,
    git_diff,
    git_state,
    installed,
    spoken_name,
    versions,
)
from so101rl.stop import Stop, Terminated

if TYPE_CHECKING:
    from omegaconf import DictConfig

RUN, CONFIG = "run.json", ".hydra/config.yaml"
REFERENCES = ".hydra/references.yaml"  # the keys of CONFIG that followed another key
METRICS, TIMINGS = "metrics.jsonl", "timings.jsonl"
PROVENANCE = "provenance.json"
LOCK = ".lock"  # held by the process that runs the run, however it may end
EVALUATION, EPISODES = "evaluation.json", "episodes.csv"
STATUSES = ("running", "finished", "failed", "killed")
EPISODE_COLUMNS = (
    "policy",
    "episode",
    "seed",
    "is_success",
    "return",
    "length",
    "final_distance_m",
    "final_yaw_error_rad",
    "time_to_success_s",
    "mean_residual_l2",
    "failure",
)
_METRIC = re.compile(r"[A-Za-z0-9_.:/ -]{1,200}")


class RunDirError(So101Error):
    """A run directory is missing, taken, or used wrongly."""


class BusyRunError(RunDirError):
    """Another process is running this run."""

    def __init__(self, path: Path) -> None:
        """Name the run."""
        super().__init__(f"{path}: a process is running this run; wait, or stop it")


class BadMetric(RunDirError):
    """A metric is not finite, has no plain name, or comes at the wrong step."""


class RunDir:
    """One run's directory. `create` starts a run, `open` reads an existing one.

    Attributes:
        path: the directory, absolute.
        info: the content of `run.json`.
        stop: what Ctrl+C and SIGTERM do to it.
    """

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        """Hold a run whose `run.json` is known: use `create` or `open`."""
        self.path = path
        self.info = info
        self.stop = Stop()
        self._clock = time.monotonic()
        self._last_step: int | None = None
        self._lock: int | None = None  # file descriptor, while this process holds it
        self._clocks: deque[dict[str, Any]] = deque()  # of lines to be written again

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        cfg: "DictConfig | Mapping[str, Any]",
        command: str,
        groups: Mapping[str, Any] | None = None,
        seeds: Mapping[str, Any] | None = None,
        resume: str = "exact",
    ) -> "RunDir":
        """Start a run: write `run.json` (status running) and the resolved config.

        Args:
            path: the run directory; may exist, but must not hold a run already.
            cfg: the whole config, `seed` included; stored with everything resolved,
                and beside it which of its keys followed another.
            command: the command line, as typed.
            groups: chosen option per config group (Hydra's `runtime.choices`).
            seeds: further seeds by role; the root seed is always recorded.
            resume: `exact`, or `approximate: ` and why a resumed run may differ.
        """
        from omegaconf import OmegaConf

        from so101rl.saved_run import references

        root = Path(path).absolute()
        if (root / RUN).exists():
            raise RunDirError(f"{root} already holds a run; choose another directory")
        chosen = {
            group: option
            for group, option in (groups or {}).items()
            if option is not None and not group.startswith("hydra/")
        }
        info = _first_info(command, chosen, cfg["seed"], seeds or {})
        run = cls(root, {**info, "resume": resume})
        config = cfg if OmegaConf.is_config(cfg) else OmegaConf.create(dict(cfg))
        write_atomic(run.file(CONFIG), OmegaConf.to_yaml(config, resolve=True))
        followers = references(OmegaConf.to_container(config))  # type: ignore
        write_atomic(run.file(REFERENCES), OmegaConf.to_yaml(followers))
        run._take_lock()
        write_atomic(run.file(PROVENANCE), to_json(_provenance(run.info)))
        run._save()  # last: with it there is a run
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "RunDir":
        """Read an existing run directory."""
        root = Path(path).absolute()
        if not (root / RUN).is_file():
            raise RunDirError(f"{root} is no run directory: it has no {RUN}")
        return cls(root, read_json(root / RUN))

    @property
    def checkpoints(self) -> Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    def __getstate__(self) -> dict[str, Any]:
        """What goes to a tracker's process: not the lock, which is this process's."""
        return {**self.__dict__, "_lock": None}

    def settle(self) -> bool:
        """Call a run killed whose process is gone; returns whether it was.

        The lock tells: the kernel frees it with the process, whatever ended that.
        """
        if self.info["status"] != "running" or self._lock is not None:
            return False
        try:
            with self.held():
                return self.info.get("error") == GONE
        except BusyRunError:
            return False

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from running the run, and settle how it stands.

        Raises:
            BusyRunError: another process is running it.
        """
        self._take_lock()
        try:
            self.info = read_json(self.path / RUN)
            if self.info["status"] == "running":  # whose lock is free
                self.info["error"] = GONE
                self._end("killed", self._last_sign_of_life())
            yield
        finally:
            if self.info["status"] != "running":
                self._free_lock()  # or else its end will

    def reopen(self, *, step: int, metrics: int, resume: str) -> None:
        """Go on with a run that ended early and is `held`.

        Lines after the point where it goes on are cut off. They will be written again,
        and then get the clocks that they had: nothing happened twice.

        Args:
            step: env step where it goes on.
            metrics: length that `metrics.jsonl` had there [bytes].
            resume: as in `create`.
        """
        if (self.path / METRICS).exists():
            cut(self.path / METRICS, metrics)
        clocks, length = read_jsonl(self.path / TIMINGS)
        if clocks:
            cut(self.path / TIMINGS, length)  # but for a torn last line
        self._clocks = deque(clocks[len(self.metrics()) :])
        self._clock = time.monotonic()
        again = {"step": step, "at": _now(), "after": self.info["status"]}
        self.info["resumed"] = [*self.info.get("resumed", []), again]
        self.info |= {"status": "running", "ended": None, "error": None}
        self.info["resume"] = resume
        self._last_step = step
        self._save()

    def log_size(self) -> int:
        """Length of `metrics.jsonl` [bytes], after flushing both logs to the disk."""
        flushed_size(self.path / TIMINGS)
        return flushed_size(self.path / METRICS)

    def file(self, name: str | os.PathLike[str]) -> Path:
        """Absolute path of a file to write in this run; makes its folder.

        Args:
            name: relative name with forward slashes, e.g. `figures/summary.png`.
        """
        path = inside(self.path, os.fspath(name))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise FileError(
                f"cannot make the folder {path.parent}: {error.strerror}"
            ) from error
        return path

    def log(
        self,
        step: int,
        metrics: Mapping[str, float],
        timings: Mapping[str, float] | None = None,
    ) -> None:
        """Append one line to `metrics.jsonl` and its partner to `timings.jsonl`.

        Args:
            step: env steps so far over all envs; never goes back.
            metrics: a pure function of config and seed; finite numbers only.
            timings: everything that depends on the clock, e.g. `time/fps`.
        """
        if self._last_step is None:
            logged = self.metrics()
            self._last_step = logged[-1]["step"] if logged else 0
        if step < self._last_step:
            raise BadMetric(
                f"step {step} comes after step {self._last_step}; steps count env "
                "steps and never go back"
            )
        for name in metrics:
            if name.startswith("time/"):
                raise BadMetric(f"{name} depends on the clock: pass it under timings")
        line = _line(step, metrics)
        if not self._again(step):
            clock = {**(timings or {}), "time/unix_s": time.time()}
            append(self.file(TIMINGS), _line(step, clock))  # first: no metric without
        append(self.file(METRICS), line)
        self._last_step = step

    def finish(self, status: str, error: BaseException | None = None) -> None:
        """Close the run: write its final status, end and wall clock.

        Args:
            status: finished, failed or killed.
            error: what ended the run early, if anything did.
        """
        if status not in STATUSES[1:]:
            ends = ", ".join(STATUSES[1:])
            raise RunDirError(f"status {status!r} does not end a run; right are {ends}")
        now = time.monotonic()
        self.info["wall_clock_s"] += round(now - self._clock, 3)
        self._clock = now
        if error is not None:
            self.info["error"] = _named(error)
        try:
            self._end(status, _now())
        finally:
            self._free_lock()

    @contextlib.contextmanager
    def lifecycle(self) -> Iterator["RunDir"]:
        """Make the status truthful however the block ends.

        Normal end: finished. Ctrl+C and SIGTERM: killed. Any other exception,
        `sys.exit` included: failed. Exceptions go on upwards. A status that the
        block itself has set stands.
        """
        with self.stop.signals():
            try:
                yield self
            except (KeyboardInterrupt, Terminated) as error:
                self.finish("killed", error)
                raise
            except BaseException as error:
                self.finish("failed", error)
                raise
            if self.info["status"] == "running":
                self.finish("finished")

    def write_evaluation(self, evaluation: Mapping[str, Any]) -> None:
        """Write `evaluation.json` atomically; refuses NaN and infinity by name."""
        write_atomic(self.file(EVALUATION), to_json(evaluation))

    def write_episodes(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write `episodes.csv` atomically; every row has exactly EPISODE_COLUMNS."""
        text = io.StringIO()
        writer = csv.DictWriter(text, EPISODE_COLUMNS, lineterminator="\n")
        writer.writeheader()
        for number, row in enumerate(rows):
            wrong = set(row) ^ set(EPISODE_COLUMNS)
            if wrong:
                raise RunDirError(
                    f"episode row {number} has or lacks {sorted(wrong)}; "
                    f"right are {', '.join(EPISODE_COLUMNS)}"
                )
            writer.writerow(row)
        write_atomic(self.file(EPISODES), text.getvalue())

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of `metrics.jsonl`, oldest first."""
        return read_jsonl(self.path / METRICS)[0]

    def evaluation(self) -> dict[str, Any] | None:
        """Content of `evaluation.json`; None if the run was never evaluated."""
        path = self.path / EVALUATION
        return read_json(path) if path.exists() else None

    def config(self) -> "DictConfig":
        """The run's resolved config, in struct mode."""
        from omegaconf import DictConfig, OmegaConf

        path = self.path / CONFIG
        if not path.is_file():
            raise RunDirError(f"{self.path} has no {CONFIG}")
        config = OmegaConf.load(path)
        if not isinstance(config, DictConfig):
            raise RunDirError(f"{path} holds no mapping")
        OmegaConf.set_struct(config, True)
        return config

    def _end(self, status: str, when: str) -> None:
        self.info["status"], self.info["ended"] = status, when
        self._save()

    def _again(self, step: int) -> bool:
        """Whether the line to be written was written once, and so has its clock."""
        if not self._clocks:
            return False
        if self._clocks.popleft()["step"] == step:
            return True
        # It went on otherwise than before: what the old clocks say holds no more.
        self._clocks.clear()
        lines = read_lines(self.path / TIMINGS)[: len(self.metrics())]
        cut(self.path / TIMINGS, sum(map(len, lines)))
        return False

    def _last_sign_of_life(self) -> str:
        """When the run wrote its last line, or started."""
        lines = read_jsonl(self.path / TIMINGS)[0]
        if not lines:
            return str(self.info["started"])
        return _stamp(datetime.fromtimestamp(lines[-1]["time/unix_s"], UTC))

    def _take_lock(self) -> None:
        handle = os.open(self.file(LOCK), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            os.close(handle)
            raise BusyRunError(self.path) from error
        self._lock = handle

    def _free_lock(self) -> None:
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def _save(self) -> None:
        write_atomic(self.file(RUN), to_json(self.info))


def find_runs(roots: Sequence[str | os.PathLike[str]]) -> list[RunDir]:
    """All runs at or below some folders, oldest first; an absent folder has none."""
    found: dict[Path, RunDir] = {}
    for root in roots:
        for folder, below, files in os.walk(root):
            if RUN in files:
                run = RunDir.open(folder)
                found[run.path.resolve()] = run
                below.clear()  # runs do not nest
    return sorted(found.values(), key=lambda run: (run.info["started"], str(run.path)))


def _first_info(
    command: str, groups: dict[str, Any], seed: int, seeds: Mapping[str, Any]
) -> dict[str, Any]:
    uid = uuid.uuid4().hex
    family = [groups[key] for key in ("base_policy", "algo") if key in groups]
    return {
        "status": "running",
        "name": "-".join([*family, spoken_name(uid)]),
        "uid": uid,
        "command": command,
        "groups": groups,
        "seed": seed,
        "seeds": {"root": seed, **seeds},
        "git": git_state(),
        "code_sha256": code_sha256(),
        "versions": versions(),
        "cpu": cpu_name(),
        "cpu_count": os.cpu_count(),
        "started": _now(),
        "ended": None,
        "wall_clock_s": 0.0,
        "error": None,
    }


def _provenance(info: Mapping[str, Any]) -> dict[str, Any]:
    """All that somebody needs who wants to rebuild the run elsewhere."""
    keys = ("command", "groups", "seed", "seeds", "git", "code_sha256", "cpu")
    dirty = (info["git"] or {}).get("dirty")
    return {
        **{key: info[key] for key in keys},
        "config": CONFIG,
        "diff": git_diff() if dirty else None,
        "models_sha256": file_hashes(),
        "packages": installed(),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def _named(error: BaseException) -> dict[str, str]:
    from so101rl.explain import unwrapped

    if isinstance(error, KeyboardInterrupt):
        return _error("stopped", "KeyboardInterrupt", "stopped by Ctrl+C")
    error = unwrapped(error)
    return _error(_kind(error), type(error).__name__, str(error))


def _kind(error: BaseException) -> str:
    """Whose fault it is, and so what helps: another config, another machine, a fix."""
    if isinstance(error, Terminated):
        return "stopped"
    if isinstance(error, OSError | MemoryError | FileError):
        return "infrastructure"
    if isinstance(error, DivergedError):
        return "diverged"
    return "config" if isinstance(error, So101Error) else "bug"


def _error(kind: str, name: str, message: str) -> dict[str, str]:
    return {"kind": kind, "class": name, "message": message}


GONE = _error(
    "infrastructure",
    "ProcessGone",
    "its process is gone: kill -9, out of memory, or a power cut",
)


def _line(step: int, values: Mapping[str, float]) -> str:
    record: dict[str, float] = {"step": int(step)}
    for name, value in values.items():
        if name == "step" or not _METRIC.fullmatch(name):
            raise BadMetric(f"{name!r} is no metric name; right is e.g. train/loss")
        number = value if type(value) in (int, float) else float(value)
        if not math.isfinite(number):
            raise BadMetric(f"{name} is {number} at step {step}; metrics are finite")
        record[name] = number
    return json.dumps(record, sort_keys=True) + "\n"


def _now() -> str:
    return _stamp(datetime.now(UTC))


def _stamp(when: datetime) -> str:
    return when.isoformat(timespec="milliseconds")

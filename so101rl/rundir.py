"""The run directory: the truth about one run, written here and nowhere else.

Trackers and reports only read it. Names are stable, JSON files are replaced
atomically, and no name can leave the directory.
"""

import contextlib
import csv
import io
import json
import math
import os
import re
import signal
import threading
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any

from so101rl.errors import So101Error
from so101rl.files import (
    FileError,
    append,
    inside,
    read_json,
    read_jsonl,
    to_json,
    write_atomic,
)
from so101rl.provenance import git_state, spoken_name, versions

if TYPE_CHECKING:
    from omegaconf import DictConfig

RUN, CONFIG = "run.json", ".hydra/config.yaml"
REFERENCES = ".hydra/references.yaml"  # the keys of CONFIG that followed another key
METRICS, TIMINGS = "metrics.jsonl", "timings.jsonl"
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


class BadMetric(RunDirError):
    """A metric is not finite, has no plain name, or comes at the wrong step."""


class Terminated(SystemExit):
    """SIGTERM arrived while a run was alive; exit code 143."""

    def __init__(self) -> None:
        """Take the exit code that a shell gives a process ended by SIGTERM."""
        super().__init__(128 + signal.SIGTERM)

    def __str__(self) -> str:
        """Say what happened; the code alone tells nobody."""
        return "stopped by SIGTERM"


class RunDir:
    """One run's directory. `create` starts a run, `open` reads an existing one.

    Attributes:
        path: the directory, absolute.
        info: the content of `run.json`.
    """

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        """Hold a run whose `run.json` is known: use `create` or `open`."""
        self.path = path
        self.info = info
        self._clock = time.monotonic()
        self._last_step: int | None = None

    @classmethod
    def create(
        cls,
        path: str | os.PathLike[str],
        *,
        cfg: "DictConfig | Mapping[str, Any]",
        command: str,
        groups: Mapping[str, Any] | None = None,
        seeds: Mapping[str, Any] | None = None,
    ) -> "RunDir":
        """Start a run: write `run.json` (status running) and the resolved config.

        Args:
            path: the run directory; may exist, but must not hold a run already.
            cfg: the whole config, `seed` included; stored with everything resolved,
                and beside it which of its keys followed another.
            command: the command line, as typed.
            groups: chosen option per config group (Hydra's `runtime.choices`).
            seeds: further seeds by role; the root seed is always recorded.
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
        run = cls(root, _first_info(command, chosen, cfg["seed"], seeds or {}))
        config = cfg if OmegaConf.is_config(cfg) else OmegaConf.create(dict(cfg))
        write_atomic(run.file(CONFIG), OmegaConf.to_yaml(config, resolve=True))
        followers = references(OmegaConf.to_container(config))  # type: ignore
        write_atomic(run.file(REFERENCES), OmegaConf.to_yaml(followers))
        run._save()
        return run

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "RunDir":
        """Read an existing run directory."""
        root = Path(path).absolute()
        if not (root / RUN).is_file():
            raise RunDirError(f"{root} is no run directory: it has no {RUN}")
        return cls(root, read_json(root / RUN))

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
        clock = {**(timings or {}), "time/unix_s": time.time()}
        line, partner = _line(step, metrics), _line(step, clock)
        append(self.file(TIMINGS), partner)  # first: no metric without its time
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
        self.info["status"] = status
        self.info["ended"] = _now()
        self.info["wall_clock_s"] += round(now - self._clock, 3)
        self._clock = now
        if error is not None:
            self.info["error"] = _named(error)
        self._save()

    @contextlib.contextmanager
    def lifecycle(self) -> Iterator["RunDir"]:
        """Make the status truthful however the block ends.

        Normal end: finished. Ctrl+C and SIGTERM: killed. Any other exception,
        `sys.exit` included: failed. Exceptions go on upwards. A status that the
        block itself has set stands.
        """
        with _sigterm_raises():
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


@contextlib.contextmanager
def _sigterm_raises() -> Iterator[None]:
    """Turn SIGTERM into Terminated; signals belong to the main thread alone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def terminate(signum: int, frame: FrameType | None) -> None:
        raise Terminated

    before = signal.signal(signal.SIGTERM, terminate)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


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
        "versions": versions(),
        "cpu_count": os.cpu_count(),
        "started": _now(),
        "ended": None,
        "wall_clock_s": 0.0,
        "error": None,
    }


def _named(error: BaseException) -> dict[str, str]:
    from so101rl.explain import unwrapped

    if isinstance(error, KeyboardInterrupt):
        return {"class": "KeyboardInterrupt", "message": "stopped by Ctrl+C"}
    error = unwrapped(error)
    return {"class": type(error).__name__, "message": str(error)}


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
    return datetime.now(UTC).isoformat(timespec="milliseconds")

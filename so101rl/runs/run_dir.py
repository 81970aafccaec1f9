"""The run directory: everything that is known about one run.

Trackers and reports only read it. File names are stable, JSON files are replaced
atomically, and no file is written outside of the directory.
"""

import contextlib
import os
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.errors import So101Error
from so101rl.files import read_json, to_json, write_atomic
from so101rl.runs.episodes_csv import rows_in, to_csv
from so101rl.runs.failures import error_entry
from so101rl.runs.metrics_log import METRICS, Logs
from so101rl.runs.provenance import first_info, now, record, stamp
from so101rl.runs.signals import Pruned, Stop, Terminated
from so101rl.runs.status_dir import StatusDir
from so101rl.runs.task import TASK, TaskInfo, read_task

if TYPE_CHECKING:
    from omegaconf import DictConfig

RUN, CONFIG = "run.json", ".hydra/config.yaml"
REFERENCES = ".hydra/references.yaml"  # keys of CONFIG that refer to another key
PROVENANCE = "provenance.json"
EVALUATION, EPISODES, TESTS = "evaluation.json", "episodes.csv", "tests.csv"
STATUSES = ("running", "finished", "failed", "killed", "pruned")


class RunDirError(So101Error):
    """A run directory is missing, taken, or used wrongly."""


class RunDir(StatusDir):
    """One run's directory. `create` starts a run, `open` reads an existing one.

    Attributes:
        path: the directory, absolute.
        info: the content of `run.json`.
        stop: what Ctrl+C and SIGTERM do to it.
    """

    file_name, kind = RUN, "run"
    growing_files = (RUN, METRICS, EVALUATION)

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        super().__init__(path, info)
        self.stop = Stop()
        self._clock = time.monotonic()
        self._logs = Logs(path)

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
        init_from: Mapping[str, Any] | None = None,
        base_policy: Mapping[str, Any] | None = None,
    ) -> "RunDir":
        """Start a run: write `run.json` (status running) and the resolved config.

        Args:
            path: the run directory; may exist, but must not hold a run already.
            cfg: the whole config, `seed` included; stored resolved, and beside it
                which of its keys referred to another.
            command: the command line, as typed.
            groups: chosen option per config group (Hydra's `runtime.choices`).
            seeds: further seeds by role; the root seed is always recorded.
            resume: `exact`, or `approximate: ` and why a resumed run may differ.
            init_from: the run whose policy it starts with, see `warm_start`.
            base_policy: the identity of the base policy.
        """
        from omegaconf import OmegaConf

        from so101rl.config.from_run import references

        root = Path(path).absolute()
        if (root / RUN).exists():
            raise RunDirError(f"{root} already holds a run; choose another directory")
        chosen = {
            group: option
            for group, option in (groups or {}).items()
            if option is not None and not group.startswith("hydra/")
        }
        info = first_info(command, chosen, cfg["seed"], seeds or {}, now())
        config = cfg if OmegaConf.is_config(cfg) else OmegaConf.create(dict(cfg))
        member = config.get("part_of")
        info["part_of"] = member and OmegaConf.to_container(member)
        info |= {"resume": resume, "init_from": init_from, "base_policy": base_policy}
        run = cls(root, info)
        write_atomic(run.file(CONFIG), OmegaConf.to_yaml(config, resolve=True))
        followers = references(OmegaConf.to_container(config))  # type: ignore
        write_atomic(run.file(REFERENCES), OmegaConf.to_yaml(followers))
        run._take_lock()
        write_atomic(run.file(PROVENANCE), to_json(record(run.info)))
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

    def reopen(self, *, step: int, metrics: int, resume: str) -> None:
        """Continue a run that ended early; call it while it is `locked`.

        It continues at env step `step`, where `metrics.jsonl` had `metrics` bytes. Log
        lines after that are cut off. When they are written again, they get their former
        clock times, so that trackers receive nothing twice.
        """
        self._logs.go_back(step, metrics)
        self._clock = time.monotonic()
        again = {"step": step, "at": now(), "after": self.info["status"]}
        self.info["resumed"] = [*self.info.get("resumed", []), again]
        self._save(status="running", ended=None, error=None, resume=resume)

    def log_size(self) -> int:
        """Length of `metrics.jsonl` [bytes], after flushing both logs to the disk."""
        return self._logs.size()

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
        self._logs.write(step, metrics, timings or {})

    def finish(self, status: str, error: BaseException | None = None) -> None:
        """Close the run: write its final status, end, wall clock, and error if any."""
        if status not in STATUSES[1:]:
            ends = ", ".join(STATUSES[1:])
            raise RunDirError(f"status={status}: expected one of {ends}")
        clock = time.monotonic()
        self.info["wall_clock_s"] += round(clock - self._clock, 3)
        self._clock = clock
        try:
            self._end(status, now(), None if error is None else error_entry(error))
        finally:
            self._lock.free()

    def mark_failed(self, error: Mapping[str, str]) -> None:
        """Count a stopped run as failed, for good; see `failures` for the error."""
        with self.locked():
            self._end("failed", self.info["ended"], error)

    @contextlib.contextmanager
    def lifecycle(self) -> Iterator["RunDir"]:
        """Write how the block ended.

        Normal end: finished, unless the block has set another status. Ctrl+C and
        SIGTERM: killed. SIGUSR1 from a sweep: pruned. Any other exception, `sys.exit`
        included: failed. Exceptions are raised again.
        """
        with self.stop.signals():
            try:
                yield self
            except (KeyboardInterrupt, Terminated) as error:
                self.finish("killed", error)
                raise
            except Pruned as error:
                self.finish("pruned", error)
                raise
            except BaseException as error:
                self.finish("failed", error)
                raise
            if self.info["status"] == "running":
                self.finish("finished")

    def write_task(self, task: Mapping[str, Any]) -> None:
        """Write `task.json` atomically; see `task`."""
        write_atomic(self.file(TASK), to_json(task))

    def task(self) -> TaskInfo:
        """What the run's task tells about itself."""
        return read_task(self.path)

    def write_evaluation(self, evaluation: Mapping[str, Any]) -> None:
        """Write `evaluation.json` atomically; refuses NaN and infinity by name."""
        write_atomic(self.file(EVALUATION), to_json(evaluation))

    def write_episodes(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write `episodes.csv` atomically; see `episodes_csv`."""
        write_atomic(self.file(EPISODES), to_csv(rows))

    def write_tests(self, rows: Iterable[Mapping[str, Any]]) -> None:
        """Write `tests.csv` atomically: as `episodes.csv`, under other conditions."""
        write_atomic(self.file(TESTS), to_csv(rows))

    def metrics(self) -> list[dict[str, Any]]:
        """All lines of `metrics.jsonl`, oldest first."""
        return self._logs.read()

    def episodes(self) -> list[dict[str, Any]]:
        """The rows of `episodes.csv`; none if the run was never evaluated."""
        return rows_in(self.path / EPISODES)

    def tests(self) -> list[dict[str, Any]]:
        """The rows of `tests.csv`; none without `evaluation.tests`."""
        return rows_in(self.path / TESTS)

    def evaluations(self) -> list["RunDir"]:
        """The runs of `job=evaluate run=` within this one, oldest first."""
        return find_runs([self.path / "evaluations"])

    def evaluation(self) -> dict[str, Any] | None:
        """Content of `evaluation.json`; None if the run was never evaluated."""
        path = self.path / EVALUATION
        return read_json(path) if path.exists() else None

    def config(self) -> "DictConfig":
        """The run's resolved config, in struct mode."""
        from omegaconf import DictConfig, OmegaConf

        from so101rl.config.from_run import read_config

        path = self.path / CONFIG
        if not path.is_file():
            raise RunDirError(f"{self.path} has no {CONFIG}")
        config = read_config(path)
        if not isinstance(config, DictConfig):
            raise RunDirError(f"{path} holds no mapping")
        OmegaConf.set_struct(config, True)
        return config

    def _last_activity(self) -> str:
        """When the run wrote its last line, or started."""
        clock = self._logs.last_clock()
        if clock is None:
            return str(self.info["started"])
        return stamp(datetime.fromtimestamp(clock, UTC))


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

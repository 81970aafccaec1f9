"""An MLflow run that mirrors the run directory."""

from collections.abc import Iterator
from typing import Any

from so101rl.config.schema import NEUTRAL_KEYS, settings
from so101rl.runs.run_dir import EPISODES, EVALUATION, RUN, RunDir
from so101rl.runs.summary import run_summary
from so101rl.runs.sweep_dir import SweepDir, sweep_of
from so101rl.tracking.base import LogReader, results
from so101rl.tracking.mlflow_mirror import (
    MlflowMirror,
    check_ended,
    final_metrics,
    milliseconds,
)
from so101rl.tracking.mlflow_store import MlflowStore
from so101rl.tracking.mlflow_sweep import MlflowSweep

FILES = (RUN, EVALUATION, EPISODES, ".hydra", "figures", "videos")
JOB, SEARCHED = "job ", "search "  # prefixes of the keys of `what` in `sweep.json`


class MlflowTracker(MlflowMirror[RunDir]):
    """One MLflow run per run directory."""

    def __init__(self, *, uri: str, experiment: str) -> None:
        """Keep the arguments; `start` opens the store.

        Args:
            uri: `sqlite:///FILE` or the address of a server.
            experiment: its name; `{env}` is replaced by the run's option of this group.
        """
        super().__init__(MlflowStore(uri, experiment))
        self._logs = LogReader()

    def of_sweeps(self) -> MlflowSweep:
        """Return the tracker of sweeps; its runs are the parents of the jobs' runs."""
        return MlflowSweep(self._store)

    def start(self, run: RunDir) -> None:
        """Create the MLflow run, or find the one that mirrors this directory."""
        self._connect(run.info["groups"])
        sweep = sweep_of(run.path) if run.info.get("part_of") else None
        above = {} if sweep is None else self._sweep_tags(sweep)
        self._open_run(run.info, _name(run, sweep), {**_tags(run), **above})
        self._send(params=dict(_params(run)))

    def push(self, run: RunDir) -> None:
        """Send the new lines of both logs."""
        from mlflow.entities import Metric

        new = [
            Metric(name, value, int(1000 * seconds), step)
            for name, value, step, seconds in self._logs.read(run)
        ]
        self._send(metrics=new)

    def finish(self, run: RunDir) -> None:
        """Send the remaining log lines, results, files and final status."""
        self.push(run)
        ended = RunDir.open(run.path)
        check_ended(run.path, ended.info)
        # The time of the last log line, so that a second delivery is the same.
        clock = int(1000 * self._logs.last_clock) or milliseconds(ended.info["ended"])
        self._send(metrics=final_metrics(results(run), clock))
        self._send_files(run.path, FILES)
        self._close_run(ended.info, run_summary(ended))


def _params(run: RunDir) -> Iterator[tuple[str, str]]:
    """Yield the chosen options and the config keys that may change what is learned.

    The run's files hold the whole config. Other keys are no parameters, so that the
    differences between runs are easy to see.
    """
    for group, option in run.info["groups"].items():
        if group not in NEUTRAL_KEYS:
            yield group, str(option)
    source = run.info.get("init_from")  # its name is more readable than its directory
    values = settings(run.config(), without=NEUTRAL_KEYS)
    if source:
        values["init_from"] = source["name"]
    for key, value in values.items():
        if not key.rpartition(".")[2].startswith("_"):
            yield key, str(value)


def _name(run: RunDir, sweep: SweepDir | None) -> str:
    """A run's name; in a sweep, its folder there and the overrides that differ."""
    if sweep is None:
        return str(run.info["name"])
    folder = str(run.path.relative_to(sweep.path))
    return " ".join([folder, *_differing(run, folder, sweep.info["what"])])


def _differing(run: RunDir, folder: str, what: dict[str, Any]) -> list[str]:
    """The overrides by which a job differs from the others of its sweep."""
    jobs = {key: text.split() for key, text in what.items() if key.startswith(JOB)}
    if jobs:
        shared = set.intersection(*map(set, jobs.values()))
        return [word for word in jobs.get(JOB + folder, ()) if word not in shared]
    values = {**settings(run.config()), **run.info["groups"]}
    keys = [key.removeprefix(SEARCHED) for key in what if key.startswith(SEARCHED)]
    return [f"{key}={_short(values[key])}" for key in keys if key in values]


def _short(value: object) -> str:
    return f"{value:.3g}" if isinstance(value, float) else str(value)


def _tags(run: RunDir) -> dict[str, str]:
    info = run.info
    tags = {"run_dir": str(run.path), "job": str(info["groups"].get("job"))}
    member = info.get("part_of") or {}  # one tag per key, to filter by
    tags |= {key: str(value) for key, value in member.items()}
    tags["seed"] = str(info["seed"])
    return {**tags, "resume": info["resume"]} if "resume" in info else tags

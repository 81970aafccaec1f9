"""An MLflow run that mirrors the run directory."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from so101rl.config.schema import NEUTRAL_KEYS, settings
from so101rl.runs.run_dir import EPISODES, EVALUATION, RUN, RunDir
from so101rl.runs.summary import note
from so101rl.runs.sweep_dir import SweepDir, sweep_of
from so101rl.tracking.base import NewLines, Tracker, TrackerError, results
from so101rl.tracking.mlflow_store import (
    COLOUR,
    METRICS_PER_BATCH,
    NOTE,
    PARAMS_PER_BATCH,
    PARENT,
    RESULT_STEP,
    VALUE_CHARS,
    MlflowStore,
    free_colour,
    milliseconds,
    mirror_of,
    of_the_code,
)
from so101rl.tracking.mlflow_sweep import SWEEP_UID, MlflowSweep

if TYPE_CHECKING:
    from mlflow import MlflowClient

STATUS = {"pruned": "KILLED"}  # where MLflow has no such word; a tag says ours


class MlflowTracker(Tracker[RunDir]):
    """One MLflow run per run directory, found again by the run's unique id."""

    def __init__(self, *, uri: str, experiment: str) -> None:
        """Prepare without touching the store.

        Args:
            uri: `sqlite:///FILE` or the address of a server.
            experiment: its name; `{env}` stands for the run's choice of that group.
        """
        self._store = MlflowStore(uri, experiment)
        self.place = self._store.place
        self._lines = NewLines()
        self._client: MlflowClient  # set by start
        self._run_id: str

    def of_sweeps(self) -> MlflowSweep:
        """A run per sweep, above those of its jobs."""
        return MlflowSweep(self._store)

    def start(self, run: RunDir) -> None:
        """Create the MLflow run, or find the one that mirrors this directory."""
        self._client, experiment_id = self._store.open(run.info["groups"])
        twin = mirror_of(self._client, experiment_id, run.info["uid"])
        sweep = sweep_of(run.path) if run.info.get("part_of") else None
        above = {} if sweep is None else self._above(sweep)
        if twin is not None:
            self._run_id = twin.info.run_id
            self._client.update_run(self._run_id, status="RUNNING")
            for tag in {"error", NOTE} & twin.data.tags.keys():
                self._client.delete_tag(self._run_id, tag)  # of an end that was not one
            for tag, value in above.items():
                self._client.set_tag(self._run_id, tag, value)
        else:
            colour = {COLOUR: free_colour(self._client, experiment_id)}
            created = self._client.create_run(
                experiment_id,
                start_time=milliseconds(run.info["started"]),
                run_name=_name(run, sweep),
                tags={**_tags(run), **above, **colour},
            )
            self._run_id = created.info.run_id
        self._send_params(run)

    def push(self, run: RunDir) -> None:
        """Send the new lines of both logs in batches."""
        from mlflow.entities import Metric

        new = [
            Metric(name, value, int(1000 * seconds), step)
            for name, value, step, seconds in self._lines.read(run)
        ]
        for first in range(0, len(new), METRICS_PER_BATCH):
            self._client.log_batch(self._run_id, new[first : first + METRICS_PER_BATCH])

    def finish(self, run: RunDir) -> None:
        """Send the rest, results, files and the true status."""
        from mlflow.entities import Metric

        self.push(run)
        info = RunDir.open(run.path).info
        if info["ended"] is None:
            raise TrackerError(f"{run.path}: its status is running, so it has no end")
        ended = milliseconds(info["ended"])
        # The clock of the last line: evaluated again, they are the same numbers.
        clock = int(1000 * self._lines.last_clock) or ended
        final = [
            Metric(name, value, clock, RESULT_STEP)
            for name, value in results(run).items()
        ]
        self._client.log_batch(self._run_id, final)
        self._send_files(run)
        words = note(RunDir.open(run.path))
        self._client.set_tag(self._run_id, NOTE, words[:VALUE_CHARS])
        self._client.set_tag(self._run_id, "status", info["status"])
        if info["error"]:
            text = f"{info['error']['class']}: {info['error']['message']}"
            self._client.set_tag(self._run_id, "error", text[:VALUE_CHARS])
        status = STATUS.get(info["status"], info["status"].upper())
        self._client.set_terminated(self._run_id, status, ended)

    def _above(self, sweep: SweepDir) -> dict[str, str]:
        """Tags that put a run below its sweep's own, if that is there yet."""
        tags = {SWEEP_UID: sweep.info["uid"]}
        parent = self._parent(sweep)
        return {**tags, PARENT: parent} if parent else tags

    def _parent(self, sweep: SweepDir) -> str | None:
        """The MLflow run of a sweep."""
        name = self._store.name(sweep.info["groups"])
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return None
        uid = sweep.info["uid"]
        found = mirror_of(self._client, experiment.experiment_id, uid)
        return None if found is None else str(found.info.run_id)

    def _send_params(self, run: RunDir) -> None:
        from mlflow.entities import Param

        params = [Param(key, value[:VALUE_CHARS]) for key, value in _params(run)]
        for first in range(0, len(params), PARAMS_PER_BATCH):
            batch = params[first : first + PARAMS_PER_BATCH]
            self._client.log_batch(self._run_id, params=batch)

    def _send_files(self, run: RunDir) -> None:
        for name in (RUN, EVALUATION, EPISODES):
            if (run.path / name).is_file():
                self._client.log_artifact(self._run_id, str(run.path / name))
        for name in (".hydra", "figures", "videos"):
            if (run.path / name).is_dir():
                self._client.log_artifacts(self._run_id, str(run.path / name), name)


def _params(run: RunDir) -> Iterator[tuple[str, str]]:
    """What a run was made of: chosen options, which stand for their classes, and keys.

    All of the config is among the files: as parameters, keys of the call and those that
    change nothing of what is learned would hide the ones by which runs differ.
    """
    for group, option in run.info["groups"].items():
        if group not in NEUTRAL_KEYS:
            yield group, str(option)
    source = run.info.get("init_from")  # whose name says more than its directory
    values = settings(run.config(), without=NEUTRAL_KEYS)
    if source:
        values["init_from"] = source["name"]
    for key, value in values.items():
        if not key.rpartition(".")[2].startswith("_"):
            yield key, str(value)


def _name(run: RunDir, sweep: SweepDir | None) -> str:
    """Below its sweep a run is called as its job is: all have the same choices."""
    return run.info["name"] if sweep is None else str(run.path.relative_to(sweep.path))


def _tags(run: RunDir) -> dict[str, str]:
    info = run.info
    tags = {"uid": info["uid"], "command": info["command"], "run_dir": str(run.path)}
    tags["name"] = info["name"]
    tags |= {"job": str(info["groups"].get("job")), "mlflow.source.name": "main.py"}
    member = info.get("part_of") or {}  # flat, so that the page can filter by them
    tags |= {key: str(value) for key, value in member.items()}
    tags["seed"] = str(info["seed"])
    if "resume" in info:
        tags["resume"] = info["resume"]
    return {**tags, **of_the_code(info["git"])}

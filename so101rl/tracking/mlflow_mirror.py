"""What the MLflow runs of runs and of sweeps have in common."""

import re
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.figures.style import GROUP_COLOURS
from so101rl.runs.failures import format_error
from so101rl.runs.sweep_dir import SweepDir
from so101rl.tracking.base import Mirrored, Tracker, TrackerError
from so101rl.tracking.mlflow_store import MlflowStore

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

# MLflow's limits; 100 is also the limit of tags in a batch.
METRICS_PER_BATCH, PARAMS_PER_BATCH, VALUE_CHARS = 1000, 100, 6000
NOTE, COLOUR, PARENT = "mlflow.note.content", "mlflow.runColor", "mlflow.parentRunId"
SWEEP_UID = "sweep_uid"  # the tag of a job's run that names its sweep
RESULT_STEP = 0  # MLflow draws a bar for a metric whose only step is 0
STATUS = {"pruned": "KILLED"}  # not a status of MLflow; the tag `status` keeps it
_NOT_IN_NAMES = re.compile(r"[^\w./: -]")


class MlflowMirror(Tracker[Mirrored]):
    """One MLflow run per folder, found again by the folder's unique id."""

    def __init__(self, store: MlflowStore) -> None:
        self._store = store
        self.place = store.place
        self._client: MlflowClient  # set by _connect
        self._experiment_id: str
        self._run_id: str  # set by _open_run

    def _connect(self, groups: Mapping[str, Any]) -> None:
        self._client, self._experiment_id = self._store.open(groups)

    def _open_run(
        self, info: Mapping[str, Any], name: str, tags: Mapping[str, str]
    ) -> None:
        """Find the MLflow run of a folder by its JSON content `info`, or create it."""
        tags = {**_common_tags(info), **tags}
        found = find_run(self._client, self._experiment_id, info["uid"])
        if found is None:
            colour = free_colour(self._client, self._experiment_id)
            found = self._client.create_run(
                self._experiment_id,
                start_time=milliseconds(info["started"]),
                run_name=name,
                tags={"uid": info["uid"], COLOUR: colour},  # `find_run` needs the uid
            )
        else:
            self._client.update_run(found.info.run_id, status="RUNNING")
            for tag in {"error", NOTE} & found.data.tags.keys():
                self._client.delete_tag(found.info.run_id, tag)  # of an earlier end
        self._run_id = found.info.run_id
        self._send(tags=tags)

    def _close_run(self, info: Mapping[str, Any], note: str) -> None:
        """Send the note, the error and the final status."""
        tags = {NOTE: note, "status": info["status"]}
        if info["error"]:
            tags["error"] = format_error(info["error"])
        self._send(tags=tags)
        status = STATUS.get(info["status"], info["status"].upper())
        ended = milliseconds(info["ended"])
        self._client.set_terminated(self._run_id, status, ended)

    def _send(
        self,
        *,
        metrics: "Sequence[Metric]" = (),
        params: Mapping[str, str] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Send in batches; shorten and rename what MLflow would refuse."""
        from mlflow.entities import Param, RunTag

        for batch in _batches(metrics, METRICS_PER_BATCH):
            self._client.log_batch(self._run_id, metrics=batch)
        known = [
            Param(plain_name(k), v[:VALUE_CHARS]) for k, v in (params or {}).items()
        ]
        for batch in _batches(known, PARAMS_PER_BATCH):
            self._client.log_batch(self._run_id, params=batch)
        if tags:
            cut = [RunTag(plain_name(k), v[:VALUE_CHARS]) for k, v in tags.items()]
            self._client.log_batch(self._run_id, tags=cut)

    def _send_files(self, folder: Path, names: Iterable[str]) -> None:
        """Send the files and folders `names` of a folder; skip missing ones."""
        for name in names:
            path = folder / name
            if path.is_dir():
                self._client.log_artifacts(self._run_id, str(path), name)
            elif path.is_file():
                self._client.log_artifact(self._run_id, str(path))

    def _sweep_tags(self, sweep: SweepDir) -> dict[str, str]:
        """Tags that put a run below its sweep's MLflow run, if that exists yet."""
        tags = {SWEEP_UID: sweep.info["uid"]}
        name = self._store.experiment_name(sweep.info["groups"])
        experiment = self._client.get_experiment_by_name(name)
        if experiment is None:
            return tags
        number = experiment.experiment_id
        parent = find_run(self._client, number, sweep.info["uid"])
        return tags if parent is None else {**tags, PARENT: parent.info.run_id}


def final_metrics(numbers: Mapping[str, float], clock_ms: int) -> "list[Metric]":
    """Return results as MLflow metrics, all at the unix time `clock_ms` [ms]."""
    from mlflow.entities import Metric

    return [
        Metric(plain_name(name), value, clock_ms, RESULT_STEP)
        for name, value in numbers.items()
    ]


def check_ended(folder: Path, info: Mapping[str, Any]) -> None:
    """Raise if a run or sweep has not ended."""
    if info["ended"] is None:
        raise TrackerError(f"{folder}: status=running: expected one that has ended")


def find_run(client: "MlflowClient", experiment_id: str, uid: str) -> "Run | None":
    """The MLflow run that mirrors a run or a sweep of ours; None if there is none."""
    found = client.search_runs([experiment_id], f"tags.uid = '{uid}'", max_results=1)
    return found[0] if found else None


def free_colour(client: "MlflowClient", experiment_id: str) -> str:
    """A colour that none of the last runs has; MLflow's own often repeat."""
    last = client.search_runs([experiment_id], max_results=len(GROUP_COLOURS) - 1)
    taken = {run.data.tags.get(COLOUR) for run in last}
    return next(colour for colour in GROUP_COLOURS if colour not in taken)


def plain_name(key: str) -> str:
    """A name with every character replaced that MLflow refuses."""
    return _NOT_IN_NAMES.sub("_", key)


def milliseconds(stamp: str) -> int:
    """An ISO time as unix time [ms]."""
    return int(1000 * datetime.fromisoformat(stamp).timestamp())


def _batches(items: Sequence[Any], size: int) -> list[Sequence[Any]]:
    return [items[first : first + size] for first in range(0, len(items), size)]


def _common_tags(info: Mapping[str, Any]) -> dict[str, str]:
    """Tags with the uid, name, command and commit of a run or sweep."""
    tags = {"uid": info["uid"], "name": info["name"], "command": info["command"]}
    tags["mlflow.source.name"] = "main.py"
    git = info["git"]
    if git is None:
        return tags
    commit, dirty = git["commit"], str(git["dirty"]).lower()
    return tags | {"commit": commit, "mlflow.source.git.commit": commit, "dirty": dirty}

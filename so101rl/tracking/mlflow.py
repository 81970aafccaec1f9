"""An MLflow run that mirrors the run directory."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from so101rl.config import FREE, settings
from so101rl.figures.style import GROUP_COLOURS
from so101rl.notes import note
from so101rl.rundir import EPISODES, EVALUATION, RUN, RunDir
from so101rl.tracking import first_view
from so101rl.tracking.base import NewLines, Tracker, TrackerError, results

if TYPE_CHECKING:
    from mlflow import MlflowClient

# MLflow's limits
METRICS_PER_BATCH, PARAMS_PER_BATCH, VALUE_CHARS = 1000, 100, 6000
# MLflow then shows runs and curves first, not the pages of its other trade.
KIND = {"mlflow.experimentKind": "custom_model_development"}
NOTE, COLOUR = "mlflow.note.content", "mlflow.runColor"
STATUS = {"pruned": "KILLED"}  # where MLflow has no such word; a tag says ours
RESULT_STEP = 0  # MLflow draws bars of what has no other step, a dot of what has


class MlflowTracker(Tracker):
    """One MLflow run per run directory, found again by the run's unique id."""

    def __init__(self, *, uri: str, experiment: str) -> None:
        """Prepare without touching the store.

        Args:
            uri: `sqlite:///FILE` or the address of a server.
            experiment: its name; `{env}` stands for the run's choice of that group.
        """
        # MLflow reads these at import: no usage reports, no git call, short retries.
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ["DO_NOT_TRACK"] = "true"
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        self._store: Path | None = None
        if uri.startswith("sqlite:///"):
            self._store = Path(uri.removeprefix("sqlite:///")).absolute()
            uri = f"sqlite:///{self._store}"
        self._uri = uri
        self.place = f"{uri} {experiment}"
        self._experiment = experiment
        self._lines = NewLines()
        self._client: MlflowClient  # set by start
        self._run_id: str

    def start(self, run: RunDir) -> None:
        """Create the MLflow run, or find the one that mirrors this directory."""
        self._client, experiment_id = self._open_store(self._experiment_name(run))
        uid = run.info["uid"]
        twins = self._client.search_runs(
            [experiment_id], f"tags.uid = '{uid}'", max_results=1
        )
        if twins:
            self._run_id = twins[0].info.run_id
            self._client.update_run(self._run_id, status="RUNNING")
            for tag in {"error", NOTE} & twins[0].data.tags.keys():
                self._client.delete_tag(self._run_id, tag)  # of an end that was not one
        else:
            created = self._client.create_run(
                experiment_id,
                start_time=_milliseconds(run.info["started"]),
                run_name=run.info["name"],
                tags={**_tags(run), COLOUR: self._free_colour(experiment_id)},
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
        ended = _milliseconds(info["ended"])
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

    def _experiment_name(self, run: RunDir) -> str:
        groups = run.info["groups"]
        try:
            return self._experiment.format(**groups)
        except (KeyError, IndexError, ValueError) as error:
            raise TrackerError(
                f"tracking.experiment={self._experiment}: no group {error}; "
                f"right are {', '.join(f'{{{group}}}' for group in groups)}"
            ) from error

    def _open_store(self, experiment: str) -> "tuple[MlflowClient, str]":
        """Client and experiment id; a sqlite store is set up by one process at a time.

        A new store migrates its tables at first use, which many processes at once
        break for good.
        """
        from mlflow import MlflowClient

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        with _exclusive(self._store):
            client = MlflowClient(self._uri)
            found = client.get_experiment_by_name(experiment)
            if found is not None:
                number, tags = found.experiment_id, found.tags
            else:
                files = None
                if self._store is not None:
                    files = (self._store.parent / "mlruns").as_uri()
                number, tags = client.create_experiment(experiment, files), {}
            if first_view.TAG not in tags:  # new, or of somebody who made none
                view = {NOTE: first_view.description(number), **KIND}
                for key, value in {**view, **first_view.tags()}.items():
                    if key not in tags:
                        client.set_experiment_tag(number, key, value)
            return client, number

    def _free_colour(self, experiment_id: str) -> str:
        """A colour that none of the last runs has; MLflow's own are often the same."""
        last = self._client.search_runs(
            [experiment_id], max_results=len(GROUP_COLOURS) - 1
        )
        taken = {run.data.tags.get(COLOUR) for run in last}
        return next(colour for colour in GROUP_COLOURS if colour not in taken)

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


@contextlib.contextmanager
def _exclusive(store: Path | None) -> Iterator[None]:
    """Hold the lock file next to a sqlite store; a server needs none."""
    if store is None:
        yield
        return
    store.parent.mkdir(parents=True, exist_ok=True)
    with store.with_name(f"{store.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # freed when the file closes
        yield


def _params(run: RunDir) -> Iterator[tuple[str, str]]:
    """What a run was made of: chosen options, which stand for their classes, and keys.

    All of the config is among the files: as parameters, keys of the call and those that
    change nothing of what is learned would hide the ones by which runs differ.
    """
    for group, option in run.info["groups"].items():
        if group not in FREE:
            yield group, str(option)
    source = run.info.get("init_from")  # whose name says more than its directory
    values = settings(run.config(), without=FREE)
    if source:
        values["init_from"] = source["name"]
    for key, value in values.items():
        if not key.rpartition(".")[2].startswith("_"):
            yield key, str(value)


def _tags(run: RunDir) -> dict[str, str]:
    info = run.info
    tags = {"uid": info["uid"], "command": info["command"], "run_dir": str(run.path)}
    tags |= {"job": str(info["groups"].get("job")), "mlflow.source.name": "main.py"}
    member = info.get("part_of") or {}  # flat, so that the page can filter by them
    tags |= {key: str(value) for key, value in member.items()}
    tags["seed"] = str(info["seed"])
    if "resume" in info:
        tags["resume"] = info["resume"]
    if info["git"]:
        tags["commit"] = tags["mlflow.source.git.commit"] = info["git"]["commit"]
        tags["dirty"] = str(info["git"]["dirty"]).lower()
    return tags


def _milliseconds(stamp: str) -> int:
    return int(1000 * datetime.fromisoformat(stamp).timestamp())

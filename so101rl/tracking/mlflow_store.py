"""Where MLflow keeps runs: a server, or a sqlite file that one process sets up."""

import contextlib
import fcntl
import logging
import os
import re
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.figures.style import GROUP_COLOURS
from so101rl.tracking import mlflow_view
from so101rl.tracking.base import TrackerError

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

# MLflow's limits
METRICS_PER_BATCH, PARAMS_PER_BATCH, VALUE_CHARS = 1000, 100, 6000
# MLflow then shows runs and curves first, not the pages of its other trade.
KIND = {"mlflow.experimentKind": "custom_model_development"}
NOTE, COLOUR, PARENT = "mlflow.note.content", "mlflow.runColor", "mlflow.parentRunId"
_STRANGE = re.compile(r"[^\w./: -]")  # in names
RESULT_STEP = 0  # MLflow draws bars of what has no other step, a dot of what has


class MlflowStore:
    """A store, and how experiments in it are called.

    Args:
        uri: `sqlite:///FILE` or the address of a server.
        experiment: name of experiments; `{env}` stands for a choice of that group.

    Attributes:
        place: tells it from other stores.
    """

    def __init__(self, uri: str, experiment: str) -> None:
        """Prepare without touching the store."""
        # MLflow reads these at import: no usage reports, no git call, short retries.
        os.environ["MLFLOW_DISABLE_TELEMETRY"] = "true"
        os.environ["DO_NOT_TRACK"] = "true"
        os.environ.setdefault("GIT_PYTHON_REFRESH", "quiet")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "10")
        self._file: Path | None = None
        if uri.startswith("sqlite:///"):
            self._file = Path(uri.removeprefix("sqlite:///")).absolute()
            uri = f"sqlite:///{self._file}"
        self._uri, self._experiment = uri, experiment
        self.place = f"{uri} {experiment}"

    def open(self, groups: Mapping[str, Any]) -> "tuple[MlflowClient, str]":
        """Client and id of an experiment, which is made if it is not there.

        A new store migrates its tables at first use, which many processes at once
        break for good.

        Args:
            groups: the chosen option of each config group.
        """
        from mlflow import MlflowClient

        name = self.name(groups)
        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        with _exclusive(self._file):
            client = MlflowClient(self._uri)
            found = client.get_experiment_by_name(name)
            if found is not None:
                number, tags = found.experiment_id, found.tags
            else:
                files = None
                if self._file is not None:
                    files = (self._file.parent / "mlruns").as_uri()
                number, tags = client.create_experiment(name, files), {}
            if mlflow_view.TAG not in tags:  # new, or of somebody who made none
                view = {NOTE: mlflow_view.description(number), **KIND}
                for key, value in {**view, **mlflow_view.tags()}.items():
                    if key not in tags:
                        client.set_experiment_tag(number, key, value)
            return client, number

    def name(self, groups: Mapping[str, Any]) -> str:
        """The name of an experiment.

        Raises:
            TrackerError: it asks for a group that there is not.
        """
        try:
            return self._experiment.format(**groups)
        except (KeyError, IndexError, ValueError) as error:
            raise TrackerError(
                f"tracking.experiment={self._experiment}: no group {error}; "
                f"right are {', '.join(f'{{{group}}}' for group in groups)}"
            ) from error


def mirror_of(client: "MlflowClient", experiment_id: str, uid: str) -> "Run | None":
    """The MLflow run that mirrors a run or a sweep of ours; None if there is none."""
    found = client.search_runs([experiment_id], f"tags.uid = '{uid}'", max_results=1)
    return found[0] if found else None


def named(key: str) -> str:
    """A name as MLflow takes it for parameters, metrics and tags."""
    return _STRANGE.sub("_", key)


def free_colour(client: "MlflowClient", experiment_id: str) -> str:
    """A colour that none of the last runs has; MLflow's own are often the same."""
    last = client.search_runs([experiment_id], max_results=len(GROUP_COLOURS) - 1)
    taken = {run.data.tags.get(COLOUR) for run in last}
    return next(colour for colour in GROUP_COLOURS if colour not in taken)


def of_the_code(git: Mapping[str, Any] | None) -> dict[str, str]:
    """Tags that say which code ran."""
    if git is None:
        return {}
    commit = git["commit"]
    dirty = str(git["dirty"]).lower()
    return {"commit": commit, "mlflow.source.git.commit": commit, "dirty": dirty}


def milliseconds(stamp: str) -> int:
    """A time of ours as MLflow counts it."""
    return int(1000 * datetime.fromisoformat(stamp).timestamp())


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

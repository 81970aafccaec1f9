"""Where MLflow keeps runs: a server, or a sqlite file with a lock."""

import contextlib
import fcntl
import logging
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.tracking.base import TrackerError

if TYPE_CHECKING:
    from mlflow import MlflowClient

# With this tag MLflow's page of an experiment shows its runs, not its LLM traces.
KIND = {"mlflow.experimentKind": "custom_model_development"}


class MlflowStore:
    """A store and the name of the experiments in it.

    Args:
        uri: `sqlite:///FILE` or the address of a server.
        experiment: name of experiments; `{env}` is replaced by the group's option.

    Attributes:
        place: identifies the store and its experiments.
    """

    def __init__(self, uri: str, experiment: str) -> None:
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
        """Return a client and the experiment's id; create it if it does not exist.

        `groups` has the chosen option of each config group.
        """
        name = self.experiment_name(groups)
        with self.client() as client:
            found = client.get_experiment_by_name(name)
            if found is None:
                files = None
                if self._file is not None:
                    files = (self._file.parent / "mlruns").as_uri()
                number, tags = client.create_experiment(name, files), {}
            else:
                number, tags = found.experiment_id, found.tags
            for key, value in KIND.items():
                if key not in tags:
                    client.set_experiment_tag(number, key, value)
            return client, number

    @contextlib.contextmanager
    def client(self) -> "Iterator[MlflowClient]":
        """Yield a client; no other process can open its sqlite file in the block.

        A new store creates its tables at first use; several processes that do so at
        once would damage it.
        """
        from mlflow import MlflowClient

        for noisy in ("mlflow", "alembic"):
            logging.getLogger(noisy).setLevel(logging.ERROR)
        with contextlib.ExitStack() as stack:
            if self._file is not None:
                self._file.parent.mkdir(parents=True, exist_ok=True)
                lock = self._file.with_name(f"{self._file.name}.lock")
                file = stack.enter_context(lock.open("w"))
                fcntl.flock(file, fcntl.LOCK_EX)  # freed when the file closes
            yield MlflowClient(self._uri)

    def experiment_name(self, groups: Mapping[str, Any]) -> str:
        """Return the name of the experiment.

        Raises:
            TrackerError: the name contains a group that does not exist.
        """
        try:
            return self._experiment.format(**groups)
        except (KeyError, IndexError, ValueError) as error:
            raise TrackerError(
                f"tracking.experiment={self._experiment}: no group {error}; "
                f"expected {', '.join(f'{{{group}}}' for group in groups)}"
            ) from error

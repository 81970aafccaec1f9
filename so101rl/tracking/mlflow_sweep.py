"""An MLflow run per sweep, above the runs of its jobs."""

from typing import TYPE_CHECKING

from so101rl.runs.sweep_dir import NUMBERS, SUMMARY, SWEEP, SweepDir
from so101rl.tracking import mlflow_view
from so101rl.tracking.base import Tracker, TrackerError
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
    named,
    of_the_code,
)

if TYPE_CHECKING:
    from mlflow import MlflowClient

SWEEP_UID = "sweep_uid"  # the tag of a job's run that names its sweep
BEST = "best."  # begins the tags of the best values
FOLDERS = ("figures",)
FILES = (
    *(SWEEP, SUMMARY, NUMBERS, "registration.json"),
    *("trials.csv", "best.yaml", "jobs.csv"),
)
CHILDREN_PER_PAGE = 1000


class MlflowSweep(Tracker[SweepDir]):
    """One MLflow run per sweep folder, found again by the sweep's unique id.

    Its parameters say what the sweep is, which never changes. What it found so far may,
    and MLflow refuses to change a parameter: the best values are tags.

    Args:
        store: where to.
    """

    def __init__(self, store: MlflowStore) -> None:
        """Prepare without touching the store."""
        self._store = store
        self.place = store.place
        self._client: MlflowClient  # set by start
        self._experiment_id: str
        self._run_id: str

    def start(self, run: SweepDir) -> None:
        """Create the MLflow run, or find the one that mirrors this folder."""
        info = run.info
        self._client, self._experiment_id = self._store.open(info["groups"])
        twin = mirror_of(self._client, self._experiment_id, info["uid"])
        if twin is not None:
            self._run_id = twin.info.run_id
            self._client.update_run(self._run_id, status="RUNNING")
            if "error" in twin.data.tags:
                self._client.delete_tag(self._run_id, "error")
        else:
            colour = {COLOUR: free_colour(self._client, self._experiment_id)}
            created = self._client.create_run(
                self._experiment_id,
                start_time=milliseconds(info["started"]),
                run_name=info["name"],
                tags={**_tags(run), **colour, NOTE: _note(run)},
            )
            self._run_id = created.info.run_id
        self._send_params(run)
        self._send_view(run)
        self._adopt(info["uid"])

    def push(self, run: SweepDir) -> None:
        """Nothing: the runs of its jobs show how it goes on."""

    def finish(self, run: SweepDir) -> None:
        """Send what the sweep found, its files and the true status."""
        sweep = SweepDir.open(run.path)
        info = sweep.info
        if info["ended"] is None:
            raise TrackerError(f"{run.path}: its status is running, so it has no end")
        ended = milliseconds(info["ended"])
        self._adopt(info["uid"])
        self._send_numbers(sweep, ended)
        self._send_files(sweep)
        self._client.set_tag(self._run_id, NOTE, _note(sweep))
        self._client.set_tag(self._run_id, "status", info["status"])
        if info["error"]:
            self._client.set_tag(self._run_id, "error", _error(sweep)[:VALUE_CHARS])
        self._client.set_terminated(self._run_id, info["status"].upper(), ended)

    def _adopt(self, uid: str) -> None:
        """Put below it the runs that began when it was not there yet."""
        token = None
        while True:
            page = self._client.search_runs(
                [one.experiment_id for one in self._client.search_experiments()],
                f"tags.{SWEEP_UID} = '{uid}'",
                max_results=CHILDREN_PER_PAGE,
                page_token=token,
            )
            for child in page:
                if child.data.tags.get(PARENT) != self._run_id:
                    self._client.set_tag(child.info.run_id, PARENT, self._run_id)
            token = page.token
            if not token:
                return

    def _send_params(self, sweep: SweepDir) -> None:
        """What the sweep is; a list of jobs that is too long stands in the files."""
        from mlflow.entities import Param

        what = sweep.info["what"].items()
        if len(what) <= PARAMS_PER_BATCH:
            params = [
                Param(named(key), str(value)[:VALUE_CHARS]) for key, value in what
            ]
            self._client.log_batch(self._run_id, params=params)

    def _send_view(self, sweep: SweepDir) -> None:
        """A page that shows the sweep's runs, those of an arm or a trial as one."""
        info = sweep.info
        words = f'tags.{SWEEP_UID} = "{info["uid"]}"'
        began = milliseconds(info["started"])
        view = mlflow_view.of_sweep(
            info["uid"], info["name"], began, words, info["group"]
        )
        for tag, value in view.items():
            self._client.set_experiment_tag(self._experiment_id, tag, value)

    def _send_numbers(self, sweep: SweepDir, ended: int) -> None:
        from mlflow.entities import Metric

        found = sweep.numbers()
        metrics = [
            Metric(named(name), value, ended, RESULT_STEP)
            for name, value in found["metrics"].items()
        ]
        for first in range(0, len(metrics), METRICS_PER_BATCH):
            batch = metrics[first : first + METRICS_PER_BATCH]
            self._client.log_batch(self._run_id, batch)
        best = {f"{BEST}{named(key)}": str(own) for key, own in found["best"].items()}
        known = self._client.get_run(self._run_id).data.tags
        for tag in known:
            if tag.startswith(BEST) and tag not in best:
                self._client.delete_tag(self._run_id, tag)
        for tag, value in best.items():
            self._client.set_tag(self._run_id, tag, value[:VALUE_CHARS])

    def _send_files(self, sweep: SweepDir) -> None:
        for name in FILES:
            if (sweep.path / name).is_file():
                self._client.log_artifact(self._run_id, str(sweep.path / name))
        for name in FOLDERS:
            if (sweep.path / name).is_dir():
                folder = str(sweep.path / name)
                self._client.log_artifacts(self._run_id, folder, name)


def _note(sweep: SweepDir) -> str:
    """How a sweep ended, what it found, and where it lies."""
    info = sweep.info
    parts = [sweep.summary().strip()]
    if info["error"]:
        head = f"**{info['status'].capitalize()}**: {_error(sweep)}"
        again = ". The same command goes on." if info["status"] == "killed" else ""
        parts = [head + again, *parts]
    facts = {"command": info["command"], "directory": str(sweep.path)}
    parts.append("\n".join(f"- {name}: `{text}`" for name, text in facts.items()))
    return "\n\n".join(part for part in parts if part)[:VALUE_CHARS]


def _error(sweep: SweepDir) -> str:
    error = sweep.info["error"]
    return f"{error['class']}: {' '.join(error['message'].split())}"


def _tags(sweep: SweepDir) -> dict[str, str]:
    """Those that its jobs have as well keep it in the list when one filters by them."""
    info = sweep.info
    tags = {"uid": info["uid"], "sweep": info["name"], "job": "sweep"}
    tags |= {"command": info["command"], "sweep_dir": str(sweep.path)}
    return {**tags, "mlflow.source.name": "main.py", **of_the_code(info["git"])}

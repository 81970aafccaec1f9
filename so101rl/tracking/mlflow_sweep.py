"""An MLflow run per sweep, above the runs of its jobs."""

from so101rl.runs.failures import format_error
from so101rl.runs.sweep_dir import NUMBERS, SUMMARY, SWEEP, SweepDir
from so101rl.tracking.mlflow_mirror import (
    NOTE,
    PARAMS_PER_BATCH,
    PARENT,
    SWEEP_UID,
    MlflowMirror,
    check_ended,
    final_metrics,
    milliseconds,
    plain_name,
)

JOB = "sweep"  # the value of the tag `job`
BEST = "best."  # prefix of the tags of the best values
FILES = (
    *(SWEEP, SUMMARY, NUMBERS, "registration.json"),
    *("trials.csv", "best.yaml", "jobs.csv", "figures"),
)
CHILDREN_PER_PAGE = 1000


class MlflowSweep(MlflowMirror[SweepDir]):
    """One MLflow run per sweep folder.

    Its parameters describe the sweep and never change. The best values so far are tags,
    because they can change and MLflow refuses to change a parameter.
    """

    def start(self, run: SweepDir) -> None:
        """Create the MLflow run, or find the one that mirrors this folder."""
        self._connect(run.info["groups"])
        self._open_run(run.info, run.info["name"], {**_tags(run), NOTE: _note(run)})
        what = {key: str(value) for key, value in run.info["what"].items()}
        if len(what) <= PARAMS_PER_BATCH:  # otherwise only the files list the jobs
            self._send(params=what)
        self._link_children(run.info["uid"])

    def push(self, run: SweepDir) -> None:
        """Do nothing, because the runs of the jobs show the progress."""

    def finish(self, run: SweepDir) -> None:
        """Send the results, files and final status of the sweep."""
        sweep = SweepDir.open(run.path)
        check_ended(run.path, sweep.info)
        self._link_children(sweep.info["uid"])
        self._send_numbers(sweep)
        self._send_files(sweep.path, FILES)
        self._close_run(sweep.info, _note(sweep))

    def _link_children(self, uid: str) -> None:
        """Put the runs of jobs below this one; some may have started earlier."""
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

    def _send_numbers(self, sweep: SweepDir) -> None:
        found, ended = sweep.numbers(), milliseconds(sweep.info["ended"])
        values = found["best"].items()
        best = {f"{BEST}{plain_name(key)}": str(value) for key, value in values}
        for tag in self._client.get_run(self._run_id).data.tags:
            if tag.startswith(BEST) and tag not in best:
                self._client.delete_tag(self._run_id, tag)
        self._send(metrics=final_metrics(found["metrics"], ended), tags=best)


def _note(sweep: SweepDir) -> str:
    """Return a note with a sweep's error, results, command and directory."""
    info = sweep.info
    parts = [sweep.summary().strip()]
    if info["error"]:
        head = f"**{info['status'].capitalize()}**: {format_error(info['error'])}"
        if info["status"] == "killed":
            head += ". The same command continues the sweep."
        parts = [head, *parts]
    facts = {"command": info["command"], "directory": str(sweep.path)}
    parts.append("\n".join(f"- {name}: `{text}`" for name, text in facts.items()))
    return "\n\n".join(part for part in parts if part)


def _tags(sweep: SweepDir) -> dict[str, str]:
    """Return the tags; jobs have the same tag `sweep`, so a filter by it shows both."""
    return {"sweep": sweep.info["name"], "job": JOB, "sweep_dir": str(sweep.path)}

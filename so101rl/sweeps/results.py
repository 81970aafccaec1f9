"""The results of a sweep without a search: a table of its arms, or of its jobs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from so101rl.files import read_json, read_jsonl, write_atomic
from so101rl.runs.metrics_log import METRICS
from so101rl.runs.preregistration import FILE
from so101rl.runs.run_dir import RUN, RunDir
from so101rl.runs.sweep_dir import write_summary
from so101rl.sweeps.job import Job
from so101rl.sweeps.outcome import Outcome, log_of
from so101rl.tracking.base import results

JOBS = "jobs.csv"
METRIC = "residual/success_rate"  # shown for jobs that belong to no study
SHOWN_JOBS, SHOWN_FAILURES = 60, 5  # in the summary
INTERRUPTED = Path("checkpoints") / "interrupted" / "checkpoint.json"
Row = Mapping[str, Any]


def conclude_jobs(
    jobs: Sequence[Job], folder: Path, ends: Mapping[str, Outcome]
) -> None:
    """Write and print the results so far of all jobs in the folder of a sweep.

    `ends` has outcomes by name; they are used for jobs without a run directory.
    """
    import pandas as pd

    rows = [_row(job, folder / job.name, ends.get(job.name)) for job in jobs]
    write_atomic(folder / JOBS, pd.DataFrame(rows).to_csv(index=False))
    counts = Counter(str(row["status"]) for row in rows)
    metrics = {f"jobs/{status}": float(n) for status, n in counts.items()}
    metrics["env_steps"] = float(sum(row["env_steps"] for row in rows))
    if (folder / FILE).is_file():
        registration = read_json(folder / FILE)
        study = registration["study"]
        metric = str(study["metric"])
        done = {arm: _values(rows, arm, metric) for arm in study["arms"]}
        metrics |= {f"{metric}/{arm}": fmean(own) for arm, own in done.items() if own}
        parts = [f"**{study['question']}**", _arms_table(rows, done, metric)]
        parts += [_facts(rows, counts), _registration(registration)]
    else:
        parts = [_jobs_table(jobs, rows), _facts(rows, counts)]
    text = "\n\n".join(parts) + "\n"
    write_summary(folder, text, metrics, {})
    print(text, end="")


def env_steps(folder: Path) -> int:
    """Env steps of a run: the last logged, or that of the checkpoint `INTERRUPTED`."""
    lines, _ = read_jsonl(folder / METRICS)
    logged = int(lines[-1]["step"]) if lines else 0
    stopped = folder / INTERRUPTED
    return max(logged, read_json(stopped)["step"]) if stopped.is_file() else logged


def _row(job: Job, folder: Path, end: Outcome | None) -> dict[str, Any]:
    """A job's row of `JOBS`: name, overrides, status, and the results of its run."""
    about = {"job": job.name, **job.part_of, "overrides": " ".join(job.overrides)}
    if not (folder / RUN).is_file():
        log, end = log_of(folder), end or Outcome("to do")
        if end.status == "to do" and log.exists() and log.stat().st_size > 0:
            end = Outcome("failed", reason=f"no run; see {log}")  # it started
        return {**about, "status": end.status, "reason": end.reason, "env_steps": 0}
    run = RunDir.open(folder)
    error = run.info["error"]
    return {
        **about,
        "seed": run.info["seed"],
        "status": run.info["status"],
        "reason": f"{error['class']}: {error['message']}" if error else "",
        "env_steps": env_steps(folder),
        "wall_clock_s": run.info["wall_clock_s"],
        **results(run),
    }


def _values(rows: Sequence[Row], arm: str, metric: str) -> list[float]:
    """The metric of an arm's finished runs; runs without it are left out."""
    own = [row for row in rows if row["arm"] == arm and row["status"] == "finished"]
    return [row[metric] for row in own if metric in row]


def _arms_table(
    rows: Sequence[Row], done: Mapping[str, Sequence[float]], metric: str
) -> str:
    """A line per arm; only the registered test may compare arms."""
    lines = [
        f"| arm | seeds done | {metric}, mean | failed |",
        "| --- | --: | --: | --: |",
    ]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        values = done.get(arm, ())
        failed = sum(row["status"] == "failed" for row in own)
        mean = f"{fmean(values):.3f}" if values else ""
        lines.append(f"| {arm} | {len(values)} of {len(own)} | {mean} | {failed} |")
    return "\n".join(lines)


def _jobs_table(jobs: Sequence[Job], rows: Sequence[Row]) -> str:
    """A line per job, with the overrides that are not common to all jobs."""
    common = set.intersection(*(set(job.overrides) for job in jobs))
    lines = [f"| job | {METRIC} | status | overrides |", "| --: | --: | --- | --- |"]
    for job, row in [*zip(jobs, rows, strict=True)][:SHOWN_JOBS]:
        own = " ".join(word for word in job.overrides if word not in common)
        value = f"{row[METRIC]:.3f}" if METRIC in row else ""
        lines.append(f"| {job.name} | {value} | {row['status']} | {own} |")
    if len(jobs) > SHOWN_JOBS:
        lines.append(f"\n... and {len(jobs) - SHOWN_JOBS} more, see {JOBS}")
    return "\n".join(lines)


def _facts(rows: Sequence[Row], counts: Mapping[str, int]) -> str:
    """Lines with the number of jobs per status, the env steps and the failures."""
    ends = ", ".join(f"{number} {status}" for status, number in counts.items())
    steps = sum(row["env_steps"] for row in rows)
    lines = [f"- jobs: {len(rows)}: {ends}", f"- env steps: {steps:,}"]
    failed = [row for row in rows if row["status"] == "failed"]
    for row in failed[:SHOWN_FAILURES]:
        lines.append(f"- {row['job']} failed: {row['reason']}")
    if len(failed) > SHOWN_FAILURES:
        lines.append(f"- other failures: {len(failed) - SHOWN_FAILURES}, see {JOBS}")
    return "\n".join(lines)


def _registration(content: Mapping[str, Any]) -> str:
    """Lines with the registration, its deviations and the command of the report."""
    first = f"- registered: {content['registered']}, sha256 {content['sha256'][:12]}"
    changes = [change for one in content["deviations"] for change in one["changes"]]
    report = f"`python main.py job=report experiment={content['name']}`"
    lines = [first, *(f"- deviation: {change}" for change in changes)]
    return "\n".join([*lines, f"- which arm is better: {report}"])

"""What the jobs of a sweep have come to: a table of its arms, or of its jobs."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from so101rl.files import read_json, write_atomic
from so101rl.runs.preregistration import FILE
from so101rl.runs.run_dir import RUN, RunDir
from so101rl.runs.sweep_dir import write_summary
from so101rl.sweeps.job import Job
from so101rl.sweeps.outcome import Outcome, log_of
from so101rl.sweeps.search.search import env_steps
from so101rl.tracking.base import results

JOBS = "jobs.csv"
METRIC = "residual/success_rate"  # of jobs that no study has given another
LISTED, FAILURES = 60, 5  # jobs, and failures, in the summary
TO_DO = "to do"  # the status of a job that was never begun


def conclude_jobs(
    jobs: Sequence[Job], folder: Path, ends: Mapping[str, Outcome]
) -> None:
    """Write and print what came out so far.

    Args:
        jobs: all of the sweep.
        folder: the sweep's; that of a study holds its registration.
        ends: by name how jobs ended, for those that leave no run in their folder.
    """
    import pandas as pd

    rows = [_row(job, folder / job.name, ends.get(job.name)) for job in jobs]
    write_atomic(folder / JOBS, pd.DataFrame(rows).to_csv(index=False))
    counts = Counter(str(row["status"]) for row in rows)
    metrics = {f"jobs/{status}": float(n) for status, n in counts.items()}
    metrics["env_steps"] = float(sum(row["env_steps"] for row in rows))
    if (folder / FILE).is_file():
        told = read_json(folder / FILE)
        metric = str(told["study"]["metric"])
        means = _means(rows, told["study"]["arms"], metric)
        metrics |= {f"{metric}/{arm}": mean for arm, mean in means.items()}
        parts = [f"**{told['study']['question']}**", _arms(rows, means, metric)]
        parts += [_facts(rows, counts), _promise(told)]
    else:
        parts = [_list(jobs, rows), _facts(rows, counts)]
    text = "\n\n".join(part for part in parts if part) + "\n"
    write_summary(folder, text, metrics, {})
    print(text, end="")


def _row(job: Job, folder: Path, end: Outcome | None) -> dict[str, Any]:
    """A line of the table: what a job is, and what its run has come to."""
    about = {"job": job.name, **job.part_of, "overrides": " ".join(job.overrides)}
    if not (folder / RUN).is_file():
        found = end or _without_run(folder)
        told = {"status": found.status, "reason": found.reason}
        return {**about, **told, "env_steps": 0}
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


def _without_run(folder: Path) -> Outcome:
    """What is known of a job that left no run: its log says why, or it never began."""
    log = log_of(folder)
    if log.exists() and log.stat().st_size > 0:
        return Outcome("failed", reason=f"no run; see {log}")
    return Outcome(TO_DO)


def _means(
    rows: Sequence[Mapping[str, Any]], arms: Sequence[str], metric: str
) -> dict[str, float]:
    """The metric's mean over an arm's finished runs; arms without one are left out."""
    found = {arm: [row[metric] for row in _done(rows, arm, metric)] for arm in arms}
    return {arm: fmean(values) for arm, values in found.items() if values}


def _done(
    rows: Sequence[Mapping[str, Any]], arm: str, metric: str
) -> list[Mapping[str, Any]]:
    """An arm's runs that have finished with a result."""
    ended = [row for row in rows if row["arm"] == arm and row["status"] == "finished"]
    return [row for row in ended if metric in row]


def _arms(
    rows: Sequence[Mapping[str, Any]], means: Mapping[str, float], metric: str
) -> str:
    """A line per arm; which is better is for a test to say."""
    lines = [
        f"| arm | seeds done | {metric}, mean | failed |",
        "| --- | --: | --: | --: |",
    ]
    for arm in dict.fromkeys(row["arm"] for row in rows):
        own = [row for row in rows if row["arm"] == arm]
        done = len(_done(rows, arm, metric))
        failed = sum(row["status"] == "failed" for row in own)
        mean = f"{means[arm]:.3f}" if arm in means else ""
        lines.append(f"| {arm} | {done} of {len(own)} | {mean} | {failed} |")
    return "\n".join(lines)


def _list(jobs: Sequence[Job], rows: Sequence[Mapping[str, Any]]) -> str:
    """A line per job, with what it was told that not all were."""
    common = set.intersection(*(set(job.overrides) for job in jobs))
    lines = [f"| job | {METRIC} | status | told |", "| --: | --: | --- | --- |"]
    for job, row in [*zip(jobs, rows, strict=True)][:LISTED]:
        own = " ".join(word for word in job.overrides if word not in common)
        value = f"{row[METRIC]:.3f}" if METRIC in row else ""
        lines.append(f"| {job.name} | {value} | {row['status']} | {own} |")
    if len(jobs) > LISTED:
        lines.append(f"\n... and {len(jobs) - LISTED} more, see {JOBS}")
    return "\n".join(lines)


def _facts(rows: Sequence[Mapping[str, Any]], counts: Mapping[str, int]) -> str:
    """How many jobs ended how, and why they failed."""
    told = ", ".join(f"{number} {status}" for status, number in counts.items())
    steps = sum(row["env_steps"] for row in rows)
    lines = [f"- jobs: {len(rows)}: {told}", f"- env steps: {steps:,}"]
    failed = [row for row in rows if row["status"] == "failed"]
    lines += [f"- {row['job']} failed: {row['reason']}" for row in failed[:FAILURES]]
    if len(failed) > FAILURES:
        lines.append(f"- other failures: {len(failed) - FAILURES}, see {JOBS}")
    return "\n".join(lines)


def _promise(told: Mapping[str, Any]) -> str:
    """What was registered, and what was not kept."""
    first = f"- registered: {told['registered']}, sha256 {told['sha256'][:12]}"
    changes = [change for one in told["deviations"] for change in one["changes"]]
    report = f"`python main.py job=report experiment={told['name']}`"
    lines = [first, *(f"- deviation: {change}" for change in changes)]
    return "\n".join([*lines, f"- which arm is better: {report}"])

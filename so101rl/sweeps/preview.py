"""What a sweep would run, how long that would take, and what it would leave behind."""

import functools
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from typing import NamedTuple

from omegaconf import DictConfig, OmegaConf

from so101rl.config.from_run import OUTPUT_ROOTS
from so101rl.files import read_jsonl
from so101rl.runs.metrics_log import TIMINGS
from so101rl.runs.run_dir import RunDir, find_runs
from so101rl.runs.usage import format_duration, format_size, size_bytes
from so101rl.sweeps.job import Job, SweepError
from so101rl.sweeps.processes import Processes, Program

PROBE_STEPS, PROBE_LOG = 8192, 2048  # env steps of a short training, and between lines
PATIENCE_S = 60.0  # between two looks at a short training [s]
LISTED = 60  # jobs that are listed
EARLIER, SHORT = "earlier runs", "short trainings"  # where costs are known from
# What makes one training take as long as another.
COSTS = (
    *("algo", "env._target_", "base_policy._target_", "evaluation"),
    *("total_timesteps", "n_envs"),
)


class Cost(NamedTuple):
    """What one run takes: wall clock [s] and disk [bytes], and how that is known."""

    seconds: float
    size: float
    source: str


def preview(
    jobs: Sequence[Job],
    compose: Callable[[Sequence[str]], DictConfig],
    program: Program,
    n_jobs: int,
) -> str:
    """Say what a sweep would do, without doing it.

    Args:
        jobs: all of it.
        compose: gives a job's config.
        program: how to call one.
        n_jobs: that run at a time.

    Returns:
        A line per job, and the sums.
    """
    found = [costs(job.overrides, compose, program) for job in _one_seed_each(jobs)]
    by_words = dict(zip(map(_without_seed, _one_seed_each(jobs)), found, strict=True))
    each = [by_words[_without_seed(job)] for job in jobs]
    common = set.intersection(*(set(job.overrides) for job in jobs))
    lines = [
        f"all with: {' '.join(word for word in jobs[0].overrides if word in common)}"
    ]
    for job, one in zip(jobs[:LISTED], each, strict=False):
        own = " ".join(word for word in job.overrides if word not in common)
        age = "?" if one is None else format_duration(one.seconds)
        lines.append(f"{job.name:>24}  {age:>10}  {own}")
    if len(jobs) > LISTED:
        lines.append(f"{'...':>24}  and {len(jobs) - LISTED} more")
    return "\n".join([*lines, total(each, n_jobs)])


def total(each: Sequence[Cost | None], n_jobs: int) -> str:
    """What runs take in all, in words."""
    words = f"{len(each)} runs, {n_jobs} at a time"
    costs = [one for one in each if one is not None]
    if len(costs) < len(each):
        return f"{words}; how long is known of trainings alone. Nothing was run."
    seconds = sum(one.seconds for one in costs) / min(n_jobs, len(costs))
    seconds = max(seconds, *(one.seconds for one in costs), 0.0)
    size = format_size(sum(one.size for one in costs))
    known = " and ".join(sorted({one.source for one in costs}))
    known = f"about {format_duration(seconds)}, {size}; known from {known}"
    return f"{words}: {known}. Nothing was run."


def costs(
    words: Sequence[str],
    compose: Callable[[Sequence[str]], DictConfig],
    program: Program,
) -> Cost | None:
    """What a run takes: as long as others like it did, or else as a short one tells.

    Nobody knows of what is no training.

    Raises:
        SweepError: it does not run.
    """
    cfg = compose(words)
    if not cfg.job.get("trains", False):
        return None
    work = _work(cfg)
    if work not in _KNOWN:
        seen = _earlier().get(work)
        if seen:
            seconds = median(run.info["wall_clock_s"] for run in seen)
            size = median(size_bytes([run.path]) for run in seen)
            _KNOWN[work] = Cost(seconds, size, EARLIER)
        else:
            _KNOWN[work] = _probe(cfg, words, program)
    return _KNOWN[work]


_KNOWN: dict[str, Cost] = {}  # by the work: arms of a study often have the same


def _work(cfg: DictConfig) -> str:
    return str([OmegaConf.select(cfg, key) for key in COSTS])


@functools.cache
def _earlier() -> dict[str, list[RunDir]]:
    """The trainings that have finished, by the work they had to do."""
    found: dict[str, list[RunDir]] = {}
    for run in find_runs(OUTPUT_ROOTS):
        trained = run.info["groups"].get("job") == "train"
        if trained and run.info["status"] == "finished":
            found.setdefault(_work(run.config()), []).append(run)
    return found


def _probe(cfg: DictConfig, words: Sequence[str], program: Program) -> Cost:
    """Train for a few seconds, and reckon from there."""
    steps = min(PROBE_STEPS, cfg.total_timesteps)
    short = (f"total_timesteps={steps}", f"log_every={PROBE_LOG}", "tracking=none")
    given = [word for word in words if not word.startswith("tracking=")]
    with tempfile.TemporaryDirectory() as name:
        folder, began = Path(name) / "probe", time.monotonic()
        print("no run like these yet: measuring a short training ...", flush=True)
        processes = Processes()
        processes.start("probe", program.new([*given, *short], folder), folder)
        try:
            while not (ended := processes.ended(PATIENCE_S)):
                pass
        finally:
            processes.close()  # whoever stops this stops the training, too
        wall = time.monotonic() - began
        ((_, found),) = ended
        if found.status != "finished":
            raise SweepError(f"dry_run: {found.reason}")
        lines, _ = read_jsonl(folder / TIMINGS)
        size = size_bytes([folder])
    if steps == cfg.total_timesteps:
        return Cost(wall, size, SHORT)  # that was all of it
    timed = [line for line in lines if "time/fps" in line]
    if not timed:
        raise SweepError(f"dry_run: a training of {steps} env steps logged no time/fps")
    trained, last = 0.0, 0
    for line in timed:
        speed = line["time/fps"]
        trained, last = trained + (line["step"] - last) / speed, line["step"]
    rest = max(0.0, wall - trained)
    n, m = cfg.evaluation.select_episodes, cfg.evaluation.n_episodes
    score = rest * n / (2 * n + 2 * m)  # of the rest, what one score took, at most
    scores = max(0, cfg.total_timesteps // cfg.evaluation.every - 1)
    seconds = cfg.total_timesteps / speed + rest + scores * score
    buffer = cfg.algo.get("buffer_size")  # it is part of each checkpoint
    growth = min(buffer, cfg.total_timesteps) / steps if buffer else 1.0
    return Cost(seconds, size * growth, SHORT)


def _one_seed_each(jobs: Sequence[Job]) -> list[Job]:
    return list({_without_seed(job): job for job in reversed(jobs)}.values())


def _without_seed(job: Job) -> str:
    return " ".join(word for word in job.overrides if not word.startswith("seed="))

"""Lists the jobs of a sweep without running them; estimates their time and disk."""

import contextlib
import functools
import math
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

PROBE_STEPS, PROBE_LOG = 8192, 2048  # env steps of a probe, and between its log lines
SHOWN = 60  # jobs that are listed
EARLIER, PROBE = "earlier runs", "short trainings"  # sources of an estimate
# Keys that decide how long a training takes.
COST_KEYS = str.split(
    "algo env._target_ base_policy._target_ evaluation total_timesteps n_envs"
)


class Cost(NamedTuple):
    """Estimate for one run: wall clock [s], disk [bytes], and the estimate's source."""

    seconds: float
    size: float
    source: str


def preview(
    jobs: Sequence[Job],
    compose: Callable[[Sequence[str]], DictConfig],
    program: Program,
    n_jobs: int,
) -> str:
    """A line per job with its estimated duration, and the total."""
    costs, by_words, each = CostEstimator(compose, program), {}, []
    for job in jobs:  # the seed does not change the cost
        key = tuple(word for word in job.overrides if not word.startswith("seed="))
        if key not in by_words:
            by_words[key] = costs.of(job.overrides)
        each.append(by_words[key])
    common = set.intersection(*(set(job.overrides) for job in jobs))
    shared = " ".join(word for word in jobs[0].overrides if word in common)
    lines = [f"all with: {shared}"]
    for job, one in zip(jobs[:SHOWN], each, strict=False):
        own = " ".join(word for word in job.overrides if word not in common)
        duration = "?" if one is None else format_duration(one.seconds)
        lines.append(f"{job.name:>24}  {duration:>10}  {own}")
    if len(jobs) > SHOWN:
        lines.append(f"{'...':>24}  and {len(jobs) - SHOWN} more")
    return "\n".join([*lines, total(each, n_jobs)])


def total(each: Sequence[Cost | None], n_jobs: int) -> str:
    """A line with the time and disk of all runs, `n_jobs` at a time."""
    runs = f"{len(each)} runs, {n_jobs} at a time"
    known = [one for one in each if one is not None]
    sources = sorted({one.source for one in known})
    ran = "Nothing was run."
    if PROBE in sources:
        ran = "Only short trainings were run, to measure them, and deleted."
    if len(known) < len(each):
        return f"{runs}; only the time of trainings can be estimated. {ran}"
    seconds = sum(one.seconds for one in known) / min(n_jobs, len(known))
    seconds = max(seconds, *(one.seconds for one in known), 0.0)
    size = format_size(sum(one.size for one in known))
    estimate = f"about {format_duration(seconds)}, {size}"
    return f"{runs}: {estimate}; taken from {' and '.join(sources)}. {ran}"


class CostEstimator:
    """Estimates the cost of runs from similar earlier runs or a short training."""

    def __init__(
        self, compose: Callable[[Sequence[str]], DictConfig], program: Program
    ) -> None:
        self._compose, self._program = compose, program
        self._known: dict[str, Cost] = {}  # by `_cost_key`

    def of(self, words: Sequence[str]) -> Cost | None:
        """The cost of the run with these overrides; None if the job does not train.

        Raises:
            SweepError: the probe failed.
        """
        cfg = self._compose(words)
        if not cfg.job.get("trains", False):
            return None
        key = _cost_key(cfg)
        if key not in self._known and key in self._earlier:
            runs = self._earlier[key]
            seconds = median(run.info["wall_clock_s"] for run in runs)
            size = median(size_bytes([run.path]) for run in runs)
            self._known[key] = Cost(seconds, size, EARLIER)
        elif key not in self._known:
            self._known[key] = self._probe(cfg, words)
        return self._known[key]

    @functools.cached_property
    def _earlier(self) -> dict[str, list[RunDir]]:
        """Finished trainings by `_cost_key`."""
        found: dict[str, list[RunDir]] = {}
        for run in find_runs(OUTPUT_ROOTS):
            trained = run.info["groups"].get("job") == "train"
            if trained and run.info["status"] == "finished":
                found.setdefault(_cost_key(run.config()), []).append(run)
        return found

    def _probe(self, cfg: DictConfig, words: Sequence[str]) -> Cost:
        """Train at most `PROBE_STEPS` env steps, and extrapolate."""
        steps = min(PROBE_STEPS, cfg.total_timesteps)
        short = (f"total_timesteps={steps}", f"log_every={PROBE_LOG}", "tracking=none")
        given = [word for word in words if not word.startswith("tracking=")]
        job = Job("probe", (*given, *short), {"sweep": "dry run"})
        with tempfile.TemporaryDirectory() as name:
            folder, began = Path(name) / job.name, time.monotonic()
            print("no similar earlier run: measuring a short training ...", flush=True)
            # If this is interrupted, closing `processes` stops the training.
            with contextlib.closing(Processes(self._program)) as processes:
                processes.start(job, folder)
                ((_, found),) = processes.ended(math.inf)
            wall = time.monotonic() - began
            if found.status != "finished":
                raise SweepError(f"dry_run: {found.reason}")
            lines, _ = read_jsonl(folder / TIMINGS)
            size = size_bytes([folder])
        if steps == cfg.total_timesteps:
            return Cost(wall, size, PROBE)  # it was a whole training
        timed = [line for line in lines if "time/fps" in line]
        if not timed:
            raise SweepError(f"dry_run: {steps} env steps logged no time/fps")
        return _extrapolated(cfg, steps, wall, size, timed)


def _cost_key(cfg: DictConfig) -> str:
    return str([OmegaConf.select(cfg, key) for key in COST_KEYS])


def _extrapolated(
    cfg: DictConfig,
    steps: int,
    wall: float,
    size: float,
    timed: Sequence[dict[str, float]],
) -> Cost:
    """The cost of a whole training, from the steps, time and disk of a probe."""
    trained, last = 0.0, 0.0
    for line in timed:
        trained += (line["step"] - last) / line["time/fps"]
        last = line["step"]
    rest = max(0.0, wall - trained)
    n, m = cfg.evaluation.select_episodes, cfg.evaluation.n_episodes
    score = rest * n / (2 * n + 2 * m)  # at most, for one evaluation [s]
    scores = max(0, cfg.total_timesteps // cfg.evaluation.every - 1)
    seconds = cfg.total_timesteps / timed[-1]["time/fps"] + rest + scores * score
    buffer = cfg.algo.get("buffer_size")  # it is part of each checkpoint
    growth = min(buffer, cfg.total_timesteps) / steps if buffer else 1.0
    return Cost(seconds, size * growth, PROBE)

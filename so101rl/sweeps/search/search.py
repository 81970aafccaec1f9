"""The loop of a search: trials of a few runs each, bad ones stopped early."""

import contextlib
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from so101rl.errors import So101Error
from so101rl.files import read_jsonl
from so101rl.runs.metrics import all_scores
from so101rl.runs.metrics_log import METRICS
from so101rl.runs.run_dir import RUN, RunDir
from so101rl.runs.signals import Stop
from so101rl.sweeps.job import Job, SweepError
from so101rl.sweeps.launchers import Runner
from so101rl.sweeps.outcome import RESUMABLE, Breaker, Outcome
from so101rl.sweeps.progress import SweepProgress
from so101rl.sweeps.results import env_steps
from so101rl.sweeps.search.space import words
from so101rl.sweeps.search.trials import Trials
from so101rl.tracking.base import results

if TYPE_CHECKING:
    from optuna import Trial

WAIT_S = 0.5  # between two looks at running trials [s]
ASK_S = 2.0  # wait before asking again if there was no trial [s]


@dataclass(frozen=True, kw_only=True)
class SearchPlan:
    """The objectives of a search, and the runs of its trials.

    Attributes:
        sign: factor of the report for the pruner: -1 if report and objective have
            opposite directions, else 1.
    """

    name: str
    objectives: Sequence[str]  # names of results, each the mean over a trial's runs
    report: str  # the metric that the pruner sees
    fixed: Sequence[str]  # overrides of every run, besides its trial's values
    seeds: Sequence[int]  # of a trial's runs
    total: int  # env steps of a run
    sign: int = 1

    def job(self, trial: "Trial", n: int) -> Job:
        """The n-th run of a trial."""
        overrides = (*self.fixed, *words(trial.params), f"seed={self.seeds[n]}")
        part_of = {"sweep": self.name, "trial": trial.number}
        return Job(f"trial-{trial.number}/{n}", overrides, part_of)


@dataclass
class RunningTrial:
    """An Optuna trial of which at least one run is running."""

    trial: "Trial"
    n_started: int = 0  # runs that have started
    ends: list[Outcome] = field(default_factory=list)  # of runs that have ended
    values: list[list[float]] = field(default_factory=list)  # objectives, if finished
    reports: list[float] = field(default_factory=list)  # last report, if finished
    steps: int = 0  # env steps of ended runs
    offset: int = 0  # bytes of the current run's metrics that were read
    last: float = math.nan  # the current run's last report; NaN without one
    step: int = 0  # of the trial's last report
    is_pruned: bool = False  # whether it was stopped


class Search:
    """Keeps `n_jobs` trials running until there are enough.

    A trial's runs run one after the other if the runner can prune, since a pruned run
    makes the rest unnecessary. Otherwise they start together.

    Args:
        plan: the objectives and runs.
        trials: the study.
        ask: returns the next trial, or None if there are enough.
        folder: the sweep's folder, locked by this process.
        runner: runs the jobs; if it cannot prune, no heartbeats are sent while jobs
            run, so this must be the study's only worker.
        n_jobs: trials at a time.
        heartbeat_s: time between two heartbeats [s].
    """

    def __init__(
        self,
        plan: SearchPlan,
        trials: Trials,
        ask: "Callable[[], Trial | None]",
        folder: Path,
        runner: Runner,
        n_jobs: int,
        heartbeat_s: float,
    ) -> None:
        self._plan, self._trials, self._ask = plan, trials, ask
        self._folder, self._runner = folder, runner
        self._n_jobs, self._heartbeat_s = n_jobs, heartbeat_s
        left = (trials.n_trials - len(trials.finished())) * len(plan.seeds)
        self._progress = SweepProgress(plan.name, left, n_jobs)
        self._breaker = Breaker()
        self._running: dict[str, RunningTrial] = {}  # by the name of the running job
        self._next_beat = self._next_ask = 0.0

    def run(self) -> None:
        """Run trials until enough have ended; wait for those of other workers.

        Raises:
            BrokenSweep: three in a row failed for the same reason.
            SweepError: the study cannot be reached any more.
            KeyboardInterrupt, Terminated: on Ctrl+C and SIGTERM, after the runs have
                saved; their trials are queued again.
        """
        with contextlib.ExitStack() as at_end:
            at_end.enter_context(Stop().signals())
            at_end.enter_context(self._trials.database_errors())
            at_end.enter_context(self._progress)
            at_end.callback(self._trials.interrupt)
            at_end.callback(self._runner.close)  # called first
            while self._start_trials() or not self._trials.is_done:
                if not self._running:  # other workers are not done yet
                    time.sleep(ASK_S)
                ended = [self._end_run(*end) for end in self._runner.ended(WAIT_S)]
                for found in filter(None, ended):  # `check` may raise
                    self._breaker.check(found)
                for name, one in self._running.items():
                    self._read_reports(name, one)
                self._beat()

    def _start_trials(self) -> bool:
        """Start trials while there is room; returns whether any is running."""
        while len({one.trial.number for one in self._running.values()}) < self._n_jobs:
            if self._running and time.monotonic() < self._next_ask:
                break
            trial = self._ask()
            if trial is None:
                self._next_ask = time.monotonic() + ASK_S
                break
            one = RunningTrial(trial)
            for _ in self._plan.seeds if not self._runner.can_prune else [0]:
                self._start_run(one)
        return bool(self._running)

    def _start_run(self, one: RunningTrial) -> None:
        """Start the next run of a trial."""
        job = self._plan.job(one.trial, one.n_started)
        folder = self._folder / job.name
        if (folder / RUN).exists():
            raise SweepError(
                f"{folder} holds a run that the study does not know; choose another "
                "hydra.sweep.dir"
            )
        self._runner.start(job, folder)
        self._progress.started(job.name, folder)
        self._running[job.name] = one
        one.n_started += 1
        one.offset, one.last = 0, math.nan

    def _read_reports(self, name: str, one: RunningTrial) -> None:
        """Report a run's new metrics to the pruner, which may stop the trial."""
        if not self._runner.can_prune:
            return
        lines, one.offset = read_jsonl(self._folder / name / METRICS, one.offset)
        for line in lines:
            if one.is_pruned or self._plan.report not in line or not line["step"]:
                continue  # at step 0 only the base policy acts
            one.last = line[self._plan.report]
            if self._report(one, line["step"]):
                self._prune(name, one)

    def _report(self, one: RunningTrial, step: int) -> bool:
        """Report a trial's mean to the pruner; returns whether to stop the trial.

        Steps are summed over the trial's runs; a step beyond a run's budget counts as
        the budget. At the last step of the last run nothing is reported.
        """
        plan = self._plan
        step = len(one.values) * plan.total + min(step, plan.total)
        is_over = step == len(plan.seeds) * plan.total
        if len(plan.objectives) > 1 or is_over or step <= one.step:
            return False  # Optuna prunes only with one objective
        one.step = step
        mean = plan.sign * fmean([*one.reports, one.last])
        return self._trials.report(one.trial, mean, step)

    def _prune(self, name: str, one: RunningTrial) -> None:
        one.is_pruned = True
        self._runner.prune(name)

    def _end_run(self, name: str, found: Outcome) -> Outcome | None:
        """Record a run's end, and start the trial's next run or end the trial.

        Returns:
            The outcome that the breaker counts; None for a failure if others still run.
        """
        one = self._running[name]
        folder = self._folder / name
        values: list[float] = []
        if found.status == "finished":
            self._read_reports(name, one)
            found, values = self._judge(folder, one)
        one.steps += env_steps(folder)
        one.ends.append(found)
        self._progress.ended(name, found)
        if found.status == "finished":
            one.values.append(values)
            one.reports.append(one.last)
            if one.n_started < len(self._plan.seeds):
                self._start_run(one)
        del self._running[name]
        if len(one.ends) < one.n_started:
            return found if found.status == "finished" else None
        found = next((end for end in one.ends if end.status != "finished"), found)
        self._tell(one, found)
        self._progress.best = best(self._trials)
        return found

    def _judge(self, folder: Path, one: RunningTrial) -> tuple[Outcome, list[float]]:
        """Return outcome and objectives of a finished run; it may count as failed."""
        if one.is_pruned:
            return Outcome("pruned"), []
        prunes = self._runner.can_prune and self._trials.prunes
        if prunes and math.isnan(one.last):
            reason = f"report={self._plan.report}: expected a metric in {METRICS}"
            return Outcome("failed", "config", reason), []
        try:
            return read_objectives(folder, self._plan.objectives)
        except So101Error as error:
            return Outcome("failed", "config", str(error)), []

    def _tell(self, one: RunningTrial, found: Outcome) -> None:
        """Tell the study how a trial has ended."""
        number, steps = one.trial.number, one.steps
        if found.status == "finished":
            means = [fmean(column) for column in zip(*one.values, strict=True)]
            self._trials.tell(number, values=means, runs=one.values, env_steps=steps)
            return
        self._progress.add_jobs(one.n_started - len(self._plan.seeds))
        if one.is_pruned or found.status == "pruned":
            self._trials.tell(number, state="PRUNED", env_steps=steps)
            return
        self._trials.tell(
            number, state="FAIL", env_steps=steps, kind=found.kind, reason=found.reason
        )
        if found.kind in RESUMABLE:
            self._progress.add_jobs(len(self._plan.seeds))

    def _beat(self) -> None:
        """Send heartbeats every `heartbeat_s` [s]; stop trials that others failed."""
        if time.monotonic() < self._next_beat:
            return
        lost = self._trials.beat()
        for name, one in self._running.items():
            if one.trial.number in lost:
                self._prune(name, one)
        self._next_beat = time.monotonic() + self._heartbeat_s


def read_objectives(folder: Path, names: Sequence[str]) -> tuple[Outcome, list[float]]:
    """Return a finished run's outcome and objectives.

    It is `diverged` if a value is not finite, such as the time to success without one.

    Raises:
        SweepError: the run has no result of this name.
    """
    run = RunDir.open(folder)
    found = results(run)
    policies = all_scores(run.evaluation())
    for name in names:
        policy, _, key = name.partition("/")
        if name not in found and key not in policies.get(policy, {}):
            known = ", ".join(sorted(found)) or "none"
            raise SweepError(f"objective={name}: expected one of the results: {known}")
        if not math.isfinite(found.get(name, math.nan)):
            reason = f"objective={name}: expected a finite number in this run"
            return Outcome("failed", "diverged", reason), []
    return Outcome("finished"), [found[name] for name in names]


def best(trials: Trials) -> str:
    """The best trial so far, as text; empty with several objectives."""
    done = [one for one in trials.finished() if one.state.name == "COMPLETE"]
    if not done or len(trials.study.directions) > 1:
        return ""
    one = trials.study.best_trial
    params = ", ".join(
        f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in one.params.items()
    )
    return f"{one.value:.4g} (trial {one.number}: {params})"

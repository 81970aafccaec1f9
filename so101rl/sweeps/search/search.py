"""A search for better values: trials of a few runs each, bad ones stopped early."""

import math
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from so101rl.errors import So101Error
from so101rl.files import read_json, read_jsonl
from so101rl.runs.metrics import all_scores
from so101rl.runs.metrics_log import METRICS
from so101rl.runs.run_dir import RUN, RunDir
from so101rl.runs.signals import Stop
from so101rl.sweeps.job import Job, SweepError
from so101rl.sweeps.outcome import RESUMABLE, Breaker, Outcome
from so101rl.sweeps.processes import Processes, Program
from so101rl.sweeps.progress import SweepProgress
from so101rl.sweeps.search.space import words
from so101rl.sweeps.search.trials import Trials
from so101rl.tracking.base import results

if TYPE_CHECKING:
    from optuna import Trial

STOPPED = Path("checkpoints") / "interrupted" / "checkpoint.json"
WAIT_S = 0.5  # between two looks at running trials [s]
ASK_S = 2.0  # between two questions for more trials, once there was none [s]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What a search looks for.

    Attributes:
        name: of the sweep.
        objectives: names of results, each the mean over a trial's runs.
        report: the metric that the pruner sees.
        fixed: what every run is told besides its trial's values.
        seeds: of a trial's runs.
        total: env steps of a run.
        sign: of the report for the pruner, which wants much of it where the search
            wants much of its objective, and little where little: -1 turns it round.
    """

    name: str
    objectives: Sequence[str]
    report: str
    fixed: Sequence[str]
    seeds: Sequence[int]
    total: int
    sign: int = 1

    def job(self, trial: "Trial", done: int) -> Job:
        """A trial's next run.

        Args:
            trial: Optuna's.
            done: runs of it that have finished.
        """
        told = (*self.fixed, *words(trial.params), f"seed={self.seeds[done]}")
        member = {"sweep": self.name, "trial": trial.number}
        return Job(f"trial-{trial.number}/{done}", told, member)


@dataclass
class Live:
    """A trial that is running.

    Attributes:
        trial: Optuna's.
        done: per finished run the objectives.
        reports: per finished run the last report.
        steps: env steps of finished runs.
        offset: bytes of the running one's metrics that were read.
        last: the running one's last report.
        at: step of the trial's last report.
        is_pruned: whether it was told to stop.
    """

    trial: "Trial"
    done: list[list[float]] = field(default_factory=list)
    reports: list[float] = field(default_factory=list)
    steps: int = 0
    offset: int = 0
    last: float = math.nan
    at: int = 0
    is_pruned: bool = False


class Search:
    """Keeps `n_jobs` trials running until there are enough.

    Args:
        plan: what it looks for.
        trials: the study.
        ask: gives the next trial.
        place: the sweep's folder, held.
        program: how to call a run.
        board: what somebody sees.
        n_jobs: runs at a time.
        timeout_s: for one run [s].
        heartbeat_s: between two signs of life [s].
    """

    def __init__(
        self,
        plan: Plan,
        trials: Trials,
        ask: "Callable[[], Trial | None]",
        place: Path,
        program: Program,
        board: SweepProgress,
        *,
        n_jobs: int,
        timeout_s: float | None,
        heartbeat_s: float,
    ) -> None:
        """Run nothing yet."""
        self._plan, self._trials, self._ask = plan, trials, ask
        self._place, self._program, self._board = place, program, board
        self._n_jobs, self._heartbeat_s = n_jobs, heartbeat_s
        self._pool, self._breaker = Processes(timeout_s), Breaker()
        self._live: dict[str, Live] = {}  # by the name of the running job
        self._next_beat = self._next_ask = 0.0

    def run(self) -> None:
        """Run trials until enough have ended; those of others are waited for.

        Raises:
            BrokenSweep: three in a row failed for the same reason.
            SweepError: the study cannot be reached any more.
            KeyboardInterrupt, Terminated: by Ctrl+C and SIGTERM, once the runs have
                saved; their trials are queued again.
        """
        with Stop().signals(), self._trials.database_errors():
            try:
                while self._fill() or not self._trials.is_done:
                    if not self._live:  # others are not done yet
                        time.sleep(ASK_S)
                    for name, found in self._pool.ended(WAIT_S):
                        self._ended(name, found)
                    for name, live in self._live.items():
                        self._look(name, live)
                    self._beat()
            finally:
                try:
                    self._pool.close()
                finally:
                    self._trials.abandon()

    def _fill(self) -> bool:
        """Start trials while there is room; returns whether any is running."""
        while len(self._live) < self._n_jobs:
            if self._live and time.monotonic() < self._next_ask:
                break
            trial = self._ask()
            if trial is None:
                self._next_ask = time.monotonic() + ASK_S
                break
            self._start(Live(trial))
        return bool(self._live)

    def _start(self, live: Live) -> None:
        """Start the next run of a trial."""
        job = self._plan.job(live.trial, len(live.done))
        folder = self._place / job.name
        refuse_stranger(folder)
        self._pool.start(job.name, self._program.new(job.words, folder), folder)
        self._board.started(job.name, folder)
        self._live[job.name] = live
        live.offset, live.last = 0, math.nan

    def _look(self, name: str, live: Live) -> None:
        """Show the pruner what a run has reached, and stop it if that is too little."""
        lines, live.offset = read_jsonl(self._place / name / METRICS, live.offset)
        for line in lines:
            if live.is_pruned or self._plan.report not in line or not line["step"]:
                continue  # step 0 is the base policy, whatever the values
            live.last = line[self._plan.report]
            if self._is_hopeless(live, line["step"]):
                self._stop(name, live)

    def _is_hopeless(self, live: Live, step: int) -> bool:
        """Whether the pruner has seen enough of a trial.

        Steps count on from run to run; what goes beyond the budget, as whole rollouts
        do, belongs to its end. There the last run has its result and is not judged.
        """
        plan = self._plan
        at = len(live.done) * plan.total + min(step, plan.total)
        is_over = at == len(plan.seeds) * plan.total
        if len(plan.objectives) > 1 or is_over or at <= live.at:
            return False  # Optuna prunes for one objective alone
        live.at = at
        reached = plan.sign * fmean([*live.reports, live.last])
        return self._trials.judge(live.trial, reached, at)

    def _stop(self, name: str, live: Live) -> None:
        """End a trial early."""
        live.is_pruned = True
        if name in self._pool.running:  # or else it was faster
            self._pool.prune(name)

    def _ended(self, name: str, found: Outcome) -> None:
        """A run has ended: start the trial's next, or end the trial."""
        live = self._live[name]
        folder = self._place / name
        values: list[float] = []
        if found.status == "finished":
            self._look(name, live)
            found, values = self._judged(folder, found, live)
        live.steps += env_steps(folder)
        self._board.ended(name, found)
        if found.status == "finished" and len(live.done) + 1 < len(self._plan.seeds):
            live.done.append(values)
            live.reports.append(live.last)
            self._start(live)
        else:
            self._settle(live, found, values)
        del self._live[name]
        self._board.best(best(self._trials))
        self._breaker.check(found)

    def _judged(
        self, folder: Path, found: Outcome, live: Live
    ) -> tuple[Outcome, list[float]]:
        """How a run that has finished counts, and its objectives."""
        if live.is_pruned:
            return Outcome("pruned"), []
        if math.isnan(live.last) and self._trials.prunes:
            reason = f"report={self._plan.report}: {METRICS} has no such number"
            return Outcome("failed", "config", reason), []
        return judged(folder, found, self._plan.objectives)

    def _settle(self, live: Live, found: Outcome, values: list[float]) -> None:
        """Tell the study how a trial has ended."""
        number, steps = live.trial.number, live.steps
        facts: dict[str, Any] = {"env_steps": steps}
        if live.is_pruned or found.status == "pruned":
            self._trials.tell(number, state="PRUNED", **facts)
        elif found.status == "finished":
            runs = [*live.done, values]
            means = [fmean(column) for column in zip(*runs, strict=True)]
            self._trials.tell(number, values=means, runs=runs, **facts)
        else:
            facts |= {"kind": found.kind, "reason": found.reason}
            if found.kind in RESUMABLE:
                self._trials.lost(number, **facts)
            else:
                self._trials.tell(number, state="FAIL", **facts)
        if found.status != "finished":
            runs_to_come = len(self._plan.seeds) if found.kind in RESUMABLE else 0
            unused = len(self._plan.seeds) - len(live.done) - 1
            self._board.dropped(unused - runs_to_come)

    def _beat(self) -> None:
        """Give a sign of life, now and then."""
        if time.monotonic() < self._next_beat:
            return
        taken = self._trials.beat()
        for name, live in self._live.items():
            if live.trial.number in taken:
                self._stop(name, live)
        self._next_beat = time.monotonic() + self._heartbeat_s


def refuse_stranger(folder: Path) -> None:
    """Refuse a folder for a new trial's run in which there is one.

    Raises:
        SweepError: there is.
    """
    if (folder / RUN).exists():
        raise SweepError(
            f"{folder} holds a run that the study does not know; choose another "
            "hydra.sweep.dir"
        )


def judged(
    folder: Path, found: Outcome, names: Sequence[str]
) -> tuple[Outcome, list[float]]:
    """How a finished run counts, and its objectives: without one it has failed."""
    try:
        return found, read_objectives(folder, names)
    except NoNumber as error:
        return Outcome("failed", "diverged", str(error)), []
    except So101Error as error:
        return Outcome("failed", "config", str(error)), []


class NoNumber(SweepError):
    """A run has a result without a value."""


def read_objectives(folder: Path, names: Sequence[str]) -> list[float]:
    """A finished run's objectives.

    Raises:
        NoNumber: a result has no value here, such as the time to a success without one.
        SweepError: there is no such result.
    """
    run = RunDir.open(folder)
    found = results(run)
    policies = all_scores(run.evaluation())
    for name in names:
        policy, _, key = name.partition("/")
        if name not in found and key in policies.get(policy, {}):
            raise NoNumber(f"objective={name}: this run has none")
        if name not in found:
            known = ", ".join(sorted(found)) or "none"
            raise SweepError(f"objective={name}: there is none; results are {known}")
        if not math.isfinite(found[name]):
            raise NoNumber(f"objective={name} is {found[name]}")
    return [found[name] for name in names]


def env_steps(folder: Path) -> int:
    """Env steps of a run: what it logged, or did beyond that until it was stopped."""
    lines, _ = read_jsonl(folder / METRICS)
    logged = int(lines[-1]["step"]) if lines else 0
    stopped = folder / STOPPED
    return max(logged, read_json(stopped)["step"]) if stopped.is_file() else logged


def best(trials: Trials) -> str:
    """The best trial so far, in words; of several objectives none is."""
    from optuna.trial import TrialState

    study = trials.study
    done = [one for one in trials.finished() if one.state == TrialState.COMPLETE]
    if not done or len(study.directions) > 1:
        return ""
    one = study.best_trial
    return f"{one.value:.4g} (trial {one.number}: {said(one.params)})"


def said(params: Mapping[str, Any]) -> str:
    """A trial's values, short."""
    return ", ".join(
        f"{key}={value:.3g}" if isinstance(value, float) else f"{key}={value}"
        for key, value in params.items()
    )

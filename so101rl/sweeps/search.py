"""A search for better values: trials of a few runs each, bad ones stopped early."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any

from so101rl.files import read_jsonl
from so101rl.logs import METRICS
from so101rl.rundir import RunDir
from so101rl.sweeps.board import Board
from so101rl.sweeps.job import Job, SweepError
from so101rl.sweeps.outcome import Breaker, Outcome
from so101rl.sweeps.processes import Processes, Program
from so101rl.sweeps.space import words
from so101rl.sweeps.trials import Trials
from so101rl.tracking.base import results

if TYPE_CHECKING:
    from optuna import Trial

WAIT_S = 0.5  # between two looks at running trials [s]


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
    """

    name: str
    objectives: Sequence[str]
    report: str
    fixed: Sequence[str]
    seeds: Sequence[int]
    total: int


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
        is_pruned: whether its run was told to stop.
    """

    trial: "Trial"
    done: list[list[float]] = field(default_factory=list)
    reports: list[float] = field(default_factory=list)
    steps: int = 0
    offset: int = 0
    last: float = math.nan
    is_pruned: bool = False

    @property
    def job(self) -> str:
        """The name of its running job."""
        return f"trial-{self.trial.number}/{len(self.done)}"


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
        board: Board,
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
        self._next_beat = 0.0

    def run(self) -> None:
        """Run trials until enough have ended.

        Raises:
            BrokenSweep: three in a row failed for the same reason.
        """
        try:
            while self._fill():
                for name, found in self._pool.ended(WAIT_S):
                    self._ended(self._live.pop(name), found)
                for name, live in self._live.items():
                    self._look(name, live)
                self._beat()
        except BaseException:
            self._abandon()
            raise

    def _fill(self) -> bool:
        """Start trials while there is room; returns whether any is running."""
        while len(self._live) < self._n_jobs:
            trial = self._ask()
            if trial is None:
                break
            self._start(Live(trial))
        return bool(self._live)

    def _start(self, live: Live) -> None:
        """Start the next run of a trial."""
        seed = self._plan.seeds[len(live.done)]
        told = (*self._plan.fixed, *words(live.trial.params), f"seed={seed}")
        member = {"sweep": self._plan.name, "trial": live.trial.number}
        job = Job(live.job, told, member)
        folder = self._place / job.name
        self._pool.start(job.name, self._program.new(job.words, folder), folder)
        self._board.started(job.name, folder)
        self._live[job.name] = live
        live.offset, live.last = 0, math.nan

    def _look(self, name: str, live: Live) -> None:
        """Show the pruner what a run has reached, and stop it if that is too little."""
        folder = self._place / name
        lines, live.offset = read_jsonl(folder / METRICS, live.offset)
        for line in lines:
            if live.is_pruned or self._plan.report not in line or not line["step"]:
                continue  # step 0 is the base policy, whatever the values
            live.last = line[self._plan.report]
            if len(self._plan.objectives) > 1:  # Optuna prunes for one alone
                continue
            step = len(live.done) * self._plan.total + line["step"]
            live.trial.report(fmean([*live.reports, live.last]), step)
            if live.trial.should_prune():
                live.is_pruned = True
                self._pool.prune(name)

    def _ended(self, live: Live, found: Outcome) -> None:
        """A run has ended: start the trial's next, or end the trial."""
        name, number = live.job, live.trial.number
        folder = self._place / name
        if found.status == "finished":
            self._look(name, live)
            try:
                values = read_objectives(folder, self._plan.objectives)
            except SweepError as error:
                found = Outcome("failed", "diverged", str(error))
        live.steps += env_steps(folder)
        self._board.ended(name, found)
        self._breaker.check(found)
        if found.status == "finished" and not live.is_pruned:
            live.done.append(values)
            live.reports.append(live.last)
            if len(live.done) < len(self._plan.seeds):
                self._start(live)
                return
            means = [fmean(column) for column in zip(*live.done, strict=True)]
            self._trials.note(number, env_steps=live.steps, runs=live.done)
            self._trials.tell(number, values=means)
        elif found.status == "pruned" or live.is_pruned:
            self._trials.note(number, env_steps=live.steps)
            self._trials.tell(number, state="PRUNED")
        elif found.kind in ("infrastructure", "stopped"):
            self._trials.note(number, env_steps=live.steps, reason=found.reason)
            self._trials.lost(number)
        else:
            facts = {"kind": found.kind, "reason": found.reason}
            self._trials.note(number, env_steps=live.steps, **facts)
            self._trials.tell(number, state="FAIL")
        self._board.best(best(self._trials))

    def _beat(self) -> None:
        import time

        if time.monotonic() >= self._next_beat:
            self._trials.beat()
            self._next_beat = time.monotonic() + self._heartbeat_s

    def _abandon(self) -> None:
        """Whatever ended the search: its trials are dead, and queued again."""
        self._pool.close()
        for live in self._live.values():
            self._trials.lost(live.trial.number)


def read_objectives(folder: Path, names: Sequence[str]) -> list[float]:
    """A finished run's objectives.

    Raises:
        SweepError: it has no such result, or one that is no number.
    """
    found = results(RunDir.open(folder))
    for name in names:
        if name not in found:
            known = ", ".join(sorted(found)) or "none"
            raise SweepError(f"objective={name}: there is none; results are {known}")
        if not math.isfinite(found[name]):
            raise SweepError(f"objective={name} is {found[name]}")
    return [found[name] for name in names]


def env_steps(folder: Path) -> int:
    """Env steps of a run, by its last line; 0 if it never wrote one."""
    lines, _ = read_jsonl(folder / METRICS)
    return int(lines[-1]["step"]) if lines else 0


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

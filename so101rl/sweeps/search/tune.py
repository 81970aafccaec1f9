"""Starts a search, or continues one."""

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from hydra.plugins.launcher import Launcher
from hydra.utils import instantiate
from omegaconf import DictConfig, ListConfig

from so101rl.config.schema import settings as config_values
from so101rl.config.threads import n_threads
from so101rl.runs.arms import SAME_ARM
from so101rl.runs.sweep_dir import SweepDir
from so101rl.seeds import tuning_roots
from so101rl.sweeps.context import SweepContext
from so101rl.sweeps.job import SweepError
from so101rl.sweeps.launchers import make_runner
from so101rl.sweeps.preview import CostEstimator, total
from so101rl.sweeps.search.search import Search, SearchPlan
from so101rl.sweeps.search.space import grid, space, words
from so101rl.sweeps.search.storage import check_url, sqlite_url
from so101rl.sweeps.search.summary import conclude
from so101rl.sweeps.search.trials import Trials

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

    Distributions = Mapping[str, BaseDistribution]

GRID = "optuna.samplers.GridSampler"
DIRECTIONS = ("maximize", "minimize")
MIXER = 0x9E3779B1  # odd; maps neighbouring seeds far apart (Knuth's hash)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The keys of `conf/hydra/sweeper/optuna.yaml`, which describes them."""

    n_jobs: int | None
    timeout_s: float | None
    dry_run: bool
    direction: str | ListConfig
    objective: str | ListConfig
    report: str
    report_direction: str
    n_trials: int
    seeds: int
    seed: int
    study_name: str | None
    storage: str | None
    heartbeat_s: int
    grace_s: int
    params: DictConfig
    sampler: DictConfig
    pruner: DictConfig

    def __post_init__(self) -> None:
        """Check the values."""
        for key in ("n_trials", "seeds", "heartbeat_s"):
            self._check(key, getattr(self, key) >= 1, "1 or more")
        self._check("grace_s", self.grace_s > self.heartbeat_s, "more than heartbeat_s")
        one_each = f"one for each of {', '.join(self.objectives)}"
        same_number = len(self.directions) == len(self.objectives)
        self._check("direction", same_number, one_each)
        options = " or ".join(DIRECTIONS)
        self._check("direction", set(self.directions) <= set(DIRECTIONS), options)
        self._check("report_direction", self.report_direction in DIRECTIONS, options)

    def _check(self, key: str, is_valid: bool, expected: str) -> None:
        if not is_valid:
            value = getattr(self, key)
            raise SweepError(f"hydra.sweeper.{key}={value}: expected {expected}")

    @property
    def objectives(self) -> list[str]:
        """Names of the results that the search optimises."""
        return _as_list(self.objective)

    @property
    def directions(self) -> list[str]:
        """`maximize` or `minimize`, one per objective."""
        return _as_list(self.direction)

    @property
    def at_a_time(self) -> int:
        """Runs at a time."""
        return self.n_jobs or n_threads(None)

    @property
    def run_seeds(self) -> list[int]:
        """The tuning seeds of a trial's runs."""
        try:
            return tuning_roots(self.seed, self.seeds)
        except ValueError as error:
            raise SweepError(f"hydra.sweeper.seeds={self.seeds}: {error}") from error


def _as_list(value: str | ListConfig) -> list[str]:
    return [value] if isinstance(value, str) else list(value)


def tune(
    context: SweepContext, settings: Settings, *, launcher: Launcher | None
) -> None:
    """Search until `n_trials` have ended, and print the results.

    Without a launcher, each job runs in its own process.

    Raises:
        So101Error: it cannot start, or three trials in a row fail for one reason.
    """
    if launcher is not None and settings.storage is not None:
        raise SweepError(
            f"hydra.sweeper.storage={settings.storage}: expected null with a launcher "
            "of Hydra's, because it sends no heartbeats to other workers"
        )
    plan, distributions = _plan(context, settings)
    sampler, size = make_sampler(settings, distributions)
    n_trials = min(settings.n_trials, size)
    if settings.dry_run:
        _show(context, settings, plan, distributions, n_trials)
        return
    url = settings.storage or sqlite_url(context.folder.absolute() / "study.db")
    check_url(url)  # before anything is written
    sweep = SweepDir.at(context.folder)
    with sweep.locked():
        what = _comparable(context, plan, distributions, settings)
        sweep.define(what, context.line)
        trials = _open_study(context, settings, url, what, n_trials)
        ask = partial(trials.ask, distributions, sampler, instantiate(settings.pruner))
        n_jobs = settings.at_a_time
        runner = make_runner(context.program(n_jobs), launcher, settings.timeout_s)
        heartbeat_s = settings.heartbeat_s
        with context.tracked(sweep, lambda: conclude(trials, sweep.path, plan)):
            print(f"sweep: {sweep.path} ({n_trials} trials, {n_jobs} runs at a time)")
            Search(plan, trials, ask, sweep.path, runner, n_jobs, heartbeat_s).run()


def _open_study(
    context: SweepContext,
    settings: Settings,
    url: str,
    what: Mapping[str, Any],
    n_trials: int,
) -> Trials:
    """Open or create the study, as a worker in the sweep's folder."""
    trials = Trials(
        url,
        settings.study_name or context.name,
        settings.directions,
        settings=what,
        folder=context.folder.absolute(),
        n_trials=n_trials,
        heartbeat_s=settings.heartbeat_s,
        grace_s=settings.grace_s,
    )
    trials.study.set_metric_names(settings.objectives)  # for the dashboard
    return trials


def _show(
    context: SweepContext,
    settings: Settings,
    plan: SearchPlan,
    distributions: "Distributions",
    n_trials: int,
) -> None:
    """Print the searched values and the estimated cost."""
    costs = CostEstimator(context.compose, context.program(settings.at_a_time))
    each = costs.of([*plan.fixed, f"seed={plan.seeds[0]}"])
    for key, one in distributions.items():
        print(f"{key:>24}  {one}")
    print(f"{n_trials} trials of {len(plan.seeds)} runs; at most, before pruning:")
    print(total([each] * (n_trials * len(plan.seeds)), settings.at_a_time))


def _plan(
    context: SweepContext, settings: Settings
) -> "tuple[SearchPlan, dict[str, BaseDistribution]]":
    """Return the plan and the values to try; typed ones replace those in `params`."""
    params = [f"{key!s}={value}" for key, value in settings.params.items()]
    items = {
        item.get_key_element(): item
        for item in [*context.parsed(params), *context.typed()]
    }
    if "seed" in items and items["seed"].is_sweep_override():
        raise SweepError(
            f"{items['seed'].input_line}: expected one value; the number of runs per "
            "trial is hydra.sweeper.seeds"
        )
    items.pop("seed", None)  # the root of the tuning seeds
    searched = [item for item in items.values() if item.is_sweep_override()]
    if not searched:
        raise SweepError("hydra.sweeper.params: expected a key with several values")
    fixed = [i.input_line or "" for i in items.values() if not i.is_sweep_override()]
    plan = SearchPlan(
        name=context.name,
        objectives=settings.objectives,
        report=settings.report,
        sign=1 if settings.report_direction == settings.directions[0] else -1,
        fixed=fixed,
        seeds=settings.run_seeds,
        total=int(context.config.total_timesteps),
    )
    distributions = space(searched)
    _check_ends(context, plan, distributions)
    return plan, distributions


def _check_ends(
    context: SweepContext, plan: SearchPlan, distributions: "Distributions"
) -> None:
    """Compose a run at both ends of the space, to find invalid values in advance."""
    for end in (0, -1):
        values = {}
        for key, one in distributions.items():
            # Optuna's numbers have `low` and `high`, its lists `choices`.
            ends = getattr(one, "choices", None) or (one.low, one.high)  # type: ignore[attr-defined]
            values[key] = ends[end]
        cfg = context.compose([*plan.fixed, *words(values), f"seed={plan.seeds[0]}"])
        if cfg.evaluation.role != "tune":
            raise SweepError(
                f"evaluation.role={cfg.evaluation.role}: expected tune, because a "
                "report must not use the episodes that chose the settings"
            )


def make_sampler(
    settings: Settings, distributions: "Distributions"
) -> "tuple[Callable[[int], BaseSampler], int]":
    """A function that makes the sampler of the n-th trial, and the number of trials.

    Each trial has a sampler with its own seed: a single sampler would repeat its first
    values when a search continues.
    """
    if settings.sampler._target_ == GRID:
        return _grid_sampler(distributions, settings.seed)

    def sampler(n: int) -> "BaseSampler":
        seed = (settings.seed * MIXER + n) % 2**32
        made: BaseSampler = instantiate(settings.sampler, seed=seed)
        return made

    return sampler, settings.n_trials


def _grid_sampler(
    distributions: "Distributions", seed: int
) -> "tuple[Callable[[int], BaseSampler], int]":
    """As `make_sampler`: the n-th trial is the n-th combination of a shuffled grid.

    Optuna's grid sampler is not used: it ends a search by stopping Optuna's own loop.
    """
    from optuna.samplers import PartialFixedSampler, RandomSampler

    rows = grid(distributions)
    random.Random(seed).shuffle(rows)

    def sampler(n: int) -> "BaseSampler":
        return PartialFixedSampler(rows[n % len(rows)], RandomSampler(seed))

    return sampler, len(rows)


def _comparable(
    context: SweepContext,
    plan: SearchPlan,
    distributions: "Distributions",
    settings: Settings,
) -> dict[str, Any]:
    """The settings that must be equal for trials to be comparable, by name."""
    searched = {f"search {key}": str(one) for key, one in distributions.items()}
    cfg = context.compose([*plan.fixed, f"seed={plan.seeds[0]}"])
    objectives = zip(settings.directions, plan.objectives, strict=True)
    return {
        **searched,
        **config_values(cfg, without=(*SAME_ARM, *distributions)),
        "objective": [f"{direction} {name}" for direction, name in objectives],
        "seeds": list(plan.seeds),
    }

"""Starts a search, or goes on with one."""

import random
from collections.abc import Callable, Mapping, Sequence
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
from so101rl.sweeps.mirrored import mirrored
from so101rl.sweeps.preview import costs, total
from so101rl.sweeps.progress import SweepProgress
from so101rl.sweeps.search.batches import in_batches
from so101rl.sweeps.search.search import Plan, Search
from so101rl.sweeps.search.space import grid, space, words
from so101rl.sweeps.search.storage import check, sqlite_url
from so101rl.sweeps.search.summary import conclude
from so101rl.sweeps.search.trials import Trials

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution
    from optuna.samplers import BaseSampler

GRID, NO_PRUNER = "optuna.samplers.GridSampler", "optuna.pruners.NopPruner"
DIRECTIONS = ("maximize", "minimize")
MIXER = 0x9E3779B1  # an odd number; spreads neighbouring seeds (Knuth's golden ratio)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The keys of `conf/hydra/sweeper/optuna.yaml`, where their meaning stands."""

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
        """Refuse what cannot work."""
        for key, least in (("n_trials", 1), ("seeds", 1), ("heartbeat_s", 1)):
            if getattr(self, key) < least:
                raise SweepError(f"hydra.sweeper.{key}: right is {least} or more")
        if self.grace_s <= self.heartbeat_s:
            raise SweepError(
                f"hydra.sweeper.grace_s={self.grace_s}: right is more than heartbeat_s"
            )
        if len(self.directions) != len(self.objectives):
            raise SweepError(
                f"hydra.sweeper.direction={self.directions}: right is one for each of "
                f"{', '.join(self.objectives)}"
            )
        ways = [("direction", one) for one in self.directions]
        for key, one in [*ways, ("report_direction", self.report_direction)]:
            if one not in DIRECTIONS:
                raise SweepError(
                    f"hydra.sweeper.{key}={one}: right are maximize and minimize"
                )

    @property
    def objectives(self) -> list[str]:
        """Names of the results that count."""
        return _several(self.objective)

    @property
    def directions(self) -> list[str]:
        """One per objective."""
        return _several(self.direction)


def tune(
    call: SweepContext, settings: Settings, *, through: Launcher | None = None
) -> None:
    """Search until `n_trials` have ended, and say what was found.

    Args:
        call: what was typed.
        settings: of the sweeper.
        through: what runs the jobs, some trials at a time; None: our own processes.

    Raises:
        So101Error: it cannot start, or the same failure came three times in a row.
    """
    if through is not None and settings.storage is not None:
        raise SweepError(
            "hydra.sweeper.storage: a launcher of Hydra's gives no sign of life to "
            "others; right is a storage of its own (null)"
        )
    distributions, fixed = _told(call, settings)
    plan = Plan(
        name=call.name,
        objectives=settings.objectives,
        report=settings.report,
        sign=1 if settings.report_direction == settings.directions[0] else -1,
        fixed=fixed,
        seeds=_seeds(settings),
        total=int(call.config.total_timesteps),
    )
    _check(call, plan, distributions)
    sampler, size = _sampler(settings, distributions)
    n_trials = min(settings.n_trials, size)
    n_jobs = settings.n_jobs or n_threads(None)
    if settings.dry_run:
        told = [*plan.fixed, f"seed={plan.seeds[0]}"]
        each = costs(told, call.compose, call.program(n_jobs))
        for key, one in distributions.items():
            print(f"{key:>24}  {one}")
        print(f"{n_trials} trials of {len(plan.seeds)} runs; at most, before pruning:")
        print(total([each] * (n_trials * len(plan.seeds)), n_jobs))
        return
    what = _what(call, plan, distributions, settings)
    url = settings.storage or sqlite_url(call.folder.absolute() / "study.db")
    check(url)  # before it is written down
    sweep = SweepDir.at(call.folder)
    with sweep.locked():
        sweep.define(what, call.line)
        trials = Trials(
            url,
            settings.study_name or call.name,
            settings.directions,
            what=what,
            folder=sweep.path,
            n_trials=n_trials,
            heartbeat_s=settings.heartbeat_s,
            grace_s=settings.grace_s,
        )
        trials.study.set_metric_names(settings.objectives)  # for the dashboard
        pruner = instantiate(settings.pruner)
        print(f"sweep: {sweep.path} ({n_trials} trials, {n_jobs} runs at a time)")
        left = (n_trials - len(trials.finished())) * len(plan.seeds)
        with (
            mirrored(call, sweep, lambda: conclude(trials, sweep.path, plan)),
            SweepProgress(call.name, left, n_jobs) as board,
        ):
            ask = partial(trials.ask, distributions, sampler, pruner)
            program = call.program(n_jobs)
            if through is not None:
                in_batches(plan, trials, ask, sweep.path, program, through, n_jobs)
            else:
                Search(
                    plan,
                    trials,
                    ask,
                    sweep.path,
                    program,
                    board,
                    n_jobs=n_jobs,
                    timeout_s=settings.timeout_s,
                    heartbeat_s=settings.heartbeat_s,
                ).run()


def _seeds(settings: Settings) -> list[int]:
    """The tuning seeds."""
    try:
        return tuning_roots(settings.seed, settings.seeds)
    except ValueError as error:
        raise SweepError(f"hydra.sweeper.seeds: {error}") from error


def _told(
    call: SweepContext, settings: Settings
) -> "tuple[dict[str, BaseDistribution], list[str]]":
    """What is searched, and what every run is told; what was typed wins."""
    items = {
        item.get_key_element(): item
        for item in call.parsed([f"{key!s}={v}" for key, v in settings.params.items()])
    }
    items |= {item.get_key_element(): item for item in call.typed()}
    if "seed" in items and items["seed"].is_sweep_override():
        raise SweepError(
            "seed: a search has tuning seeds; right is hydra.sweeper.seeds"
        )
    items.pop("seed", None)  # the root of the tuning seeds
    searched = [item for item in items.values() if item.is_sweep_override()]
    if not searched:
        raise SweepError("hydra.sweeper.params: nothing to search")
    lines = [i.input_line for i in items.values() if not i.is_sweep_override()]
    return space(searched), [line for line in lines if line is not None]


def _check(
    call: SweepContext, plan: Plan, distributions: "Mapping[str, BaseDistribution]"
) -> None:
    """Compose a run at both ends of the space: better now than by every trial."""
    for end in (0, -1):
        values = {key: _ends(one)[end] for key, one in distributions.items()}
        cfg = call.compose([*plan.fixed, *words(values), f"seed={plan.seeds[0]}"])
        if cfg.evaluation.role != "tune":
            raise SweepError(
                f"evaluation.role={cfg.evaluation.role}: right is tune; settings "
                "chosen by the episodes of a report make that report worthless"
            )


def _ends(distribution: "BaseDistribution") -> list[Any]:
    """The first and the last value of a distribution."""
    if hasattr(distribution, "choices"):
        return list(distribution.choices)
    return [distribution.low, distribution.high]  # type: ignore[attr-defined]


def _sampler(
    settings: Settings, distributions: "Mapping[str, BaseDistribution]"
) -> "tuple[Callable[[int], BaseSampler], int]":
    """What makes the sampler of the n-th trial, and how many there can be.

    It is made anew each time, with a seed of that trial: a sampler that lives on would
    begin again with its first values when a sweep goes on.
    """
    if settings.sampler._target_ == GRID:
        return _grid(distributions, settings.seed)

    def sampler(n: int) -> "BaseSampler":
        seed = (settings.seed * MIXER + n) % 2**32
        made: BaseSampler = instantiate(settings.sampler, seed=seed)
        return made

    return sampler, settings.n_trials


def _grid(
    distributions: "Mapping[str, BaseDistribution]", seed: int
) -> "tuple[Callable[[int], BaseSampler], int]":
    """The same for a grid: the n-th trial is the n-th combination, in a mixed order.

    Optuna's own sampler wants to end a search by itself, which only its own loop lets.
    """
    from optuna.samplers import PartialFixedSampler, RandomSampler

    rows = grid(distributions)
    random.Random(seed).shuffle(rows)

    def sampler(n: int) -> "BaseSampler":
        return PartialFixedSampler(rows[n % len(rows)], RandomSampler(seed))

    return sampler, len(rows)


def _what(
    call: SweepContext,
    plan: Plan,
    distributions: "Mapping[str, BaseDistribution]",
    settings: Settings,
) -> dict[str, Any]:
    """All that makes trials comparable, by name."""
    searched = {f"search {key}": str(one) for key, one in distributions.items()}
    told = call.compose([*plan.fixed, f"seed={plan.seeds[0]}"])
    return {
        **searched,
        **config_values(told, without=(*SAME_ARM, *distributions)),
        "objective": [
            f"{way} {name}"
            for way, name in zip(settings.directions, plan.objectives, strict=True)
        ],
        "seeds": list(plan.seeds),
    }


def _several(value: Sequence[str] | str) -> list[str]:
    """One value, or a list of them, as a list."""
    return [value] if isinstance(value, str) else list(value)

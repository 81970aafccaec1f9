"""The rows of a report's table, one per arm and base, computed from the episodes."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from so101rl.files import FileError
from so101rl.report.held_out import check_episodes, check_root, check_same_number
from so101rl.report.record import EpisodesByRun, RunRecord, StudyRecord
from so101rl.runs.metrics import Metric, ScoreError, base_of
from so101rl.statistics import (
    BASE,
    MIN_SEEDS,
    Interval,
    StatisticsError,
    iqm_interval,
    shape_warning,
    t_interval,
    wilson,
)

ARM, WORST = "arm", "worst"  # kinds of row; the third is BASE
T, WILSON = "t", "wilson"  # kinds of interval; empty: there is none
PRELIMINARY, INCOMPLETE, DEVIATES = "PRELIMINARY", "INCOMPLETE", "DEVIATES"
ValuesByArm = Mapping[str, Mapping[int, float]]  # the metric by arm and seed


@dataclass(frozen=True)
class Row:
    """The result of one arm, or of one base; it is part of `report.json`.

    Attributes:
        arm: name of the arm; empty for a base.
        kind: `arm`, `base`, or `worst`: an arm whose failed seeds count as worst.
        values: the metric by seed.
        runs: uid of each value's run, by seed; empty for a missing run.
        of: number of planned seeds.
        episodes: distinct numbers of episodes that the runs played.
        env_steps: distinct numbers of steps that the runs took.
        mean: mean over the seeds; None without any.
        low: lower end of its 95 % interval; None if there is no interval.
        by: kind of that interval.
        iqm: interquartile mean over the seeds.
        iqm_low: lower end of its 95 % interval; None if the middle half are all equal.
        odd: why the interval may cover too little; empty if no reason is seen.
    """

    name: str
    arm: str
    kind: str
    values: dict[int, float]
    runs: dict[int, str]
    of: int
    episodes: list[int]
    env_steps: list[int]
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    by: str = ""
    iqm: float | None = None
    iqm_low: float | None = None
    iqm_high: float | None = None
    odd: str = ""
    marks: list[str] = field(default_factory=list)


def read_values(study: StudyRecord, episodes: EpisodesByRun) -> ValuesByArm:
    """Compute the study's metric from the episodes, by arm and seed.

    Raises:
        So101Error: the episodes are not those that a report may use.
    """
    policy, metric = study.policy_and_metric
    for record in study.records:
        check_root(record)
    values: dict[str, dict[int, float]] = {arm: {} for arm in study.arms}
    for record in study.results:
        run = f"{record.folder} ({record.run})"
        own = episodes.get(record.uid, {})
        for name in (policy, base_of(policy)):
            if name not in own:
                raise FileError(f"{run}: no episodes of {name}")
        check_episodes(record, own)
        value = metric.read(own[policy])
        if value is None:
            raise ScoreError(f"{run} has no {study.metric}")
        values[record.arm][record.seed] = value
    check_same_number(study, episodes)
    return values


def with_worst(
    study: StudyRecord, arm: str, values: Mapping[int, float]
) -> dict[int, float]:
    """Return an arm's values, with the worst possible one for every failed seed."""
    worst = study.policy_and_metric[1].worst
    if worst is None:
        return dict(values)
    failed = dict.fromkeys(study.failed_seeds(arm), worst)
    return dict(sorted({**values, **failed}.items()))


def rows(study: StudyRecord, episodes: EpisodesByRun, values: ValuesByArm) -> list[Row]:
    """Return the rows of the table: bases, then the arms in their order."""
    policy, metric = study.policy_and_metric
    found = list(_base_rows(study, episodes, metric, base_of(policy)))
    for arm, own in values.items():
        records, planned = study.results_of(arm), len(study.arms[arm])
        found.append(_row((arm, arm, ARM), own, records, metric, planned))
        if study.failed_seeds(arm) and metric.worst is not None:
            worst = f"{metric.shown(metric.worst)} {metric.unit}".strip()
            head = (f"{arm}, failed seeds as {worst}", arm, WORST)
            all_values = with_worst(study, arm, own)
            row = _row(head, all_values, records, metric, planned)
            uids = {one.seed: one.uid for one in study.records if one.arm == arm}
            uids |= {one.seed: one.uid for one in records}  # a result takes precedence
            found.append(replace(row, runs=uids))
    return found


def _row(
    head: tuple[str, str, str],
    values: Mapping[int, float],
    records: Sequence[RunRecord],
    metric: Metric,
    planned: int,
) -> Row:
    """Return a row from its name, arm and kind, its values and their runs."""
    uids = {record.seed: record.uid for record in records}
    episodes = sorted({record.n_episodes or 0 for record in records})
    row = Row(
        *head,
        values=dict(values),
        runs={seed: uids.get(seed, "") for seed in values},
        of=planned,
        episodes=episodes,
        env_steps=sorted({record.env_steps or 0 for record in records}),
    )
    if row.kind != BASE:
        row.marks.extend(_marks(values, planned, records))
    if not values:
        return row
    numbers = across_seeds(values, episodes, metric) | _interquartile(values)
    return replace(row, **numbers, odd=odd_shape(values))


def _marks(
    values: Mapping[int, float], planned: int, records: Sequence[RunRecord]
) -> Iterator[str]:
    if len(records) < MIN_SEEDS:
        yield PRELIMINARY
    if len(values) < planned:
        yield INCOMPLETE
    if any(record.deviates for record in records):
        yield DEVIATES


def across_seeds(
    values: Mapping[int, float], episodes: Sequence[int], metric: Metric
) -> dict[str, Any]:
    """Return the mean over seeds, its interval and the kind of it, as fields of `Row`.

    Usually it is the t interval over the seed means. With a single seed, or if all seed
    means are equal, it is the Wilson interval of one seed with the smallest number of
    episodes, because a t interval would have no width.
    """
    if not values:
        return {}
    if len(set(values.values())) > 1:
        found, by = t_interval(values), T
    else:
        value = next(iter(values.values()))
        if metric.title != "success" or not episodes:
            return {"mean": value}
        n = min(episodes)
        found, by = Interval(value, *wilson(round(value * n), n)), WILSON
    return {"mean": found.mean, "low": found.low, "high": found.high, "by": by}


def odd_shape(values: Mapping[int, float]) -> str:
    """Return why a t interval of different values may cover too little, or ''."""
    shape = shape_warning(values) if len(values) > 1 else None
    return "" if shape in (None, "constant") else shape


def _interquartile(values: Mapping[int, float]) -> dict[str, Any]:
    """Return the interquartile mean, with an interval if the middle half differ."""
    try:
        found = iqm_interval(values)
    except StatisticsError:
        return {"iqm": median(values.values())}  # the middle half all have this value
    return {"iqm": found.mean, "iqm_low": found.low, "iqm_high": found.high}


def _base_rows(
    study: StudyRecord, episodes: EpisodesByRun, metric: Metric, base: str
) -> Iterator[Row]:
    """Yield a row per base; arms whose bases played the same episodes share a row."""
    groups: list[tuple[list[str], dict[int, RunRecord]]] = []
    for arm in study.arms:
        own = {record.seed: record for record in study.results_of(arm)}
        for arms, shared in groups:
            both = shared.keys() & own
            if both and all(
                shared[seed].base == own[seed].base
                and episodes[shared[seed].uid][base] == episodes[own[seed].uid][base]
                for seed in both
            ):
                arms.append(arm)
                shared |= {seed: own[seed] for seed in own.keys() - shared.keys()}
                break
        else:
            groups.append(([arm], own))
    labels = [next(iter(own.values())).base if own else "" for _, own in groups]
    for (arms, own), label in zip(groups, labels, strict=True):
        values = {
            seed: value
            for seed in sorted(own)
            if (value := metric.read(episodes[own[seed].uid][base])) is not None
        }
        if not values or len(values) < len(own):
            continue
        name = f"base: {label}"
        if labels.count(label) > 1:
            name += f" in {', '.join(arms)}"
        yield _row((name, "", BASE), values, [*own.values()], metric, len(values))

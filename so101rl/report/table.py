"""The numbers of a report: a row per arm, a comparison per arm with the reference."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any, NamedTuple

from so101rl.report.held_out import Played, check_episodes, check_root, check_same
from so101rl.report.raw import own_episodes
from so101rl.report.record import Record, Study
from so101rl.runs.metrics import Measure, ScoreError, base_of, measure_of
from so101rl.statistics import (
    BASE,
    MIN_SEEDS,
    Interval,
    StatisticsError,
    iqm_interval,
    oddity,
    t_interval,
    wilson,
)

ARM, WORST = "arm", "worst"  # kinds of row; the third is BASE
T, WILSON = "t", "wilson"  # what an interval is; empty: there is none
PRELIMINARY, INCOMPLETE, DEVIATES = "PRELIMINARY", "INCOMPLETE", "DEVIATES"


@dataclass(frozen=True)
class Row:
    """What one arm, or one base, reached.

    Attributes:
        arm: that it is a row of; empty for a base.
        kind: `arm`, `base`, or `worst`: an arm whose failed seeds count as worst.
        values: the metric by seed.
        runs: uid by seed of the run behind each value; empty for a lost seed.
        of: how many seeds there should be.
        episodes: that the runs played, each number once.
        env_steps: that the runs took, each number once.
        mean: over the seeds; None without any.
        low: of its 95 % interval; None if there is none.
        by: which interval it is.
        iqm: interquartile mean over the seeds.
        iqm_low: of its 95 % interval; None where the middle half are all equal.
        odd: why the interval may cover too little; empty: nothing is seen.
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


@dataclass(frozen=True)
class Scores:
    """A study's values, by arm and seed.

    Attributes:
        measure: what is measured.
        values: of the metric's policy.
    """

    measure: Measure
    values: dict[str, dict[int, float]]

    def worst(self, study: Study, arm: str) -> dict[int, float]:
        """The arm's values, with the worst one for every seed that failed."""
        assert self.measure.worst is not None
        failed = dict.fromkeys(study.failed(arm), self.measure.worst)
        return dict(sorted((self.values[arm] | failed).items()))


def scores(study: Study, played: Played) -> Scores:
    """Read the metric out of the episodes, and nothing else.

    Raises:
        StudyError: the episodes are not those that a report may use.
    """
    policy, measure = measure_of(study.metric)
    for record in study.records:
        check_root(record)
    values: dict[str, dict[int, float]] = {arm: {} for arm in study.arms}
    for arm in study.arms:
        for record in study.of(arm):
            own = own_episodes(record, played, {policy, base_of(policy)})
            check_episodes(record, own)
            value = measure.read(own[policy])
            if value is None:
                raise ScoreError(
                    f"{record.folder} ({record.run}) has no {study.metric}"
                )
            values[arm][record.seed] = value
    check_same(study, played)
    return Scores(measure, values)


def rows(study: Study, played: Played, found: Scores) -> list[Row]:
    """The rows of the table: bases, then the arms in their order."""
    base = base_of(measure_of(study.metric)[0])
    listed = list(_base_rows(study, played, found.measure, base))
    for arm, values in found.values.items():
        records, of = study.of(arm), len(study.arms[arm])
        plain = _Head(arm, arm, ARM, of)
        listed.append(_row(plain, values, records, found.measure))
        if study.failed(arm) and found.measure.worst is not None:
            worst = f"{found.measure.shown(found.measure.worst)} {found.measure.unit}"
            head = _Head(f"{arm}, failed seeds as {worst.strip()}", arm, WORST, of)
            row = _row(head, found.worst(study, arm), records, found.measure)
            behind = {one.seed: one.uid for one in study.records if one.arm == arm}
            behind |= {one.seed: one.uid for one in records}  # of those that count
            listed.append(replace(row, runs=behind))
    return listed


class _Head(NamedTuple):
    """What a row is, before its numbers; see `Row`."""

    name: str
    arm: str
    kind: str
    of: int


def _row(
    head: _Head,
    values: Mapping[int, float],
    records: Sequence[Record],
    measure: Measure,
) -> Row:
    uids = {record.seed: record.uid for record in records}
    episodes = sorted({record.n_episodes or 0 for record in records})
    row = Row(
        name=head.name,
        arm=head.arm,
        kind=head.kind,
        values=dict(values),
        runs={seed: uids.get(seed, "") for seed in values},
        of=head.of,
        episodes=episodes,
        env_steps=sorted({record.env_steps or 0 for record in records}),
        marks=[] if head.kind == BASE else list(_marks(values, head.of, records)),
    )
    if not values:
        return row
    look = oddity(values) if len(values) > 1 else None
    return replace(
        row,
        **across_seeds(values, episodes, measure),
        **_middle(values),
        odd=look if look not in (None, "constant") else "",
    )


def _marks(
    values: Mapping[int, float], of: int, records: Sequence[Record]
) -> Iterator[str]:
    if len(records) < MIN_SEEDS:
        yield PRELIMINARY
    if len(values) < of:
        yield INCOMPLETE
    if any(record.deviates for record in records):
        yield DEVIATES


def across_seeds(
    values: Mapping[int, float], episodes: Sequence[int], measure: Measure
) -> dict[str, Any]:
    """T over seed means; Wilson within one seed where the seeds do not differ.

    Equal seed means give t no width, though their episodes are as few as ever. This
    is the rule for one seed, and for a base without chance on the same episodes.
    """
    if not values:
        return {}
    if len(set(values.values())) > 1:
        found, by = t_interval(values), T
    else:
        (value,) = set(values.values())
        if measure.title != "success" or not episodes:
            return {"mean": value}
        n = min(episodes)
        found, by = Interval(value, *wilson(round(value * n), n)), WILSON
    return {"mean": found.mean, "low": found.low, "high": found.high, "by": by}


def _middle(values: Mapping[int, float]) -> dict[str, Any]:
    """The interquartile mean; without interval where the middle seeds do not differ."""
    try:
        found = iqm_interval(values)
    except StatisticsError:
        return {"iqm": median(values.values())}  # which is what they all are
    return {"iqm": found.mean, "iqm_low": found.low, "iqm_high": found.high}


def _base_rows(
    study: Study, played: Played, measure: Measure, base: str
) -> Iterator[Row]:
    """A row per base; arms whose base played the very same episodes share it."""
    groups: list[tuple[list[str], dict[int, Record]]] = []
    for arm in study.arms:
        own = {record.seed: record for record in study.of(arm)}
        for arms, shared in groups:
            both = shared.keys() & own
            if both and all(_same_base(shared[s], own[s], played, base) for s in both):
                arms.append(arm)
                shared |= {seed: own[seed] for seed in own.keys() - shared.keys()}
                break
        else:
            groups.append(([arm], own))
    labels = [next(iter(own.values())).base if own else "" for _, own in groups]
    for (arms, own), label in zip(groups, labels, strict=True):
        values = {
            seed: measure.read(played[own[seed].uid][base]) for seed in sorted(own)
        }
        known = {seed: value for seed, value in values.items() if value is not None}
        if not known or len(known) < len(values):
            continue
        name = f"base: {label}"
        if labels.count(label) > 1:
            name += f" in {', '.join(arms)}"
        head = _Head(name, "", BASE, len(known))
        yield _row(head, known, list(own.values()), measure)


def _same_base(one: Record, two: Record, played: Played, base: str) -> bool:
    return one.base == two.base and played[one.uid][base] == played[two.uid][base]

"""Compares the arms with their reference by the registered test."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from so101rl.report.record import StudyRecord
from so101rl.report.table import ValuesByArm, odd_shape, with_worst
from so101rl.statistics import (
    Comparison,
    Verdict,
    paired_test,
    plan,
    seeds_needed,
    verdicts,
)
from so101rl.statistics.multiple_comparisons import UNDECIDED, too_few_pairs

LEAST_PAIRS = 2  # for a difference with an interval
WITHHELD = "withheld"  # decision if planned runs are missing


@dataclass(frozen=True)
class ArmComparison:
    """An arm against the reference, in the metric's unit; part of `report.json`.

    `statistics.Comparison` and `statistics.Plan` describe the other fields.

    Attributes:
        seeds: seeds that both arms have.
        difference: mean of arm minus reference; None below two pairs.
        adjusted_p: p adjusted for all comparisons of the study.
        decision: as in `statistics.Verdict`, or `withheld`.
        verdict: the decision in words.
        detectable: None unless undecided, like `seeds_for`.
        odd: why the interval may cover too little; empty if no reason is seen.
    """

    arm: str
    reference: str
    seeds: list[int]
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    sd: float | None = None
    p: float | None = None
    exact: bool | None = None
    adjusted_p: float | None = None
    effect: float | None = None
    improvement: float | None = None
    improvement_low: float | None = None
    improvement_high: float | None = None
    decision: str = WITHHELD
    verdict: str = ""
    detectable: float | None = None
    seeds_for: int | None = None
    odd: str = ""


def compare_with_reference(
    study: StudyRecord, values: ValuesByArm
) -> list[ArmComparison]:
    """Compare every arm with the reference; empty if there is no reference.

    Failed seeds of an arm count as worst. Those of the reference are left out, because
    counting them as worst would make the arms look better. If a run is missing or was
    stopped, there is no claim, because it may still finish.
    """
    if not study.reference:
        return []
    reference = values[study.reference]
    pairs, tests = {}, {}
    for arm in study.arms:
        if arm == study.reference:
            continue
        own = with_worst(study, arm, values[arm])
        both = sorted(own.keys() & reference.keys())
        pairs[arm] = {seed: (own[seed], reference[seed]) for seed in both}
        if len(both) >= LEAST_PAIRS:
            tests[arm] = paired_test(
                {seed: own[seed] for seed in both},
                {seed: reference[seed] for seed in both},
            )
    # An incomplete comparison gets no verdict, so it takes no rank among the p values.
    complete = {arm: one for arm, one in tests.items() if one.n == len(study.arms[arm])}
    decided = verdicts(complete, study.significance, registered=len(pairs))
    return [
        _comparison(study, arm, own, tests.get(arm), decided.get(arm))
        for arm, own in pairs.items()
    ]


def _comparison(
    study: StudyRecord,
    arm: str,
    pairs: Mapping[int, tuple[float, float]],
    test: Comparison | None,
    verdict: Verdict | None,
) -> ArmComparison:
    comparisons, seeds = len(study.arms) - 1, list(pairs)
    decision, text = WITHHELD, "no claim: runs are missing"
    if verdict is not None:
        _, metric = study.policy_and_metric
        text = verdict.describe(study.reference, metric.above, metric.below)
        decision = verdict.decision
    elif len(seeds) == len(study.arms[arm]):
        needed = seeds_needed(comparisons, study.significance)
        text = too_few_pairs(len(seeds), needed)
    found = ArmComparison(arm, study.reference, seeds, decision=decision, verdict=text)
    if test is None:
        return found
    planned: dict[str, Any] = {}
    if decision == UNDECIDED:
        planned = plan(test, comparisons, study.significance)._asdict()
    return replace(
        found,
        difference=test.difference.mean,
        low=test.difference.low,
        high=test.difference.high,
        sd=test.sd,
        p=test.p,
        exact=test.exact,
        adjusted_p=verdict.p if verdict is not None else None,
        effect=test.effect,
        improvement=test.improvement.mean,
        improvement_low=test.improvement.low,
        improvement_high=test.improvement.high,
        **planned,
        odd=odd_shape({seed: own - other for seed, (own, other) in pairs.items()}),
    )

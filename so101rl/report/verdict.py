"""What may be said of the arms against their reference, by the registered test."""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from so101rl.report.record import Study
from so101rl.report.table import Scores
from so101rl.statistics import (
    Comparison,
    StatisticsError,
    Verdict,
    detectable,
    oddity,
    paired_test,
    seeds_for,
    seeds_needed,
    verdicts,
)

LEAST_PAIRS = 2  # that have a difference with an interval
WITHHELD = "withheld"  # decision where runs are missing that the test was promised
UNDECIDED = "undecided"


@dataclass(frozen=True)
class Compared:
    """An arm against the reference, seed by seed; all numbers in the metric's unit.

    Attributes:
        seeds: that both have.
        difference: mean of arm minus reference; None below two pairs.
        p: of the registered test, and
        adjusted_p: adjusted for all comparisons of the study.
        effect: Cohen's d_z; None where all differences are equal.
        improvement: P(a seed of the arm > any seed of the reference).
        decision: as in `statistics.Verdict`, or `withheld`.
        verdict: in words.
        detectable: difference that so many pairs show with 80 % power; None unless
            undecided.
        seeds_for: pairs that show the observed difference with 80 % power; likewise.
        odd: why the interval may cover too little; empty: nothing is seen.
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


def compared_with_reference(study: Study, found: Scores) -> list[Compared]:
    """Compare every arm with the reference; nothing where none is registered.

    Seeds of an arm that failed count as worst. Those of the reference cannot, since
    that would make the arms look better; and a run that is missing, or was stopped, may
    still come to its end: then there is no claim at all.
    """
    if not study.reference:
        return []
    reference = found.values[study.reference]
    pairs = {}
    for arm in study.arms:
        own = found.values[arm]
        if found.measure.worst is not None:
            own = found.worst(study, arm)
        both = sorted(own.keys() & reference.keys())
        if arm != study.reference:
            pairs[arm] = [
                {seed: side[seed] for seed in both} for side in (own, reference)
            ]
    tested = {
        arm: paired_test(own, other)
        for arm, (own, other) in pairs.items()
        if len(own) >= LEAST_PAIRS
    }
    # What may get no verdict takes no rank among the p values either.
    whole = {arm: one for arm, one in tested.items() if one.n == len(study.arms[arm])}
    decided = verdicts(whole, study.significance, registered=len(pairs))
    return [
        _compared(study, found, arm, pairs[arm], tested.get(arm), decided.get(arm))
        for arm in pairs
    ]


def _compared(
    study: Study,
    found: Scores,
    arm: str,
    pair: Sequence[Mapping[int, float]],
    one: Comparison | None,
    verdict: Verdict | None,
) -> Compared:
    own, other = pair
    seeds, name = sorted(own), study.reference
    decision, text = WITHHELD, "no claim: runs are missing"
    if verdict is not None:
        decision, text = verdict.decision, _words(verdict, study, found)
    elif len(seeds) == len(study.arms[arm]):
        least = seeds_needed(len(study.arms) - 1, study.significance)
        text = f"no claim: {len(seeds)} paired seeds, it takes {least}"
    if one is None:
        return Compared(arm, name, seeds, verdict=text)
    differences = {seed: own[seed] - other[seed] for seed in seeds}
    look = oddity(differences)
    return Compared(
        arm,
        name,
        seeds,
        difference=one.difference.mean,
        low=one.difference.low,
        high=one.difference.high,
        sd=one.sd,
        p=one.p,
        exact=one.exact,
        adjusted_p=verdict.p if verdict is not None else None,
        effect=one.effect,
        improvement=one.improvement.mean,
        improvement_low=one.improvement.low,
        improvement_high=one.improvement.high,
        decision=decision,
        verdict=text,
        **(_planned(one, study) if decision == UNDECIDED else {}),
        odd=look if look not in (None, "constant") else "",
    )


def _words(verdict: Verdict, study: Study, found: Scores) -> str:
    """The verdict in a few words; the arm stands beside them."""
    words = {"better": found.measure.above, "worse": found.measure.below}
    if verdict.decision in words:
        return f"{words[verdict.decision]} than {study.reference}"
    if verdict.decision == UNDECIDED:
        return "no difference shown"
    return f"no claim: {verdict.comparison.n} paired seeds, it takes {verdict.needed}"


def _planned(one: Comparison, study: Study) -> dict[str, Any]:
    """What these pairs could have shown, and how many the difference would take.

    At the level that Holm gives the smallest p: an arm may need less, never more.
    """
    comparisons = len(study.arms) - 1
    level = study.significance / comparisons
    plan: dict[str, Any] = {}
    if one.effect is None:  # all differences are equal: nothing to plan with
        return plan
    if one.n >= seeds_needed(comparisons, study.significance):
        plan["detectable"] = detectable(one.n, one.sd, alpha=level)
    with suppress(StatisticsError):  # a difference of nearly 0 takes too many to count
        plan["seeds_for"] = seeds_for(one.difference.mean, one.sd, alpha=level)
    return plan

"""Power of the paired t test: detectable differences and numbers of seeds."""

import math
from bisect import bisect_left
from contextlib import suppress
from typing import NamedTuple

from so101rl.statistics.multiple_comparisons import seeds_needed
from so101rl.statistics.paired_test import Comparison
from so101rl.statistics.seed_means import StatisticsError, check_share

MOST = 10**9  # largest number of seeds that is considered
LARGEST = 100.0  # effect [standard deviations]; any test shows it


class Plan(NamedTuple):
    """What an undecided comparison could have shown; None if it is unknown.

    Attributes:
        detectable: difference that its number of pairs shows with 80 % power.
        seeds_for: pairs that show the observed difference with 80 % power.
    """

    detectable: float | None = None
    seeds_for: int | None = None


def plan(comparison: Comparison, comparisons: int = 1, alpha: float = 0.05) -> Plan:
    """Return what a comparison could have shown.

    Uses the level `alpha / comparisons`, at which Holm's method tests the smallest p.
    The comparison may need fewer pairs than `seeds_for`, but never more.

    Args:
        comparison: undecided comparison.
        comparisons: number of comparisons in the study.
        alpha: probability of any false claim among them.
    """
    if comparison.effect is None:  # all differences are equal: there is no spread
        return Plan()
    n, sd, level = comparison.n, comparison.sd, alpha / comparisons
    is_enough = n >= seeds_needed(comparisons, alpha)
    pairs = None
    with suppress(StatisticsError):  # a difference of nearly 0 takes too many to count
        pairs = seeds_for(comparison.difference.mean, sd, alpha=level)
    return Plan(detectable(n, sd, alpha=level) if is_enough else None, pairs)


def detectable(n: int, sd: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Return the smallest difference that n paired seeds show with this power.

    Computed for the paired t test, from the noncentral t distribution.

    Args:
        n: paired seeds, at least `seeds_needed(1, alpha)`.
        sd: standard deviation of the differences, in the unit of the result.
        power: probability that the test shows the difference.
        alpha: level of the test, two-sided; divide by the number of comparisons.
    """
    from scipy.optimize import brentq

    _check(sd, power, alpha)
    needed = seeds_needed(1, alpha)
    if n < needed:
        raise StatisticsError(f"n={n}: expected {needed} or more at alpha={alpha}")
    # In standard deviations: at 0 the power is alpha / 2, at the end it is 1.
    effect = brentq(lambda effect: t_power(n, effect, alpha) - power, 0, LARGEST)
    return float(effect) * sd


def seeds_for(
    difference: float, sd: float, power: float = 0.8, alpha: float = 0.05
) -> int:
    """Return the number of paired seeds that show a difference with this power.

    It is at least `seeds_needed(1, alpha)`: with fewer, the sign-flip test decides
    nothing.

    Args:
        difference: mean difference between the arms; its sign does not matter.
        sd: standard deviation of the differences, in the same unit.
        power: probability that the test shows the difference.
        alpha: level of the test, two-sided; divide by the number of comparisons.
    """
    _check(sd, power, alpha)
    if difference == 0 or not math.isfinite(difference):
        raise StatisticsError(
            f"difference={difference}: expected a finite number other than 0"
        )
    effect = abs(difference) / sd
    candidates = range(seeds_needed(1, alpha), MOST + 1)
    place = bisect_left(
        candidates, True, key=lambda n: t_power(n, effect, alpha) >= power
    )
    if place == len(candidates):
        raise StatisticsError(
            f"a difference of {difference} with sd {sd} takes more than {MOST} seeds"
        )
    return candidates[place]


def t_power(n: int, effect: float, alpha: float) -> float:
    """Return the power of a two-sided paired t test of n pairs at the level alpha.

    `effect` is the true mean difference in standard deviations, not negative.
    """
    from scipy.stats import nct, t

    return float(nct.sf(t.ppf(1 - alpha / 2, n - 1), n - 1, effect * math.sqrt(n)))


def _check(sd: float, power: float, alpha: float) -> None:
    check_share("alpha", alpha)
    if not alpha < power < 1:
        raise StatisticsError(
            f"power={power}: expected a number between alpha={alpha} and 1"
        )
    if not 0 < sd < math.inf:
        raise StatisticsError(f"sd={sd}: expected a finite number above 0")

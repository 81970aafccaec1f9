"""Power of the paired t test: detectable differences and numbers of seeds."""

import math
from bisect import bisect_left
from contextlib import suppress
from typing import NamedTuple

from so101rl.statistics.multiple_comparisons import seeds_needed
from so101rl.statistics.paired_test import Comparison
from so101rl.statistics.seed_means import StatisticsError, check_share

MOST = 10**9  # largest number of seeds that is considered
LARGEST = 100.0  # effect [standard deviations] that any test shows


class Plan(NamedTuple):
    """What an undecided comparison can show with 80 % power; None: unknown.

    Attributes:
        detectable: smallest difference that its number of pairs shows.
        seeds_for: number of pairs that show a difference as large as observed.
    """

    detectable: float | None = None
    seeds_for: int | None = None


def plan(comparison: Comparison, comparisons: int = 1, alpha: float = 0.05) -> Plan:
    """Return the detectable difference and the needed seeds of a comparison.

    Uses the level `alpha / comparisons`, at which Holm's method tests the smallest p.
    This level is the strictest, so `seeds_for` may be larger than necessary.

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
    with suppress(StatisticsError):  # a difference near 0 needs too many
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
    # The power is alpha / 2 at an effect of 0, and 1 at LARGEST.
    effect = brentq(lambda effect: t_power(n, effect, alpha) - power, 0, LARGEST)
    return float(effect) * sd


def seeds_for(
    difference: float, sd: float, power: float = 0.8, alpha: float = 0.05
) -> int:
    """Return the number of paired seeds that show a difference with this power.

    It is at least `seeds_needed(1, alpha)`, below which the sign-flip test cannot
    reach the level alpha.

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
            f"difference={difference} with sd={sd} needs more than {MOST} seeds"
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

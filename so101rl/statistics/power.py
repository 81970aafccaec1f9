"""What a number of paired seeds can show, and how many a difference takes."""

import math
from bisect import bisect_left

from so101rl.statistics.multiple_comparisons import check_seeds, seeds_needed
from so101rl.statistics.seed_means import StatisticsError, check_share

MOST = 10**9  # seeds; nobody runs more
LARGEST = 100.0  # standard deviations, which any test shows


def detectable(n: int, sd: float, power: float = 0.8, alpha: float = 0.05) -> float:
    """Smallest difference that a paired t test of n seeds shows with this power.

    From the noncentral t distribution.

    Args:
        n: paired seeds; fewer than `seeds_needed(1, alpha)` are refused.
        sd: standard deviation of the differences, in the unit of the result.
        power: probability that the test shows it.
        alpha: level of the test, two-sided; divide by the number of comparisons.
    """
    from scipy.optimize import brentq

    _check(sd, power, alpha)
    check_seeds(n, 1, alpha)
    # In standard deviations: at 0 the power is alpha / 2, at the end it is 1.
    effect = brentq(lambda effect: t_power(n, effect, alpha) - power, 0, LARGEST)
    return float(effect) * sd


def seeds_for(
    difference: float, sd: float, power: float = 0.8, alpha: float = 0.05
) -> int:
    """Paired seeds with which a difference of this size is shown with this power.

    Never fewer than `seeds_needed(1, alpha)`: below them the sign-flip test decides
    nothing.

    Args:
        difference: mean difference between the arms; its sign does not matter.
        sd: standard deviation of the differences, in the same unit.
        power: probability that the test shows it.
        alpha: level of the test, two-sided; divide by the number of comparisons.
    """
    _check(sd, power, alpha)
    if difference == 0 or not math.isfinite(difference):
        raise StatisticsError(
            f"difference={difference}; right is a finite number other than 0"
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
    """Power of a two-sided paired t test to show a difference on its right side.

    Args:
        n: pairs.
        effect: true mean difference in its standard deviations, not negative.
        alpha: level of the test.
    """
    from scipy.stats import nct, t

    return float(nct.sf(t.ppf(1 - alpha / 2, n - 1), n - 1, effect * math.sqrt(n)))


def _check(sd: float, power: float, alpha: float) -> None:
    check_share("alpha", alpha)
    if not alpha < power < 1:
        raise StatisticsError(f"power={power}; right is between alpha={alpha} and 1")
    if not 0 < sd < math.inf:
        raise StatisticsError(f"sd={sd}; right is a finite number above 0")

"""The sign-flip test of two arms with the same seeds."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isclose
from statistics import stdev
from typing import TYPE_CHECKING

from so101rl.statistics.intervals import Interval, t_interval
from so101rl.statistics.seed_means import (
    ROUNDING,
    StatisticsError,
    are_equal,
    check_finite,
    check_share,
    sorted_values,
)

if TYPE_CHECKING:
    import numpy as np

LARGEST_EXACT = 16  # largest number of pairs with all sign flips counted
FLIPS = 99_999  # random sign flips for more pairs
BATCH = 1_000  # flips in memory at once
TINY = 1e-9  # a probability just above 0


@dataclass(frozen=True)
class Comparison:
    """Arm a against arm b, seed by seed; differences are a - b, in the arms' unit.

    Attributes:
        n: pairs, one per seed.
        difference: mean difference and its t interval.
        sd: standard deviation of the differences.
        p: of the sign-flip test, two-sided, not adjusted for other comparisons.
        exact: whether p counts all sign flips; otherwise it is a Monte Carlo count.
        effect: Cohen's d_z = mean / sd of the differences; None if they are all equal.
        improvement: P(a > b), a seed of a against any seed of b, and its interval.
    """

    n: int
    difference: Interval
    sd: float
    p: float
    exact: bool
    effect: float | None
    improvement: Interval


def paired_test(
    a: Mapping[int, float], b: Mapping[int, float], confidence: float = 0.95
) -> Comparison:
    """Compare two arms with the same seeds, in pairs.

    The test flips the signs of the differences: all 2**n flips up to 16 pairs, a
    seeded random draw of them above. `verdicts` turns its result into a claim.

    Args:
        a: seed -> mean of the one arm, at least two.
        b: seed -> mean of the other, for the same seeds.
        confidence: coverage that the intervals aim at, in (0, 1).

    Raises:
        StatisticsError: an arm lacks a seed, there are too few, or one is not finite.
    """
    import numpy as np

    differences = _differences(a, b)
    interval = t_interval(differences, confidence)
    values = list(differences.values())
    sd, exact = stdev(values), len(values) <= LARGEST_EXACT
    return Comparison(
        n=len(values),
        difference=interval,
        sd=sd,
        p=float(sign_flip_p(np.array(values), exact)),
        exact=exact,
        effect=None if are_equal(values) else interval.mean / sd,
        improvement=improvement(a, b, confidence),
    )


def improvement(
    a: Mapping[int, float], b: Mapping[int, float], confidence: float = 0.95
) -> Interval:
    """Return P(A > B) for a seed of each arm, ties count half, and its interval.

    The estimate is Mann-Whitney's U / (n m); the interval is Newcombe's (2006, method
    5), which has a width even if the arms do not overlap. The arms need not share
    seeds; if shared seeds correlate, the interval is too wide.

    Args:
        a: seed -> mean of the one arm, at least two.
        b: seed -> mean of the other, at least two.
        confidence: coverage that the interval aims at, in (0, 1).
    """
    from scipy.stats import mannwhitneyu

    x, y = sorted_values(a, least=2), sorted_values(b, least=2)
    check_share("confidence", confidence)
    point = float(mannwhitneyu(x, y).statistic) / (len(x) * len(y))
    return Interval(point, *improvement_ends(point, len(x), len(y), confidence))


def improvement_ends(
    point: float, n: int, m: int, confidence: float
) -> tuple[float, float]:
    """Return the values theta with |point - theta| = z standard errors of theta."""
    from scipy.optimize import brentq
    from scipy.special import ndtri

    z, others = float(ndtri(0.5 + confidence / 2)), (n + m) / 2 - 1

    def off(theta: float) -> float:
        """Return (point - theta)^2 - z^2 * (variance of the estimate at theta)."""
        shared = 1 + others * ((1 - theta) / (2 - theta) + theta / (1 + theta))
        return (point - theta) ** 2 - z * z * theta * (1 - theta) * shared / (n * m)

    # A point at 0 or 1 is a root itself; the end of the interval is the other root.
    low = brentq(off, 0, min(point, 1 - TINY)) if point > 0 else 0
    high = brentq(off, max(point, TINY), 1) if point < 1 else 1
    return float(low), float(high)


def _differences(a: Mapping[int, float], b: Mapping[int, float]) -> dict[int, float]:
    """Return seed -> a - b in the order of the seeds; a rounding error counts as 0."""
    for one, other, name in ((a, b, "second"), (b, a, "first")):
        missing = sorted(one.keys() - other.keys())
        if missing:
            seeds = ", ".join(map(str, missing))
            raise StatisticsError(f"the {name} arm lacks the seeds {seeds}")
        check_finite(one)
    return {
        seed: 0.0 if isclose(a[seed], b[seed], rel_tol=ROUNDING) else a[seed] - b[seed]
        for seed in sorted(a)
    }


def sign_flip_p(differences: "np.ndarray", exact: bool) -> "np.ndarray":
    """Return the two-sided p (...) of the sign-flip tests of differences (..., n)."""
    import numpy as np
    from scipy.stats import permutation_test

    def mean(sample: "np.ndarray", axis: int) -> "np.ndarray":
        return sample.mean(axis)

    return permutation_test(
        (differences,),
        mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=np.inf if exact else FLIPS,
        batch=BATCH,
        axis=-1,
        rng=np.random.default_rng(0),
    ).pvalue

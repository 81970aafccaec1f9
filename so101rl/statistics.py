"""Intervals that cover what they promise: Wilson within a policy, t across seeds.

Episodes are never pooled across seeds: five seeds of 100 episodes each make five
numbers, not 500.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from so101rl.errors import So101Error

MIN_SEEDS = 10  # below this a result is preliminary
ODD_SKEW = 1.0  # |skewness| of the seed means from which a t interval covers too little
BIMODAL_GAP = 0.6  # share of the range without a seed mean that makes two groups


class StatisticsError(So101Error):
    """Data from which no honest interval can be made."""


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and the interval around it, in the unit of the values."""

    mean: float
    low: float
    high: float


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Wilson interval of a success rate within one policy.

    Args:
        k: successes.
        n: episodes.
        confidence: coverage that the interval aims at, in (0, 1).

    Returns:
        Lower and upper end, both in [0, 1].
    """
    from scipy.stats import binomtest

    for name, value in (("k", k), ("n", n)):
        if not math.isfinite(value) or int(value) != value:
            raise StatisticsError(f"{name}={value}; counts are whole numbers")
    if not 0 <= k <= n or n == 0:
        raise StatisticsError(
            f"{k} successes of {n} episodes; right is 0 <= k <= n > 0"
        )
    _check_confidence(confidence)
    found = binomtest(int(k), int(n)).proportion_ci(confidence, method="wilson")
    return float(found.low), float(found.high)


def t_interval(values: Sequence[float], confidence: float = 0.95) -> Interval:
    """Student's t interval over seed means; one value per seed, never per episode.

    The ends are not clipped: an end beyond 0 or 1 shows that there are too few seeds.

    Args:
        values: one mean per seed, at least two.
        confidence: coverage that the interval aims at, in (0, 1).
    """
    from scipy.stats import t

    _check_values(values, least=2)
    _check_confidence(confidence)
    n = len(values)
    mean = math.fsum(values) / n
    error = math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (n - 1) / n)
    half = float(t.ppf(0.5 + confidence / 2, n - 1)) * error
    return Interval(mean, mean - half, mean + half)


def oddity(values: Sequence[float]) -> str | None:
    """Say why a t interval over these seed means may cover too little, if it may.

    With few seeds this is a hint, no test: a skewed or two-peaked source often looks
    regular, and then no interval covers.

    Returns:
        `constant`, `bimodal`, `skewed`, or None.
    """
    _check_values(values, least=2)
    ordered = sorted(values)
    spread = ordered[-1] - ordered[0]
    if spread == 0:
        return "constant"  # the interval has no width; the truth has
    if len(values) < 4:
        return None
    gaps = [high - low for low, high in pairwise(ordered)]
    largest = gaps.index(max(gaps))
    both_sides = 2 <= largest + 1 <= len(values) - 2
    if both_sides and gaps[largest] > BIMODAL_GAP * spread:
        return "bimodal"
    mean = math.fsum(values) / len(values)
    second = math.fsum((v - mean) ** 2 for v in values) / len(values)
    third = math.fsum((v - mean) ** 3 for v in values) / len(values)
    return "skewed" if abs(third) > ODD_SKEW * second**1.5 else None


def _check_values(values: Sequence[float], *, least: int) -> None:
    if len(values) < least:
        raise StatisticsError(f"{len(values)} seed means; an interval needs {least}")
    for index, value in enumerate(values):
        if not math.isfinite(value):
            raise StatisticsError(
                f"seed mean number {index} is {value}; right is finite"
            )


def _check_confidence(confidence: float) -> None:
    if not 0 < confidence < 1:
        raise StatisticsError(f"confidence={confidence}; right is between 0 and 1")

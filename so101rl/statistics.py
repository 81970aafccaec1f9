"""Intervals that cover what they promise: Wilson within a policy, t across seeds.

Episodes are never pooled across seeds: five seeds of 100 episodes each make five
numbers, not 500. Two policies that played the same episodes are compared in pairs.
"""

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from so101rl.errors import So101Error

BASE, RESIDUAL = "base", "residual"  # what an evaluation calls the two policies
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


@dataclass(frozen=True)
class Pair:
    """Base and residual on the same episodes.

    Attributes:
        won: episodes that the residual solves and the base does not.
        lost: the other way round.
        p: of the exact McNemar test, two-sided.
    """

    won: int
    lost: int
    p: float

    def is_better(self, significance: float) -> bool:
        """Whether the residual is better beyond chance."""
        return self.won > self.lost and self.p < significance

    def is_worse(self, significance: float) -> bool:
        """Whether the residual is worse beyond chance."""
        return self.won < self.lost and self.p < significance

    def said(self, significance: float) -> tuple[str, str]:
        """The finding, no bolder than chance allows, and the numbers behind it."""
        found = "No difference from its base shown"
        if self.is_better(significance):
            found = "Better than its base beyond chance"
        elif self.is_worse(significance):
            found = "Worse than its base beyond chance"
        p = f"exact McNemar p = {self.p:.2g}"
        return found, f"won {self.won}, lost {self.lost}, {p}"


def compared(episodes: Iterable[Mapping[str, Any]]) -> Pair | None:
    """Compare base and residual episode by episode; None unless both played.

    Args:
        episodes: rows of `episodes.csv`, as `RunDir.episodes` reads them.
    """
    from scipy.stats import binomtest

    solved: dict[str, dict[int, bool]] = {}
    for row in episodes:
        solved.setdefault(row["policy"], {})[row["seed"]] = row["is_success"]
    if BASE not in solved or RESIDUAL not in solved:
        return None
    base, residual = solved[BASE], solved[RESIDUAL]
    seeds = base.keys() & residual.keys()
    won = sum(residual[seed] and not base[seed] for seed in seeds)
    lost = sum(base[seed] and not residual[seed] for seed in seeds)
    p = binomtest(won, won + lost).pvalue if won + lost else 1.0
    return Pair(won, lost, float(p))


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

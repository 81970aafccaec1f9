"""A warning if seed means have a shape for which a t interval covers too little."""

import math
from collections.abc import Mapping
from itertools import pairwise

from so101rl.statistics.seed_means import are_equal, sorted_values

SKEW = 1.0  # |skewness| of the means above which a t interval covers too little
BIMODAL_GAP = 0.6  # gap, as a share of the range, that separates two groups


def shape_warning(means: Mapping[int, float]) -> str | None:
    """Return why a t interval over these seed means may cover too little.

    With few seeds this is a hint, not a test: a skewed or two-peaked population often
    looks regular in a small sample.

    Args:
        means: seed -> mean, at least two.

    Returns:
        `constant`, `bimodal`, `skewed`, or None.
    """
    ordered = sorted_values(means, least=2)
    if are_equal(ordered):
        return "constant"
    n = len(ordered)
    if n < 4:
        return None
    gaps = [high - low for low, high in pairwise(ordered)]
    largest = gaps.index(max(gaps))
    both_sides = 2 <= largest + 1 <= n - 2
    if both_sides and gaps[largest] > BIMODAL_GAP * (ordered[-1] - ordered[0]):
        return "bimodal"
    mean = math.fsum(ordered) / n
    second = math.fsum((v - mean) ** 2 for v in ordered) / n
    third = math.fsum((v - mean) ** 3 for v in ordered) / n
    return "skewed" if abs(third) > SKEW * second**1.5 else None

"""Whether seed means look like something that no interval covers."""

import math
from collections.abc import Mapping
from itertools import pairwise

from so101rl.statistics.seed_means import are_equal, values_of

ODD_SKEW = 1.0  # |skewness| of the seed means from which a t interval covers too little
BIMODAL_GAP = 0.6  # share of the range without a seed mean that makes two groups


def oddity(means: Mapping[int, float]) -> str | None:
    """Say why a t interval over these seed means may cover too little, if it may.

    With few seeds this is a hint, no test: a skewed or two-peaked source often looks
    regular, and then no interval covers.

    Args:
        means: seed -> mean, at least two.

    Returns:
        `constant`, `bimodal`, `skewed`, or None.
    """
    ordered = values_of(means, least=2)
    if are_equal(ordered):
        return "constant"  # the interval has no width; the truth has
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
    return "skewed" if abs(third) > ODD_SKEW * second**1.5 else None

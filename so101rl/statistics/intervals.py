"""Confidence intervals: Wilson within one policy, t or bootstrap across seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from so101rl.statistics.seed_means import (
    StatisticsError,
    are_equal,
    check_share,
    sorted_values,
)

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 9999  # of the bootstrap
BATCH = 100  # resamples in memory at once; the result does not depend on it


@dataclass(frozen=True)
class Interval:
    """A mean over seeds and the interval around it, in the unit of the values."""

    mean: float
    low: float
    high: float


def wilson(k: int, n: int, confidence: float = 0.95) -> tuple[float, float]:
    """Return the Wilson interval of a success rate within one policy.

    Args:
        k: successes.
        n: episodes.
        confidence: coverage that the interval aims at, in (0, 1).

    Returns:
        Lower and upper end, both in [0, 1].

    Source: Wilson 1927. `scipy.stats.binomtest` computes the same, but its import would
    add a second to every training.
    """
    for name, value in (("k", k), ("n", n)):
        if not math.isfinite(value) or int(value) != value:
            raise StatisticsError(f"{name}={value}: expected a whole number")
    if not 0 <= k <= n or n == 0:
        raise StatisticsError(f"k={k} of n={n}: expected 0 <= k <= n and n > 0")
    check_share("confidence", confidence)
    k, n = int(k), int(n)  # so that the result is no NumPy float
    z, rate = NormalDist().inv_cdf(0.5 + confidence / 2), k / n
    middle = (2 * n * rate + z**2) / (2 * (n + z**2))
    half = z * math.sqrt(4 * n * rate * (1 - rate) + z**2) / (2 * (n + z**2))
    return 0.0 if k == 0 else middle - half, 1.0 if k == n else middle + half


def t_interval(means: Mapping[int, float], confidence: float = 0.95) -> Interval:
    """Return Student's t interval of the mean over seeds.

    The ends are not clipped: an end of a rate beyond 0 or 1 shows too few seeds.
    Equal means give an interval of width 0; `shape_warning` calls them `constant`.

    Args:
        means: seed -> mean, at least two.
        confidence: coverage that the interval aims at, in (0, 1).
    """
    import numpy as np

    values = np.array(sorted_values(means, least=2))
    check_share("confidence", confidence)
    low, high = t_ends(values, confidence)
    return Interval(math.fsum(values) / len(values), float(low), float(high))


def t_ends(
    values: "np.ndarray", confidence: float
) -> tuple["np.ndarray", "np.ndarray"]:
    """Return the ends (...) of the t intervals of values (..., n)."""
    from scipy.stats import t

    n = values.shape[-1]
    middle = values.mean(-1)
    half = t.ppf(0.5 + confidence / 2, n - 1) * values.std(-1, ddof=1) / math.sqrt(n)
    return middle - half, middle + half


def bca_interval(
    means: Mapping[int, float], confidence: float = 0.95, seed: int = 0
) -> Interval:
    """Return the BCa bootstrap interval of the mean over seeds (Efron 1987).

    It adapts to skewed means. Below about 20 seeds it is too narrow and the t interval
    is better, see docs/statistics.md. Equal means and seeds give bitwise equal results.

    Args:
        means: seed -> mean, at least three that are not all equal.
        confidence: coverage that the interval aims at, in (0, 1).
        seed: seed of the generator that draws the resamples.
    """
    import numpy as np

    values = sorted_values(means, least=3)
    check_share("confidence", confidence)
    if are_equal(values):
        raise StatisticsError(
            f"{len(values)} seed means={values[0]:g}: expected different means, as a "
            "bootstrap interval of equal ones has no width"
        )
    low, high = bca_ends(np.array(values), confidence, RESAMPLES, seed)
    return Interval(math.fsum(values) / len(values), float(low), float(high))


def bca_ends(
    values: "np.ndarray", confidence: float, resamples: int, seed: int
) -> tuple["np.ndarray", "np.ndarray"]:
    """Return the ends (...) of the BCa intervals of values (..., n)."""
    import numpy as np
    from scipy.stats import bootstrap

    found = bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        axis=-1,
        confidence_level=confidence,
        method="BCa",
        batch=BATCH,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return found.low, found.high

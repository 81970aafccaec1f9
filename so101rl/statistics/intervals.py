"""Wilson within a policy, t or bootstrap across seeds."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

from so101rl.statistics.seed_means import (
    StatisticsError,
    are_equal,
    check_share,
    values_of,
)

if TYPE_CHECKING:
    import numpy as np

RESAMPLES = 9999  # of the bootstrap
BATCH = 100  # resamples in memory at once; does not touch the result


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

    Source: Wilson 1927, as `scipy.stats.binomtest` has it; the import of that would
    cost every training a second.
    """
    for name, value in (("k", k), ("n", n)):
        if not math.isfinite(value) or int(value) != value:
            raise StatisticsError(f"{name}={value}; counts are whole numbers")
    if not 0 <= k <= n or n == 0:
        raise StatisticsError(
            f"{k} successes of {n} episodes; right is 0 <= k <= n > 0"
        )
    check_share("confidence", confidence)
    k, n = int(k), int(n)  # NumPy's numbers would come out again as such
    z, rate = NormalDist().inv_cdf(0.5 + confidence / 2), k / n
    middle = (2 * n * rate + z**2) / (2 * (n + z**2))
    half = z * math.sqrt(4 * n * rate * (1 - rate) + z**2) / (2 * (n + z**2))
    return 0.0 if k == 0 else middle - half, 1.0 if k == n else middle + half


def t_interval(means: Mapping[int, float], confidence: float = 0.95) -> Interval:
    """Student's t interval over seed means; one value per seed, never per episode.

    The ends are not clipped: an end beyond 0 or 1 shows that there are too few seeds.
    Equal means give an interval without width; `oddity` calls them `constant`.

    Args:
        means: seed -> mean, at least two.
        confidence: coverage that the interval aims at, in (0, 1).
    """
    import numpy as np

    values = np.array(values_of(means, least=2))
    check_share("confidence", confidence)
    low, high = t_ends(values, confidence)
    return Interval(math.fsum(values) / len(values), float(low), float(high))


def t_ends(
    values: "np.ndarray", confidence: float
) -> tuple["np.ndarray", "np.ndarray"]:
    """Ends (...) of the t intervals over the last axis of values (..., n)."""
    from scipy.stats import t

    n = values.shape[-1]
    middle = values.mean(-1)
    half = t.ppf(0.5 + confidence / 2, n - 1) * values.std(-1, ddof=1) / math.sqrt(n)
    return middle - half, middle + half


def bca_interval(
    means: Mapping[int, float], confidence: float = 0.95, seed: int = 0
) -> Interval:
    """BCa bootstrap interval of the mean over seeds (Efron 1987).

    It leans as the means lean, but is too narrow below some 20 seeds, where t is the
    better one: docs/statistics.md has both. The same means and seed give the same
    bytes.

    Args:
        means: seed -> mean, at least three that are not all equal.
        confidence: coverage that the interval aims at, in (0, 1).
        seed: of the generator that draws the resamples.
    """
    import numpy as np

    values = values_of(means, least=3)
    check_share("confidence", confidence)
    if are_equal(values):
        raise StatisticsError(
            f"all {len(values)} seed means are {values[0]:g}: a bootstrap of them has "
            "no width"
        )
    low, high = bca_ends(np.array(values), confidence, RESAMPLES, seed)
    return Interval(math.fsum(values) / len(values), float(low), float(high))


def bca_ends(
    values: "np.ndarray", confidence: float, resamples: int, seed: int
) -> tuple["np.ndarray", "np.ndarray"]:
    """Ends (...) of the BCa intervals over the last axis of values (..., n)."""
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

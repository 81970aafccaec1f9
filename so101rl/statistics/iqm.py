"""Statistics that a few failed seeds hardly change: interquartile mean and profile."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from so101rl.statistics.intervals import Interval, wilson
from so101rl.statistics.seed_means import (
    StatisticsError,
    are_equal,
    check_share,
    sorted_values,
)

if TYPE_CHECKING:
    import numpy as np

CUT = 0.25  # share of the seeds cut off at each end of the interquartile mean


def iqm_interval(means: Mapping[int, float], confidence: float = 0.95) -> Interval:
    """Return the interquartile mean over seeds and its Tukey-McLaughlin t interval.

    A quarter of the seeds, rounded down, is cut off at each end; the interval uses the
    variance of the winsorized means (Yuen 1974). With two or three seeds, the result is
    the mean with its t interval.

    Args:
        means: seed -> mean, at least two.
        confidence: coverage that the interval aims at, in (0, 1).

    Returns:
        `Interval.mean` is the interquartile mean.

    Raises:
        StatisticsError: the means in the middle are all equal.
    """
    import numpy as np

    values = sorted_values(means, least=2)
    check_share("confidence", confidence)
    cut = int(CUT * len(values))
    middle = values[cut : len(values) - cut]
    if are_equal(middle):
        raise StatisticsError(
            f"the {len(middle)} of {len(values)} seed means in the middle are all "
            f"{middle[0]:g}: their interquartile mean has no interval"
        )
    iqm, low, high = iqm_ends(np.array(values), confidence)
    return Interval(float(iqm), float(low), float(high))


def iqm_ends(
    values: "np.ndarray", confidence: float
) -> tuple["np.ndarray", "np.ndarray", "np.ndarray"]:
    """Return the interquartile means (...) of values (..., n) and their ends (...)."""
    import numpy as np
    from scipy.stats import trim_mean, ttest_ind

    # Yuen's two-sample test against zeros equals his one-sample test.
    test = ttest_ind(values, np.zeros_like(values), axis=-1, equal_var=False, trim=CUT)
    ends = test.confidence_interval(confidence)
    return trim_mean(values, CUT, axis=-1), ends.low, ends.high


def profile(
    means: Mapping[int, float], thresholds: Iterable[float], confidence: float = 0.95
) -> list[Interval]:
    """Return the performance profile: the share of seeds above each threshold.

    The band is a Wilson interval per threshold: it holds for a single threshold, not
    for all of them together.

    Args:
        means: seed -> mean, at least one.
        thresholds: in the unit of the means.
        confidence: coverage that the band aims at, in (0, 1).

    Returns:
        Per threshold the share (`Interval.mean`) and the ends of its band, in [0, 1].
    """
    values = sorted_values(means, least=1)
    n = len(values)
    counts = [n - bisect_right(values, threshold) for threshold in thresholds]
    return [Interval(k / n, *wilson(k, n, confidence)) for k in counts]

"""What a few failed seeds cannot spoil: interquartile mean and performance profile."""

from bisect import bisect_right
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING

from so101rl.statistics.intervals import Interval, wilson
from so101rl.statistics.seed_means import (
    StatisticsError,
    are_equal,
    check_share,
    values_of,
)

if TYPE_CHECKING:
    import numpy as np

CUT = 0.25  # share of the seeds cut off at each end of the interquartile mean


def iqm_interval(means: Mapping[int, float], confidence: float = 0.95) -> Interval:
    """Interquartile mean over seeds with the Tukey-McLaughlin t interval.

    A quarter of the seeds, rounded down, is cut off at each end; the variance is that
    of the winsorized means (Yuen 1974). Below four seeds it is the mean with its t
    interval.

    Args:
        means: seed -> mean, at least two; `StatisticsError` where those left in the
            middle are all equal, since the interval would have no width.
        confidence: coverage that the interval aims at, in (0, 1).

    Returns:
        `Interval.mean` is the interquartile mean.
    """
    import numpy as np

    values = values_of(means, least=2)
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
    """Interquartile means (...) of values (..., n) and the ends of their intervals."""
    import numpy as np
    from scipy.stats import trim_mean, ttest_ind

    # Against a sample of zeros Yuen's test for two samples is that for one.
    test = ttest_ind(values, np.zeros_like(values), axis=-1, equal_var=False, trim=CUT)
    ends = test.confidence_interval(confidence)
    return trim_mean(values, CUT, axis=-1), ends.low, ends.high


def profile(
    means: Mapping[int, float], thresholds: Iterable[float], confidence: float = 0.95
) -> list[Interval]:
    """Performance profile: the share of seeds above each threshold.

    Each seed counts once, so the band is Wilson's, threshold by threshold: it covers
    each share, not the whole curve at once.

    Args:
        means: seed -> mean, at least one.
        thresholds: in the unit of the means.
        confidence: coverage that the band aims at, in (0, 1).

    Returns:
        Per threshold the share (`Interval.mean`) and the ends of its band, in [0, 1].
    """
    values = values_of(means, least=1)
    n = len(values)
    counts = [n - bisect_right(values, threshold) for threshold in thresholds]
    return [Interval(k / n, *wilson(k, n, confidence)) for k in counts]

"""Intervals that cover what they promise, and claims that a test has to back.

Episodes are never pooled across seeds: five seeds of 100 episodes each make five
numbers, not 500. So everything across seeds takes a mapping from seed to that seed's
mean, as `seed_means` builds it. Two arms that ran the same seeds, and two policies that
played the same episodes, are compared in pairs.
"""

from so101rl.statistics.intervals import Interval, bca_interval, t_interval, wilson
from so101rl.statistics.iqm import iqm_interval, profile
from so101rl.statistics.mcnemar import BASE, RESIDUAL, Pair, compared
from so101rl.statistics.multiple_comparisons import (
    Verdict,
    check_seeds,
    holm,
    seeds_needed,
    smallest_p,
    verdicts,
)
from so101rl.statistics.paired_test import Comparison, improvement, paired_test
from so101rl.statistics.power import detectable, seeds_for
from so101rl.statistics.seed_means import MIN_SEEDS, StatisticsError, seed_means
from so101rl.statistics.skewness import oddity

__all__ = [
    "BASE",
    "MIN_SEEDS",
    "RESIDUAL",
    "Comparison",
    "Interval",
    "Pair",
    "StatisticsError",
    "Verdict",
    "bca_interval",
    "check_seeds",
    "compared",
    "detectable",
    "holm",
    "improvement",
    "iqm_interval",
    "oddity",
    "paired_test",
    "profile",
    "seed_means",
    "seeds_for",
    "seeds_needed",
    "smallest_p",
    "t_interval",
    "verdicts",
    "wilson",
]

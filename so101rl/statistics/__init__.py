"""Confidence intervals, paired tests, and the claims that they support.

Episodes are never pooled across seeds: five seeds of 100 episodes each are 5 numbers,
not 500. Functions across seeds take a mapping from seed to that seed's mean. Two arms
are compared in pairs of the same seed, two policies in pairs of the same episode.
"""

from so101rl.statistics.intervals import Interval, bca_interval, t_interval, wilson
from so101rl.statistics.iqm import iqm_interval, profile
from so101rl.statistics.mcnemar import BASE, RESIDUAL, McNemarResult, mcnemar_test
from so101rl.statistics.multiple_comparisons import (
    Verdict,
    holm,
    seeds_needed,
    smallest_p,
    verdicts,
)
from so101rl.statistics.paired_test import Comparison, improvement, paired_test
from so101rl.statistics.power import Plan, detectable, plan, seeds_for
from so101rl.statistics.seed_means import MIN_SEEDS, StatisticsError
from so101rl.statistics.skewness import shape_warning

__all__ = [
    "BASE",
    "MIN_SEEDS",
    "RESIDUAL",
    "Comparison",
    "Interval",
    "McNemarResult",
    "Plan",
    "StatisticsError",
    "Verdict",
    "bca_interval",
    "detectable",
    "holm",
    "improvement",
    "iqm_interval",
    "mcnemar_test",
    "paired_test",
    "plan",
    "profile",
    "seeds_for",
    "seeds_needed",
    "shape_warning",
    "smallest_p",
    "t_interval",
    "verdicts",
    "wilson",
]

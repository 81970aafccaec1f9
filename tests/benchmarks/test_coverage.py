"""The simulated intervals are those of the package."""

import numpy as np
import pytest

from benchmarks import coverage
from so101rl.statistics import bca_interval, improvement, iqm_interval, t_interval


def test_simulated_intervals_are_those_of_the_package():
    values = np.random.default_rng(0).normal(0.8, 0.05, (1, 9))
    means = dict(enumerate(values[0]))
    simulated = {
        t_interval: coverage.t_ends(values, 0.95),
        iqm_interval: coverage.iqm_ends(values, 0.95)[1:],
        bca_interval: coverage.bca_ends(np.sort(values), 0.95, 9999, 0),
    }
    for interval, (low, high) in simulated.items():
        found = interval(means)
        assert (low[0], high[0]) == pytest.approx((found.low, found.high))
    found = improvement(means, {seed: 0.8 for seed in range(9)})
    assert coverage.improvement_ends(found.mean, 9, 9, 0.95) == (found.low, found.high)

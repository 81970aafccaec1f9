"""Intervals against published values, and against what they promise."""

import math
from dataclasses import astuple

import numpy as np
import pytest
from scipy.stats import binomtest

from so101rl import statistics as st
from so101rl.statistics import StatisticsError, bca_interval, iqm_interval, t_interval

OVER_SEEDS = pytest.mark.parametrize(
    "interval", [t_interval, bca_interval, iqm_interval]
)


def by_seed(*values):
    return dict(enumerate(values))


@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
@pytest.mark.parametrize("n", [1, 2, 60])
def test_wilson_equals_scipy_and_stays_in_range(n, confidence):
    for k in range(n + 1):
        ends = binomtest(k, n).proportion_ci(confidence, method="wilson")
        found = st.wilson(np.int64(k), np.int32(n), confidence)
        assert found == pytest.approx((ends.low, ends.high), rel=0, abs=1e-14)
        assert found[0] >= 0 and found[1] <= 1
        assert {type(end) for end in found} == {float}
    for k, m in ((n + 1, n), (-1, n), (0, 0), (0.5, n), (math.nan, n), (1, math.inf)):
        with pytest.raises(StatisticsError):
            st.wilson(k, m)


def test_intervals_equal_published_values():
    """Newcombe 1998, table I; Student's ten patients of 1908; Yuen's by hand."""
    assert st.wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    shares = st.profile(by_seed(0.2, 0.5, 0.6, 0.9), [0.2, 0.5, 2])
    expected = [(k / 4, *st.wilson(k, 4)) for k in (3, 2, 0)]
    assert [astuple(point) for point in shares] == expected
    sleep = t_interval(by_seed(1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4))
    assert astuple(sleep) == pytest.approx((1.58, 0.7001142, 2.4598858), abs=1e-7)
    # The middle half of 1 to 8: winsorized squares 14, t(3) from any table.
    found, half = iqm_interval(by_seed(1, 8, 2, 7, 3, 6, 4, 5)), 3.182446
    half *= math.sqrt(14 / (4 * 3))
    assert astuple(found) == pytest.approx((4.5, 4.5 - half, 4.5 + half), abs=1e-5)


@OVER_SEEDS
def test_intervals_refuse_too_few_or_not_finite_or_no_share(interval):
    for values, message in (
        (by_seed(0.5), "1 seed means"),
        (by_seed(0.5, 0.4, math.nan), "seed 2: mean=nan"),
        ([1.0, 0.0] * 250, "500 numbers without seeds"),
    ):
        with pytest.raises(StatisticsError, match=message):
            interval(values)
    for compute in (interval, lambda values, share: st.wilson(1, 2, share)):
        for confidence in (0, 1, math.nan):
            with pytest.raises(StatisticsError, match="confidence"):
                compute(by_seed(1, 2, 3), confidence)


@OVER_SEEDS
def test_intervals_scale_with_the_values_and_ignore_their_order(interval):
    values = {3: 0.5, 1: 0.9, 4: 0.6, 0: 0.2, 2: 0.7, 9: 0.75}
    found, wider = interval(values), interval(values, 0.99)
    assert wider.low < found.low < found.mean < found.high < wider.high
    assert interval(dict(sorted(values.items()))) == found  # to the last bit
    scaled = interval({seed: 64 * value for seed, value in values.items()})
    assert astuple(scaled) == pytest.approx([64 * value for value in astuple(found)])


def test_bca_is_reproducible_and_follows_a_skew_where_t_leaves_the_range():
    means = by_seed(0.99, 0.98, 1.0, 0.97, 0.99, 0.96, 0.98, 0.6)
    found = bca_interval(means)
    assert bca_interval(means) == found != bca_interval(means, seed=1)
    assert found.mean - found.low > 1.5 * (found.high - found.mean)
    assert found.high <= 1 < t_interval(means).high
    with pytest.raises(StatisticsError, match="no width"):
        bca_interval(by_seed(0.3, 0.3, 0.1 + 0.2))


def test_iqm_is_the_mean_below_four_seeds_and_ignores_a_failed_one_above():
    few, good = by_seed(0.5, 0.8, 0.3), (0.90, 0.92, 0.94, 0.96)
    assert astuple(iqm_interval(few)) == pytest.approx(astuple(t_interval(few)))
    assert iqm_interval(by_seed(*good, 0.5)) == iqm_interval(by_seed(*good, 0.0))
    with pytest.raises(StatisticsError, match="the 3 of 5 seed means in the middle"):
        iqm_interval(by_seed(1.0, 1.0, 0.3, 1.0, 1.0))


def test_shape_warning_names_the_obvious():
    for shape, means in (
        ("constant", (0.3, 0.3, 0.1 + 0.2)),
        ("bimodal", (0.02, 0.0, 0.01, 0.98, 0.95)),
        ("skewed", (0.97, 0.98, 0.96, 0.97, 0.31)),
        (None, (0.90, 0.92, 0.94, 0.96, 0.98)),
        (None, (0.1, 0.9)),
    ):
        assert st.shape_warning(by_seed(*means)) == shape

"""Intervals against published values, and against what they promise."""

import math
import random
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import binomtest

from so101rl.statistics import (
    StatisticsError,
    bca_interval,
    iqm_interval,
    mcnemar_test,
    profile,
    shape_warning,
    t_interval,
    wilson,
)

OVER_SEEDS = [t_interval, bca_interval, iqm_interval]


def by_seed(values):
    return dict(enumerate(values))


# Newcombe 1998, Statistics in Medicine 17, table I (score method); the last two rows
# are the formula worked by hand with z = 1.959964.
@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    [
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0000, 0.1611),
        (1, 29, 0.0061, 0.1718),
        (14, 20, 0.4810, 0.8545),
        (70, 100, 0.6042, 0.7811),
    ],
)
def test_wilson_equals_published_values(k, n, low, high):
    assert wilson(k, n) == pytest.approx((low, high), abs=5e-5)


@pytest.mark.parametrize("confidence", [0.5, 0.9, 0.95, 0.999])
@pytest.mark.parametrize("n", [1, 2, 20, 300])
def test_wilson_equals_scipy(n, confidence):
    for k in range(n + 1):
        ends = binomtest(k, n).proportion_ci(confidence, method="wilson")
        assert wilson(k, n, confidence) == pytest.approx(
            (ends.low, ends.high), rel=0, abs=1e-14
        )


def test_wilson_makes_plain_numbers_of_numpys():
    ends = wilson(np.int64(3), np.int32(7))
    assert ends == wilson(3, 7) and {type(end) for end in ends} == {float}


def test_wilson_mirrors_and_stays_in_range():
    low, high = wilson(100, 100)
    assert high == pytest.approx(1.0) and high <= 1.0
    assert wilson(0, 100) == pytest.approx((1 - high, 1 - low), abs=1e-12)


@pytest.mark.parametrize(
    ("k", "n"),
    [(5, 4), (-1, 4), (0, 0), (0.5, 4), (math.nan, 4), (1, math.inf), (1, math.nan)],
)
def test_wilson_refuses_what_is_no_count(k, n):
    with pytest.raises(StatisticsError):
        wilson(k, n)


def test_t_interval_equals_student_1908():
    """Extra hours of sleep, ten patients: the table that introduced the method."""
    differences = [1.2, 2.4, 1.3, 1.3, 0.0, 1.0, 1.8, 0.8, 4.6, 1.4]
    found = t_interval(by_seed(differences))
    assert found.mean == pytest.approx(1.58)
    assert (found.low, found.high) == pytest.approx((0.7001142, 2.4598858), abs=1e-7)


def test_t_interval_by_hand():
    """Sd sqrt(2.5), t(4) = 2.776445 (any t table)."""
    found = t_interval(by_seed([1, 2, 3, 4, 5]))
    half = 2.776445 * math.sqrt(2.5 / 5)
    assert (found.low, found.high) == pytest.approx((3 - half, 3 + half), abs=1e-6)


def test_t_interval_is_not_clipped():
    assert t_interval(by_seed([1.0, 0.7, 1.0])).high > 1


@pytest.mark.parametrize("interval", OVER_SEEDS)
@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([], "0 seed means"),
        ([0.5], "1 seed means"),
        ([0.5, 0.4, math.nan], "seed 2: mean=nan"),
        ([math.inf, 0.5, 0.4], "seed 0: mean=inf"),
    ],
)
def test_intervals_refuse_too_little_or_not_finite(interval, values, said):
    with pytest.raises(StatisticsError, match=said):
        interval(by_seed(values))


@pytest.mark.parametrize("interval", OVER_SEEDS)
def test_intervals_stretch_with_the_values_and_ignore_their_order(interval):
    values = {3: 0.5, 1: 0.9, 4: 0.6, 0: 0.2, 2: 0.7, 9: 0.75}
    found = interval(values)
    assert found.low < found.mean < found.high
    assert interval(dict(sorted(values.items()))) == found  # to the bit
    stretched = interval({seed: 64 * value for seed, value in values.items()})
    assert (stretched.mean, stretched.low, stretched.high) == pytest.approx(
        (64 * found.mean, 64 * found.low, 64 * found.high)
    )
    wider = interval(values, 0.99)
    assert wider.low < found.low and wider.high > found.high


@pytest.mark.parametrize("take", [*OVER_SEEDS, shape_warning])
def test_numbers_without_seeds_are_refused(take):
    with pytest.raises(StatisticsError, match="500 numbers without seeds"):
        take([1.0, 0.0] * 250)


def test_bca_gives_the_same_bytes_and_follows_a_skew():
    means = by_seed([0.99, 0.98, 1.0, 0.97, 0.99, 0.96, 0.98, 0.6])
    found = bca_interval(means)
    assert bca_interval(means) == found
    assert bca_interval(means, seed=1) != found
    assert found.mean - found.low > 1.5 * (found.high - found.mean)
    assert found.high <= 1  # t goes beyond what is possible here
    assert t_interval(means).high > 1


@pytest.mark.parametrize("values", [[0.0] * 3, [1.0] * 3, [0.3, 0.3, 0.1 + 0.2]])
def test_equal_means_have_no_bootstrap(values):
    with pytest.raises(StatisticsError, match="no width"):
        bca_interval(by_seed(values))
    assert shape_warning(by_seed(values)) == "constant"


def test_iqm_interval_equals_its_formula():
    """Middle half of 1 to 8; winsorized squares 14 by hand, t(3) from any table."""
    found = iqm_interval(by_seed([1, 8, 2, 7, 3, 6, 4, 5]))
    half = 3.182446 * math.sqrt(14 / (4 * 3))
    assert found.mean == 4.5
    assert (found.low, found.high) == pytest.approx((4.5 - half, 4.5 + half), abs=1e-5)


def test_iqm_is_the_mean_below_four_seeds_and_ignores_a_failed_one_above():
    few = by_seed([0.5, 0.8, 0.3])
    iqm, plain = iqm_interval(few), t_interval(few)
    assert (iqm.mean, iqm.low, iqm.high) == pytest.approx(
        (plain.mean, plain.low, plain.high)
    )
    good = [0.90, 0.92, 0.94, 0.96]
    assert iqm_interval(by_seed([*good, 0.5])) == iqm_interval(by_seed([*good, 0.0]))


def test_iqm_without_spread_in_the_middle_has_no_interval():
    with pytest.raises(StatisticsError, match="the 3 of 5 seed means in the middle"):
        iqm_interval(by_seed([1.0, 1.0, 0.3, 1.0, 1.0]))


def test_profile_is_the_share_above_each_threshold():
    thresholds = [-1, 0.2, 0.5, 0.6, 2]
    found = profile(by_seed([0.2, 0.5, 0.6, 0.9]), thresholds)
    assert [point.mean for point in found] == [1, 0.75, 0.5, 0.25, 0]
    assert [(point.low, point.high) for point in found] == [
        wilson(k, 4) for k in (4, 3, 2, 1, 0)
    ]
    with pytest.raises(StatisticsError):
        profile({}, thresholds)


@pytest.mark.parametrize("confidence", [0, 1, 95, math.nan])
def test_confidence_is_a_share(confidence):
    with pytest.raises(StatisticsError, match="confidence"):
        wilson(1, 2, confidence)
    with pytest.raises(StatisticsError, match="confidence"):
        t_interval(by_seed([1, 2]), confidence)
    with pytest.raises(StatisticsError, match="confidence"):
        bca_interval(by_seed([1, 2, 3]), confidence)
    with pytest.raises(StatisticsError, match="confidence"):
        iqm_interval(by_seed([1, 2, 3]), confidence)


def test_t_interval_covers_across_seeds_where_pooling_does_not():
    """Five seeds that differ by sd 0.15, 100 episodes each (facts, M17)."""
    rng, trials, hits, pooled = random.Random(0), 400, 0, 0
    for _ in range(trials):
        rates = [min(max(rng.gauss(0.5, 0.15), 0), 1) for _ in range(5)]
        wins = [sum(rng.random() < rate for _ in range(100)) for rate in rates]
        found = t_interval(by_seed(k / 100 for k in wins))
        hits += found.low <= 0.5 <= found.high
        low, high = wilson(sum(wins), 500)
        pooled += low <= 0.5 <= high
    assert 0.92 <= hits / trials <= 0.98
    assert pooled / trials < 0.6


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([1.0, 1.0, 1.0], "constant"),
        ([0.02, 0.0, 0.01, 0.98, 0.95], "bimodal"),
        ([0.97, 0.98, 0.96, 0.97, 0.31], "skewed"),
        ([0.90, 0.92, 0.94, 0.96, 0.98], None),
        ([0.1, 0.9], None),
    ],
)
def test_shape_warning_warns_of_the_obvious(values, said):
    assert shape_warning(by_seed(values)) == said


def test_pairs_are_matched_by_seed_not_by_order():
    """Six won, none lost: 2 / 2**6 by hand; two rates alone would show nothing."""
    rows = [
        {"policy": policy, "seed": seed, "is_success": seed < solved}
        for policy, solved in (("base", 60), ("residual", 66))
        for seed in range(100)
    ]
    for order in (rows, rows[::-1]):
        pair = mcnemar_test(order)
        assert (pair.won, pair.lost, pair.p) == (6, 0, pytest.approx(2 / 2**6))
        assert pair.is_better(0.05) and not pair.is_worse(0.05)
    assert mcnemar_test(rows[:100]) is None
    assert mcnemar_test([]) is None


def test_import_is_cheap():
    program = (
        "import sys, so101rl.statistics\n"
        "print([m for m in ('scipy', 'numpy', 'torch') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

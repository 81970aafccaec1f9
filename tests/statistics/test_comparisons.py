"""Paired tests and claims against published values, and what they refuse."""

import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from so101rl import statistics as st
from so101rl.statistics import Interval, StatisticsError, improvement, paired_test

# Darwin's maize, eighths of an inch that the crossed plant is taller than its partner
# (Fisher 1935, The Design of Experiments, sections 17 and 21).
MAIZE = (49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48)


def by_seed(values):
    return dict(enumerate(values))


def against_zero(differences):
    return paired_test(by_seed(differences), by_seed([0.0] * len(differences)))


def test_paired_test_equals_fisher_1935():
    """863 of 32768 sign flips give as large a sum; sd and t interval as in the book."""
    found, mean, sd = against_zero(MAIZE), 314 / 15, 37.744
    assert (found.n, found.exact) == (15, True)
    assert found.p == pytest.approx(2 * 863 / 2**15, abs=1e-12)
    assert (found.difference.mean, found.sd) == pytest.approx((mean, sd), abs=1e-3)
    high = mean + 2.144787 * sd / math.sqrt(15)
    assert found.difference.high == pytest.approx(high, abs=1e-2)
    assert found.effect == pytest.approx(mean / sd, abs=1e-4)


def test_pairs_are_made_by_seed_and_either_arm_may_come_first():
    a, b = {7: 0.9, 3: 0.5, 11: 0.7}, {3: 0.6, 7: 0.5, 11: 0.8}
    one, other = paired_test(a, b), paired_test(b, a)
    assert one == paired_test(dict(sorted(a.items())), b)
    assert one.difference.mean == pytest.approx((0.4 - 0.1 - 0.1) / 3)
    found = (other.p, other.effect, other.difference.low, other.improvement.low)
    mirrored = (-one.effect, -one.difference.high, 1 - one.improvement.high)
    assert found == pytest.approx((one.p, *mirrored))


def test_many_pairs_are_counted_by_a_seeded_draw():
    differences = [*MAIZE, 12, -9, 31]
    found, few = against_zero(differences), against_zero(differences[:16])
    assert few.exact and not found.exact
    assert against_zero([-d for d in differences]).p == found.p  # the same draw
    ways = np.array(np.meshgrid(*[[-1, 1]] * 9)).reshape(9, -1)  # halves of all 2**18
    d = np.array(differences)
    sums = ((d[:9] @ ways)[:, None] + (d[9:] @ ways)[None]).ravel()
    exact = (np.abs(sums) >= d.sum()).mean()
    assert found.p == pytest.approx(exact, abs=5 * math.sqrt(exact / 99_999))


def test_rounding_errors_are_no_differences_and_no_spread():
    """0.9 - 0.7 and 0.3 - 0.1 differ in the last bit."""
    a, b = [0.9, 0.3, 0.5, 0.4, 0.8, 0.6], [0.7, 0.1, 0.3, 0.2, 0.6, 0.4]
    found = paired_test(by_seed(a), by_seed(b))
    assert (found.effect, found.p) == (None, st.smallest_p(6))
    same = paired_test(by_seed([0.1 + 0.2] * 6), by_seed([0.3] * 6))
    assert (same.p, same.effect, same.difference) == (1, None, Interval(0, 0, 0))
    assert st.plan(found) == st.plan(same) == (None, None)


def test_improvement_equals_a_published_point_and_counts_ties_half():
    """Bonett's example of `ci.mann` in R's statpsych; a tie by hand."""
    a = [9.4, 10.3, 58.3, 106.0, 31.0, 46.2, 12.0, 19.0, 135.0, 159.0]
    b = [14.6, 5.1, 8.1, 22.7, 6.4, 4.4, 19.0, 3.2]
    assert improvement(by_seed(a), by_seed(b)).mean == pytest.approx(0.86875)
    assert improvement({0: 1, 1: 2}, {0: 1, 1: 0}).mean == (0.5 + 1 + 1 + 1) / 4
    high, low = by_seed([0.9, 0.95, 0.92]), by_seed([0.1, 0.2, 0.15])
    found, other = improvement(high, low), improvement(low, high)
    assert (found.mean, found.high, other.mean, other.low) == (1, 1, 0, 0)
    assert other.high == pytest.approx(1 - found.low)
    # Hanley and McNeil's variance at the lower end, with Newcombe's mean of sizes.
    theta, size = found.low, 3
    q1, q2 = theta / (2 - theta), 2 * theta**2 / (1 + theta)
    variance = theta * (1 - theta) + (size - 1) * (q1 + q2 - 2 * theta**2)
    half = 1.959964 * math.sqrt(variance / size**2)
    assert found.mean - theta == pytest.approx(half, rel=1e-5)


def test_holm_equals_published_values():
    """The example of `pingouin.holm`; a comparison without result counts as p = 1."""
    p = {"a": 0.50, "b": 0.003, "c": 0.32, "d": 0.054, "e": 0.0003}
    found = {"a": 0.64, "b": 0.012, "c": 0.64, "d": 0.162, "e": 0.0015}
    assert st.holm(p) == pytest.approx(found)
    assert list(st.holm(p)) == list(p)
    all_five, few = st.holm(p | {"c": 1.0, "d": 1.0}), {name: p[name] for name in "abe"}
    assert st.holm(few, registered=5) == {name: all_five[name] for name in few}


def test_verdicts_are_adjusted_for_all_comparisons():
    six, up = against_zero([0.1] * 6), against_zero([0.1, 0.2, 0.1, 0.3, 0.1, 0.2, 0.1])
    down, none = against_zero([-0.1] * 9), against_zero([0.1, -0.1] * 5)

    def described(registered=None, **tests):
        found = st.verdicts(tests, registered=registered).values()
        return [one.describe("B", "slower", "faster") for one in found]

    assert described(six=six) == ["slower than B"]
    # 2 * 2 / 2**7, then 2 / 2**6
    assert described(six=six, up=up) == ["slower than B"] * 2
    few = "no claim: 6 paired seeds, expected 7 or more"
    assert described(six=six, down=down, none=none) == [
        *(few, "faster than B", "no difference shown")
    ]
    assert described(2, six=six) == [few]
    assert st.verdicts({"six": six}, registered=2)["six"].p == 2 * 2 / 2**6
    five = replace(against_zero([0.3] * 5), p=0.06)  # claim nothing at any level
    assert st.verdicts({"x": five}, 0.9)["x"].decision == "refused"


def test_numbers_of_seeds_are_published_ones_and_a_plan_uses_the_level_of_smallest_p():
    """Paired t test at 0.05, power 0.8: the numbers that G*Power gives."""
    for effect, n in ((0.2, 199), (0.5, 34), (0.8, 15)):
        assert st.seeds_for(effect, 1.0) == st.seeds_for(-100 * effect, 100.0) == n
        assert st.detectable(n, 1.0) <= effect < st.detectable(n - 1, 1.0)
    assert [st.seeds_needed(m) for m in (1, 2, 4, 8)] == [6, 7, 8, 9]
    text = (ROOT / "docs/statistics.md").read_text()
    for n in (6, 10, 20):
        assert f"{st.detectable(n, 1.0):.2f} sd with {n}" in text
    none = against_zero([0.1, -0.1, 0.1, -0.05, 0.02, 0.03, -0.08])
    sd, mean, level = none.sd, none.difference.mean, 0.025
    expected = (st.detectable(7, sd, alpha=level), st.seeds_for(mean, sd, 0.8, level))
    assert st.plan(none, 2) == expected
    assert st.plan(none, 4).detectable is None  # seven pairs cannot decide four
    assert st.plan(against_zero([0.1, -0.1] * 4)).seeds_for is None  # no difference
    assert st.seeds_for(100.0, 1.0, alpha=0.05 / 8) == st.seeds_needed(8)


@pytest.mark.parametrize(
    ("compute", "args", "message"),
    [
        (paired_test, (by_seed([0.1]), by_seed([0.2] * 3)), "first arm lacks .* 1, 2"),
        (paired_test, ({0: 1.0, 6: 0.0}, {0: 2.0}), "second arm lacks the seeds 6"),
        (paired_test, ({0: 1.0}, {0: 2.0}), "1 seed means"),
        (paired_test, ({0: 1.0, 5: 2.0}, {0: math.inf, 5: 2.0}), "seed 0: mean=inf"),
        (st.holm, ({"a": 0.1, "b": 0.1}, 1), "2 comparisons: expected at most 1"),
        (st.holm, ({"a": 0.1, "b": math.nan},), "b: p="),
        (st.detectable, (5, 0.1), "n=5: expected 6 or more"),
        (st.detectable, (10, math.nan), "sd=nan"),
        (st.detectable, (10, 0.1, 0.01), "power=0.01"),
        (st.seeds_for, (math.nan, 0.1), "difference=nan"),
        (st.seeds_for, (1e-9, 1.0), "more than"),
        (st.seeds_needed, (0,), "comparisons=0"),
        (st.seeds_needed, (1, 0), "alpha=0"),
    ],
)
def test_what_has_no_answer_is_refused(compute, args, message):
    with pytest.raises(StatisticsError, match=message):
        compute(*args)


def test_mcnemar_pairs_episodes_by_seed_not_by_order():
    """Six won, none lost: 2 / 2**6 by hand; two rates alone would show nothing."""
    rows = [
        {"policy": policy, "seed": seed, "is_success": seed < solved}
        for policy, solved in (("base", 60), ("residual", 66))
        for seed in range(100)
    ]
    found = st.mcnemar_test(rows[::-1])
    assert found == st.mcnemar_test(rows)
    assert (found.won, found.lost, found.p) == (6, 0, pytest.approx(2 / 2**6))
    assert found.is_better(0.05) and not found.is_worse(0.05)
    assert found.describe(0.01)[0] == "No difference from its base shown"
    assert found.describe(0.05)[0] == "Better than its base beyond chance"
    assert st.mcnemar_test(rows[:100]) is None

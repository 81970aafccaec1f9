"""Paired tests and claims against published values, and what they refuse."""

import math
from dataclasses import replace

import numpy as np
import pytest
from conftest import ROOT

from so101rl.statistics import (
    Interval,
    StatisticsError,
    detectable,
    holm,
    improvement,
    paired_test,
    seeds_for,
    seeds_needed,
    smallest_p,
    verdicts,
)

# Darwin's maize, eighths of an inch that the crossed plant is taller than its partner
# (Fisher 1935, The Design of Experiments, sections 17 and 21).
MAIZE = (49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48)


def by_seed(values):
    return dict(enumerate(values))


def against_zero(differences):
    return paired_test(by_seed(differences), by_seed([0.0] * len(differences)))


def test_paired_test_equals_fisher_1935():
    """863 of 32768 sign flips give as large a sum; sd and t interval as in the book."""
    found = against_zero(MAIZE)
    assert (found.n, found.exact) == (15, True)
    assert found.p == pytest.approx(2 * 863 / 2**15, abs=1e-12)
    assert found.difference.mean == pytest.approx(314 / 15)
    assert found.sd == pytest.approx(37.744, abs=1e-3)
    assert found.effect == pytest.approx(314 / 15 / 37.744, abs=1e-4)
    half = 2.144787 * 37.744 / math.sqrt(15)
    assert found.difference.high == pytest.approx(314 / 15 + half, abs=1e-2)


def test_pairs_are_made_by_seed_and_either_arm_may_come_first():
    a = {7: 0.9, 3: 0.5, 11: 0.7, 1: 0.8, 4: 0.6, 0: 0.9}
    b = {0: 0.4, 1: 0.7, 3: 0.6, 4: 0.3, 7: 0.5, 11: 0.8}
    one, other = paired_test(a, b), paired_test(b, a)
    assert one == paired_test(dict(sorted(a.items())), b)
    assert one.difference.mean == pytest.approx((0.5 + 0.1 - 0.1 + 0.3 + 0.4 - 0.1) / 6)
    assert other.p == one.p
    assert other.effect == pytest.approx(-one.effect)
    assert other.difference.low == pytest.approx(-one.difference.high)
    assert other.improvement.low == pytest.approx(1 - one.improvement.high)


def test_many_pairs_are_counted_by_a_seeded_draw():
    differences = [*MAIZE, 12, -9, 31]
    found, few = against_zero(differences), against_zero(differences[:16])
    assert few.exact and not found.exact
    assert against_zero(differences) == found  # the same draw
    assert against_zero([-d for d in differences]).p == found.p
    ways = np.array(np.meshgrid(*[[-1, 1]] * 9)).reshape(9, -1)  # halves of all 2**18
    d = np.array(differences)
    sums = ((d[:9] @ ways)[:, None] + (d[9:] @ ways)[None]).ravel()
    exact = (np.abs(sums) >= d.sum()).mean()
    assert found.p == pytest.approx(exact, abs=5 * math.sqrt(exact / 99_999))


def test_unequal_seeds_are_refused_by_name():
    a, b = by_seed([0.1] * 6), by_seed([0.2] * 8)
    with pytest.raises(StatisticsError, match="the first arm lacks the seeds 6, 7"):
        paired_test(a, b)
    with pytest.raises(StatisticsError, match="the second arm lacks the seeds 6, 7"):
        paired_test(b, a)


@pytest.mark.parametrize(
    ("a", "b", "said"),
    [
        ({}, {}, "0 seed means"),
        ({0: 1.0}, {0: 2.0}, "1 seed means"),
        ({0: 1.0, 5: math.nan}, {0: 1.0, 5: 2.0}, "seed 5: mean=nan"),
        ({0: 1.0, 5: 2.0}, {0: math.inf, 5: 2.0}, "seed 0: mean=inf"),
    ],
)
def test_too_few_and_not_finite_are_refused(a, b, said):
    with pytest.raises(StatisticsError, match=said):
        paired_test(a, b)


def test_equal_differences_have_no_effect_size():
    """0.9 - 0.7 and 0.3 - 0.1 differ in the last bit: that is no spread."""
    a, b = [0.9, 0.3, 0.5, 0.4, 0.8, 0.6], [0.7, 0.1, 0.3, 0.2, 0.6, 0.4]
    found = paired_test(by_seed(a), by_seed(b))
    assert found.effect is None
    assert found.p == smallest_p(6)
    same = paired_test(by_seed(a), by_seed(a))
    assert (same.p, same.effect, same.difference) == (1, None, Interval(0, 0, 0))
    assert same.improvement.mean == 0.5


def test_rounding_errors_are_no_differences():
    a = by_seed([0.1 + 0.2] * 6)
    assert paired_test(a, by_seed([0.3] * 6)).p == 1


def test_improvement_equals_a_published_point_and_counts_ties_half():
    """Bonett's example of `ci.mann` in R's statpsych; a tie by hand."""
    a = [9.4, 10.3, 58.3, 106.0, 31.0, 46.2, 12.0, 19.0, 135.0, 159.0]
    b = [14.6, 5.1, 8.1, 22.7, 6.4, 4.4, 19.0, 3.2]
    assert improvement(by_seed(a), by_seed(b)).mean == pytest.approx(0.86875)
    assert improvement({0: 1, 1: 2}, {0: 1, 1: 0}).mean == (0.5 + 1 + 1 + 1) / 4


def test_improvement_interval_is_as_wide_as_the_variance_at_its_ends():
    """Hanley and McNeil's variance as they write it, with Newcombe's mean of sizes."""
    rng, n, m = np.random.default_rng(0), 8, 12
    found = improvement(by_seed(rng.normal(size=n)), by_seed(rng.normal(size=m)))
    for theta in (found.low, found.high):
        q1, q2, size = theta / (2 - theta), 2 * theta**2 / (1 + theta), (n + m) / 2
        variance = theta * (1 - theta)
        variance += (size - 1) * (q1 - theta**2 + q2 - theta**2)
        off = abs(found.mean - theta)
        assert off == pytest.approx(1.959964 * math.sqrt(variance / (n * m)), rel=1e-5)


def test_arms_that_do_not_overlap_still_have_a_width():
    high, low = by_seed([0.9, 0.95, 0.92]), by_seed([0.1, 0.2, 0.15])
    found, other = improvement(high, low), improvement(low, high)
    assert (found.mean, found.high, other.mean, other.low) == (1, 1, 0, 0)
    assert 0.3 < found.low < 0.7
    assert other.high == pytest.approx(1 - found.low)


def test_holm_equals_published_values():
    """The example of `pingouin.holm`."""
    p = {"a": 0.50, "b": 0.003, "c": 0.32, "d": 0.054, "e": 0.0003}
    found = {"a": 0.64, "b": 0.012, "c": 0.64, "d": 0.162, "e": 0.0015}
    assert holm(p) == pytest.approx(found)
    assert list(holm(p)) == list(p)


def test_holm_counts_comparisons_without_result():
    p = {"a": 0.01, "b": 0.02}
    missing = holm(p | {"c": 1.0, "d": 1.0})
    assert holm(p, registered=4) == {name: missing[name] for name in p}
    assert holm({}) == {}
    with pytest.raises(StatisticsError, match="2 comparisons: expected at most 1"):
        holm(p, registered=1)


@pytest.mark.parametrize("p", [-0.1, 1.1, math.nan])
def test_holm_refuses_what_is_no_p(p):
    with pytest.raises(StatisticsError, match="b: p="):
        holm({"a": 0.1, "b": p})


@pytest.mark.parametrize(("m", "n"), [(1, 6), (2, 7), (4, 8), (8, 9)])
def test_seeds_needed_for_comparisons(m, n):
    assert seeds_needed(m) == n
    assert against_zero([1.0] * n).p == smallest_p(n)


@pytest.mark.parametrize(("m", "alpha"), [(0, 0.05), (1, 0), (1, 1), (1, math.nan)])
def test_seeds_needed_refuses_nonsense(m, alpha):
    with pytest.raises(StatisticsError):
        seeds_needed(m, alpha)


def test_no_claim_from_fewer_than_six_pairs():
    """Not even where somebody hands in a small p."""
    five = replace(against_zero([0.3] * 5), p=0.001)
    (found,) = verdicts({"x": five}).values()
    assert found.decision == "refused"
    assert found.describe("A", "B") == (
        "no claim about A and B: 5 paired seeds, it takes 6"
    )


@pytest.mark.parametrize("alpha", [0.05, 0.3, 0.9])
def test_no_level_lets_fewer_than_six_pairs_claim(alpha):
    assert seeds_needed(1, alpha) == 6
    (found,) = verdicts({"x": against_zero([0.3] * 5)}, alpha).values()
    assert (found.decision, found.needed) == ("refused", 6)


def test_verdicts_are_adjusted_for_all_comparisons():
    six, up = against_zero([0.1] * 6), against_zero([0.1, 0.2, 0.1, 0.3, 0.1, 0.2, 0.1])
    down, none = against_zero([-0.1] * 9), against_zero([0.1, -0.1] * 5)
    assert verdicts({"six": six})["six"].decision == "better"
    both = verdicts({"six": six, "up": up})  # 2 * 2 / 2**7, then 2 / 2**6
    assert [found.decision for found in both.values()] == ["better", "better"]
    found = verdicts({"six": six, "down": down, "none": none})
    assert {name: one.decision for name, one in found.items()} == {
        "six": "refused",  # three comparisons take 7 pairs each
        "down": "worse",
        "none": "undecided",
    }
    assert found["six"].p == pytest.approx(2 * 2 / 2**6)
    assert "no difference shown" in found["none"].describe("A", "B")
    assert found["down"].describe("A", "B") == "A is worse than B"
    alone = verdicts({"six": six}, registered=2)["six"]
    assert alone.describe("A", "B").endswith("6 paired seeds, it takes 7")


@pytest.mark.parametrize(("effect", "n"), [(0.2, 199), (0.5, 34), (0.8, 15)])
def test_seeds_for_equals_published_sample_sizes(effect, n):
    """Paired t test at 0.05, power 0.8: the numbers that G*Power gives."""
    assert seeds_for(effect, 1.0) == n
    assert seeds_for(-100 * effect, 100.0) == n
    assert detectable(n, 1.0) <= effect < detectable(n - 1, 1.0)


@pytest.mark.parametrize(("n", "shown"), [(6, 1.43), (10, 1.00), (20, 0.66)])
def test_detectable_is_what_the_documentation_says(n, shown):
    assert round(detectable(n, 1.0), 2) == shown
    assert f"{shown:.2f} sd with {n}" in (ROOT / "docs/statistics.md").read_text()


def test_a_detectable_difference_is_shown_as_often_as_said():
    rng, n, sd = np.random.default_rng(0), 10, 0.08
    for power in (0.5, 0.8):
        values = rng.normal(detectable(n, sd, power), sd, (4000, n))
        t = values.mean(-1) / values.std(-1, ddof=1) * math.sqrt(n)
        assert (t > 2.262157).mean() == pytest.approx(power, abs=0.03)


def test_seeds_for_never_says_fewer_than_the_sign_flip_test_takes():
    assert seeds_for(100.0, 1.0) == 6
    assert seeds_for(100.0, 1.0, alpha=0.05 / 8) == seeds_needed(8)


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: detectable(5, 0.1), "n=5: expected 6 or more"),
        (lambda: detectable(10, 0.0), "sd=0.0"),
        (lambda: detectable(10, math.nan), "sd=nan"),
        (lambda: detectable(10, 0.1, power=1), "power=1"),
        (lambda: detectable(10, 0.1, power=0.01), "power=0.01"),
        (lambda: detectable(10, 0.1, alpha=0), "alpha=0"),
        (lambda: seeds_for(0.0, 0.1), "difference=0.0"),
        (lambda: seeds_for(math.nan, 0.1), "difference=nan"),
        (lambda: seeds_for(1e-9, 1.0), "more than"),
    ],
)
def test_power_refuses_what_has_no_answer(call, said):
    with pytest.raises(StatisticsError, match=said):
        call()

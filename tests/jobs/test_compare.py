"""Two runs, or two arms of several seeds, and what may be said of them."""

import re
import shutil

import numpy as np
import pytest
from made_up import N, episodes, make_run, write_episodes
from scipy import stats

from so101rl.report.run_comparison import compare_sides, read_side
from so101rl.runs.arms import StudyError
from so101rl.runs.metrics import ScoreError

A = [8, 9, 10, 8, 11, 9, 10, 7]
B = [12, 14, 13, 12, 16, 13, 15, 11]
C = [9, 8, 12, 7, 11, 10, 9, 8]


def make_arm(folder, solved, *, first=0, alpha=0.5, **more):
    """A run per seed."""
    for seed, count in enumerate(solved, start=first):
        where = folder / f"seed-{seed}"
        make_run(where, seed=seed, residual=count, alpha=alpha, **more)
    return str(folder)


@pytest.fixture
def arms(tmp_path):
    """Two arms of eight seeds that differ in alpha; b is better in every pair."""
    return make_arm(tmp_path / "a", A), make_arm(tmp_path / "b", B, alpha=1.0)


def said(*paths, significance=0.05):
    """All lines of a comparison as one text."""
    return "\n".join(compare_sides(*map(read_side, paths), significance))


def test_arms_are_compared_in_pairs(arms):
    text = said(*arms)
    difference = 100 * (np.array(A) - np.array(B)) / N
    test = stats.ttest_1samp(difference, 0).confidence_interval()
    effect = difference.mean() / difference.std(ddof=1)
    assert (
        f"8 pairs of the same seed: A - B = {difference.mean():.1f} "
        f"[{test.low:.1f}, {test.high:.1f}] points, sign-flip test p = {2 / 2**8:.2g}, "
        f"d_z = {effect:.2f}"
    ) in text
    assert "A is worse than B." in text
    assert "Nobody registered this comparison" in text
    assert "residual.alpha: 0.5 | 1" in text
    assert f"A: {arms[0]}, 8 seeds x 20 episodes: residual success 45.0 [39.5" in text


def test_the_order_changes_the_sign_and_nothing_else(arms):
    first, second = said(*arms), said(*reversed(arms))
    number = (
        r"A - B = ([-+][\d.]+) \[(-?[\d.]+), (-?[\d.]+)\] points, "
        r"sign-flip test p = (\S+), d_z = (\S+)"
    )
    one, two = (re.search(number, text).groups() for text in (first, second))
    assert [float(x) for x in one[:3]] == [-float(two[i]) for i in (0, 2, 1)]
    assert one[3] == two[3]
    assert float(one[4]) == -float(two[4])
    assert "A is better than B." in second


def test_what_is_not_shown_is_not_claimed(tmp_path):
    a = make_arm(tmp_path / "a", A)
    b = make_arm(tmp_path / "b", C, alpha=1.0)
    text = said(a, b)
    assert "No difference shown between A and B." in text
    shown = re.search(r"8 pairs show a difference of ([\d.]+) points with 80 %", text)
    sd = 100 * np.std(np.subtract(A, C) / N, ddof=1)
    effect = float(shown[1]) / sd * np.sqrt(8)
    power = stats.nct.sf(stats.t.ppf(0.975, 7), 7, effect)
    assert power == pytest.approx(0.8, abs=0.01)
    assert re.search(r"A difference of the size seen takes about \d+ pairs", text)
    assert "better" not in text
    assert "worse" not in text


def test_five_pairs_make_no_claim(tmp_path):
    a = make_arm(tmp_path / "a", [1, 2, 1, 2, 1])
    b = make_arm(tmp_path / "b", [18, 19, 17, 19, 18])
    assert "No claim about A and B: 5 paired seeds, it takes 6." in said(a, b)


def test_arms_that_reach_the_same_say_so(tmp_path):
    a, b = (make_arm(tmp_path / name, A) for name in "ab")
    text = said(a, b)
    assert "A - B = 0.0 [0.0, 0.0] points, sign-flip test p = 1" in text
    assert "its interval has no width" in text
    assert "their settings are the same" in text
    assert "takes about" not in text


def test_equal_seeds_have_the_interval_of_one(tmp_path):
    """No more certain for having been run three times."""
    a, b = (make_arm(tmp_path / name, [8] * 3) for name in "ab")
    assert "3 seeds x 20 episodes: residual success 40.0 [21.9, 61.3] %" in said(a, b)


def test_a_seed_without_partner_is_left_out_and_said(tmp_path):
    a, b = make_arm(tmp_path / "a", A), make_arm(tmp_path / "b", B[:7], alpha=1.0)
    make_run(tmp_path / "b/seed-9", seed=9, alpha=1.0)
    text = said(a, b)
    assert "7 pairs of the same seed" in text
    assert "without a partner, left out: seed 7, 9" in text


def test_runs_without_a_result_are_named(arms, tmp_path):
    make_run(tmp_path / "a/seed-8", seed=8, alpha=0.5, status="failed", error="oh")
    assert "gave no result: seed 8, failed (seed-8)" in said(*arms)


def test_an_arm_is_not_better_for_its_failures(arms, tmp_path):
    shutil.rmtree(tmp_path / "b/seed-3")
    make_run(tmp_path / "b/seed-3", seed=3, alpha=1.0, status="failed", error="oh")
    text = said(*arms)
    assert "No claim about A and B: seed 3 gave no result in one of them." in text
    assert "is better" not in text and "is worse" not in text


def test_tuning_episodes_are_named(arms, tmp_path):
    make_arm(tmp_path / "tuned", A[:2], played="tune")
    make_arm(tmp_path / "tuned_b", B[:2], played="tune", alpha=1.0)
    text = said(str(tmp_path / "tuned"), str(tmp_path / "tuned_b"))
    assert text.count("on tune episodes") == 2


# --- one run each ---


def solved_by(path, numbers):
    """Let a run of seed 0 solve just the episodes with these numbers."""
    rows = episodes("residual", N)
    for row in rows:
        row["is_success"] = row["episode"] in numbers
        row["failure"] = "none" if row["is_success"] else "timed_out"
        row["time_to_success_s"] = 1.0 if row["is_success"] else None
    write_episodes(path, {"base": episodes("base", 8), "residual": rows})


@pytest.fixture
def pair(tmp_path):
    """A alone solves episodes 1 to 9, B alone 19; both solve 0."""
    for name, alpha, numbers in (("a", 0.5, range(10)), ("b", 1.0, (0, 19))):
        make_run(tmp_path / name, alpha=alpha)
        solved_by(tmp_path / name, numbers)
    return str(tmp_path / "a"), str(tmp_path / "b")


def test_two_runs_are_compared_episode_by_episode(pair):
    text = said(*pair)
    p = stats.binomtest(9, 10).pvalue
    assert (
        "20 episodes that both played: A alone solves 9, B alone 1; "
        f"exact McNemar p = {p:.2g}"
    ) in text
    assert "A is better than B on these episodes, beyond chance." in text
    assert "not two settings" in text
    assert "A is worse than B on these episodes" in said(*reversed(pair))
    assert "No difference between A and B shown." in said(*pair, significance=0.01)


def test_only_episodes_of_both_are_compared(pair, tmp_path):
    write_episodes(tmp_path / "b", {p: episodes(p, 0, 6) for p in ("base", "residual")})
    assert "6 episodes that both played: A alone solves 6, B alone 0" in said(*pair)


def test_a_run_may_be_compared_with_a_bare_base(pair, tmp_path):
    write_episodes(tmp_path / "b", {"base": episodes("base", 2)})
    text = said(*pair)
    assert "base success 10.0 [" in text
    assert "A alone solves 8, B alone 0" in text


def test_runs_of_other_seeds_have_nothing_in_common(pair, tmp_path):
    make_run(tmp_path / "c", seed=1)
    with pytest.raises(
        StudyError, match="A has seed 0, B has 1: expected runs of the same"
    ):
        said(pair[0], str(tmp_path / "c"))


def test_runs_of_other_roles_have_nothing_in_common(pair, tmp_path):
    rows = {p: episodes(p, 9, role="tune") for p in ("base", "residual")}
    write_episodes(tmp_path / "b", rows)
    with pytest.raises(StudyError, match="no episode in common"):
        said(*pair)


# --- what cannot be compared ---


def test_a_folder_of_two_arms_is_no_side(arms, tmp_path):
    with pytest.raises(StudyError, match=r"not one arm, .* residual\.alpha=0\.5 and"):
        read_side(str(tmp_path))


def test_a_seed_counts_once(arms, tmp_path):
    shutil.copytree(tmp_path / "a/seed-3", tmp_path / "a/again")
    with pytest.raises(StudyError, match="have the same seed"):
        read_side(arms[0])


def test_arms_have_to_play_the_same_episodes(arms, tmp_path):
    rows = {p: episodes(p, 5, 10, root=3) for p in ("base", "residual")}
    write_episodes(tmp_path / "b/seed-3", rows, 3)
    with pytest.raises(StudyError, match=r"not play the same episodes \(20 and 10\)"):
        said(*arms)


def test_files_that_contradict_each_other_are_refused(arms, tmp_path):
    path = tmp_path / "a/seed-3/evaluation.json"
    pattern = r'("residual": {\s+"success_rate": )[\d.]+'
    path.write_text(re.sub(pattern, r"\g<1>0.9", path.read_text()))
    with pytest.raises(ScoreError, match=r"0\.9, its episodes give 0\.4"):
        read_side(arms[0])


def test_a_folder_without_results_is_told(tmp_path):
    with pytest.raises(StudyError, match="no such folder"):
        read_side(str(tmp_path / "absent"))
    with pytest.raises(StudyError, match="no finished run"):
        read_side(str(tmp_path))


def test_command_line(pair, run_main):
    code, out, _ = run_main("job=compare", f"runs=[{pair[0]},{pair[1]}]")
    assert code == 0, out.err
    assert "A is better than B on these episodes" in out.out
    code, out, _ = run_main("job=compare", f"runs=[{pair[0]}]")
    assert code == 2
    assert "two run directories, or two folders" in out.err
    assert run_main("job=compare")[0] == 2

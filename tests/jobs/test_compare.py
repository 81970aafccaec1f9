"""Two runs, or two arms of several seeds, and what is claimed about them."""

import re

import numpy as np
import pytest
from made_up import N, episodes, make_run, write_episodes
from omegaconf import OmegaConf
from scipy import stats

from so101rl.errors import ConfigError
from so101rl.jobs.compare import compare
from so101rl.report.run_comparison import read_side
from so101rl.runs.arms import StudyError
from so101rl.runs.metrics import ScoreError

A, B = [8, 9, 10, 8, 11, 9, 10, 7], [12, 14, 13, 12, 16, 13, 15, 11]
HALF = {"residual.alpha": 0.5}


def make_arm(folder, solved, keys=None):
    for seed, count in enumerate(solved):
        make_run(folder / f"seed-{seed}", seed=seed, residual=count, keys=keys)
    return str(folder)


@pytest.fixture
def lines(capsys):
    def compared(*paths, significance=0.05):
        job = {"significance": significance}
        compare(OmegaConf.create({"runs": list(map(str, paths)), "job": job}))
        return capsys.readouterr().out

    return compared


@pytest.fixture
def arms(tmp_path):
    """Two arms of eight seeds that differ in alpha; b is better in every pair."""
    return make_arm(tmp_path / "a", A, keys=HALF), make_arm(tmp_path / "b", B)


def test_arms_are_compared_in_pairs_in_either_order(arms, lines):
    difference = 100 * (np.array(A) - np.array(B)) / N
    low, high = stats.ttest_1samp(difference, 0).confidence_interval()
    mean, effect = difference.mean(), difference.mean() / difference.std(ddof=1)
    text, reverse = lines(*arms), lines(*reversed(arms))
    p = f"points, sign-flip test p = {2 / 2**8:.2g}"
    ends = f"{mean:.1f} [{low:.1f}, {high:.1f}] {p}, d_z = {effect:.2f}"
    assert f"8 pairs of the same seed: A - B = {ends}" in text
    ends = f"{-mean:+.1f} [{-high:.1f}, {-low:.1f}] {p}, d_z = {-effect:.2f}"
    assert f"8 pairs of the same seed: A - B = {ends}" in reverse
    assert "A: worse than B.\nNobody registered this comparison" in text
    assert "A: better than B." in reverse
    assert "residual.alpha: 0.5 | 1" in text
    assert f"A: {arms[0]}, 8 seeds x 20 episodes: residual success 45.0 [39.5" in text


def test_what_is_not_shown_is_not_claimed(tmp_path, lines):
    c = [9, 8, 12, 7, 11, 10, 9, 8]
    text = lines(make_arm(tmp_path / "a", A), make_arm(tmp_path / "c", c))
    shown = re.search(r"8 pairs show a difference of ([\d.]+) points with 80 %", text)
    sd = 100 * np.std(np.subtract(A, c) / N, ddof=1)
    power = stats.nct.sf(stats.t.ppf(0.975, 7), 7, float(shown[1]) / sd * np.sqrt(8))
    assert power == pytest.approx(0.8, abs=0.01)
    assert "A: no difference shown." in text and "the size seen takes about " in text
    assert not re.search("better|worse", text)


def test_equal_arms_of_few_tuning_episodes_claim_nothing(tmp_path, lines):
    keys = {"evaluation.role": "tune"}
    text = lines(*(make_arm(tmp_path / x, [8] * 3, keys=keys) for x in "ab"))
    for words in (  # equal seeds have the interval of one: three say no more
        "3 seeds x 20 episodes: residual success 40.0 [21.9, 61.3] %",
        "on tune episodes",
        "their settings are the same",
        "A - B = 0.0 [0.0, 0.0] points, sign-flip test p = 1",
        "its interval has no width",
        "A: no claim: 3 paired seeds, expected 6 or more.\n",
    ):
        assert words in text


def test_seeds_without_partner_or_result_forbid_a_claim(arms, tmp_path, lines):
    make_run(tmp_path / "a/seed-9", seed=9, keys=HALF)
    make_run(tmp_path / "a/seed-8", seed=8, keys=HALF, error="oh")
    text = lines(*arms)
    assert "without a partner, left out: seed 9" in text
    assert "gave no result: seed 8, failed (seed-8)" in text
    assert "A: worse than B." in text
    for name in ("episodes.csv", "evaluation.json"):
        (tmp_path / "b/seed-3" / name).unlink()
    text = lines(*arms)
    assert text.endswith("No claim: seed 3 gave no result in one of them.\n")


def test_two_runs_are_compared_on_the_episodes_of_both(tmp_path, lines):
    for name, numbers in (("a", range(10)), ("b", (0, 19))):
        make_run(tmp_path / name)
        rows = episodes("residual", N)
        rows = [{**row, "is_success": row["episode"] in numbers} for row in rows]
        write_episodes(tmp_path / name, {"base": episodes("base", 8), "residual": rows})
    a, b = tmp_path / "a", tmp_path / "b"
    text, p = lines(a, b), stats.binomtest(9, 10).pvalue
    assert f"A alone solves 9, B alone 1; exact McNemar p = {p:.2g}" in text
    assert "A is better than B on these episodes, beyond chance." in text
    assert "A is worse than B on these episodes" in lines(b, a)
    assert "No difference between A and B shown." in lines(a, b, significance=0.01)
    write_episodes(b, {"base": episodes("base", 2, 6)})  # evaluates a bare base
    text = lines(a, b)
    assert "6 episodes that both played: A alone solves 4, B alone 0" in text
    assert "base success 33.3 [" in text
    write_episodes(b, {"base": episodes("base", 9, role="tune")}, role="tune")
    make_run(tmp_path / "c", seed=1)
    for other, message in ((b, "no episode in common"), ("c", "A has seed 0, B has 1")):
        with pytest.raises(StudyError, match=message):
            lines(a, tmp_path / other)


def test_folders_that_are_no_arm_are_refused(arms, tmp_path, lines):
    rows = {p: episodes(p, 5, 10, root=3) for p in ("base", "residual")}
    write_episodes(tmp_path / "b/seed-3", rows, 3)
    with pytest.raises(StudyError, match=r"not play the same episodes \(20 and 10\)"):
        lines(*arms)
    with pytest.raises(ConfigError, match="two run directories, or two folders"):
        lines(arms[0])
    for name in ("twins/1", "twins/2", "liar"):
        make_run(tmp_path / name)
    path = tmp_path / "liar/evaluation.json"
    path.write_text(path.read_text().replace('_rate": 0.9,', '_rate": 1,'))
    (tmp_path / "empty").mkdir()
    for name, message in {
        ".": r"not one arm, .* residual\.alpha=0\.5 and",
        "absent": "no such folder",
        "empty": "no finished run",
        "twins": "have the same seed",
        "liar": r"rate 1\.?0?, its episodes give 0\.9",
    }.items():
        with pytest.raises((StudyError, ScoreError), match=message):
            read_side(str(tmp_path / name))

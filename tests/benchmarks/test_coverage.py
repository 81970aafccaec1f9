"""The intervals hold the truth as often as they say, where they can."""

import json

import numpy as np
import pytest
from conftest import ROOT

from benchmarks import coverage
from so101rl.statistics import bca_interval, improvement, iqm_interval, t_interval

DRAWS = 8000  # standard error 0.24 points


@pytest.fixture(scope="module")
def populations():
    return coverage.populations()


@pytest.mark.parametrize("n", [5, 10, 20])
@pytest.mark.parametrize("name", ["normal", "uniform", "logistic"])
def test_t_covers_on_normal_and_symmetric_data(populations, name, n):
    values = np.random.default_rng(n).choice(populations[name], (DRAWS, n))
    low, high = coverage.t_ends(values, 0.95)
    truth = populations[name].mean()
    assert 0.93 <= ((low <= truth) & (truth <= high)).mean() <= 0.97


def test_what_is_simulated_is_what_is_printed(populations):
    """Many draws at once give the ends that one draw gives."""
    rows = np.random.default_rng(0).choice(populations["normal"], (3, 9))
    t, iqm = coverage.t_ends(rows, 0.95), coverage.iqm_ends(rows, 0.95)[1:]
    for i, row in enumerate(rows):
        means = dict(enumerate(row))
        for interval, ends in ((t_interval, t), (iqm_interval, iqm)):
            found = interval(means)
            assert (ends[0][i], ends[1][i]) == pytest.approx((found.low, found.high))
        alone = coverage.bca_ends(np.sort(row)[None], 0.95, 9999, 0)
        found = bca_interval(means)
        assert (alone[0][0], alone[1][0]) == pytest.approx((found.low, found.high))
    found = improvement(dict(enumerate(rows[0])), dict(enumerate(rows[1])))
    assert coverage.improvement_ends(found.mean, 9, 9, 0.95) == (found.low, found.high)


def test_populations_are_what_their_names_say(populations):
    means = {name: values.mean() for name, values in populations.items()}
    assert means["Beta(19, 1), near 1"] == pytest.approx(0.95, abs=1e-4)
    assert means["the same, of 100 episodes"] == pytest.approx(0.95, abs=1e-4)
    assert means["lognormal, sigma 1"] == pytest.approx(np.exp(0.5), rel=1e-3)
    assert means["one seed in five fails"] == pytest.approx(0.2 * 0.1 + 0.8 * 0.95)


def test_the_program_runs_and_gives_the_same_twice(tmp_path, populations):
    coverage.main(["--quick", "--out", str(tmp_path)])
    found = json.loads((tmp_path / "coverage.json").read_text())
    assert len(found["intervals"]) == 4 * len(populations)
    assert coverage.table(found) == (tmp_path / "coverage.md").read_text()
    again = coverage.intervals(populations["normal"], 3, **coverage.SHORT)
    assert found["intervals"][0] == {"population": "normal", **again}


def test_the_recorded_table_is_that_of_the_recorded_numbers():
    folder = ROOT / "benchmarks/results"
    result = json.loads((folder / "coverage.json").read_text())
    assert coverage.table(result) == (folder / "coverage.md").read_text()
    t = {
        (row["population"], row["n"]): row["t"]
        for row in result["intervals"]
        if row["population"] in ("normal", "uniform", "logistic") and row["n"] > 3
    }
    assert len(t) == 9 and all(93 <= value <= 97 for value in t.values())

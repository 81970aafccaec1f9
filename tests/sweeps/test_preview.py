"""A dry run says what would be run, and runs nothing of it."""

import json
import re

import pytest
from sweeping import Lab

from so101rl.sweeps import preview
from so101rl.sweeps.preview import Cost, total

MIB = 2**20


@pytest.fixture
def lab(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(preview, "_KNOWN", {})
    preview._earlier.cache_clear()
    lab = Lab(tmp_path, monkeypatch, capsys)
    lab.folder = tmp_path / "multirun/sweep"  # where earlier runs are looked for
    return lab


def took(run, seconds):
    """Let a run have been a training that took so long."""
    path = run.path / "run.json"
    facts = {"wall_clock_s": seconds, "groups": {"job": "train"}}
    path.write_text(json.dumps(json.loads(path.read_text()) | facts))


def test_runs_at_a_time_share_the_wall_clock_and_not_the_disk():
    each = [Cost(60.0, MIB, "a"), Cost(60.0, MIB, "b"), Cost(120.0, 2 * MIB, "a")]
    assert total(each, 2) == (
        "3 runs, 2 at a time: about 2 min, 4.2 MB; known from a and b. Nothing was run."
    )
    assert "about 2 min," in total(each, 8)  # no shorter than the longest
    assert "about 4 min" in total(each, 1)


def test_what_is_not_known_of_one_is_not_known_of_all():
    text = total([Cost(60.0, MIB, "a"), None], 2)
    assert text.startswith("2 runs, 2 at a time; how long is known of trainings alone")


def test_it_lists_the_jobs_that_are_left_with_what_earlier_ones_took(lab):
    assert lab.run("seed=0,1").code == 0
    for name, seconds in (("0", 60.0), ("1", 180.0)):
        took(lab.run_of(name), seconds)
    lab.folder = lab.home / "multirun/other"
    answer = lab.run("seed=0,1", "residual.alpha=0.3,0.7", "hydra.sweeper.dry_run=true")
    assert answer.code == 0, answer.err
    common, *jobs, last = answer.out.splitlines()
    assert common.startswith("all with: tracking=none")
    assert [re.split("  +", job.strip()) for job in jobs] == [
        [str(number), "2 min", words]
        for number, words in enumerate(
            f"seed={seed} residual.alpha={alpha}"
            for seed in (0, 1)
            for alpha in (0.3, 0.7)
        )
    ]
    assert last.startswith("4 runs")
    assert last.endswith("known from earlier runs. Nothing was run.")
    assert lab.runs() == []  # in the folder of the sweep that was not run


def test_what_is_done_is_not_listed_again(lab):
    assert lab.run("seed=0,1").code == 0
    answer = lab.run("seed=0,1", "hydra.sweeper.dry_run=true")
    assert answer.out == "2 of 2 jobs are done\n"


def test_without_earlier_runs_a_short_training_is_measured(lab):
    answer = lab.run("seed=0,1", "hydra.sweeper.dry_run=true")
    assert answer.code == 0, answer.err
    assert "measuring a short training" in answer.out
    assert "known from short trainings" in answer.out
    assert lab.runs() == []


def test_a_short_training_that_tells_no_speed_is_no_estimate(lab):
    """Those of `fake_main` write no timings."""
    answer = lab.run("total_timesteps=20000", "seed=0", "hydra.sweeper.dry_run=true")
    assert answer.code == 2
    assert "logged no time/fps" in answer.err


def test_a_training_that_cannot_start_says_so(lab):
    answer = lab.run("init_from=refuse", "seed=0,1", "hydra.sweeper.dry_run=true")
    assert answer.code == 2
    assert "dry_run: something cannot work" in answer.err


def test_jobs_that_are_no_trainings_are_listed_without_time(lab):
    told = ["job=evaluate", "base_policy=jacobian,hybrid", "hydra.sweeper.dry_run=true"]
    answer = lab.run(*told)
    assert answer.code == 0, answer.err
    _, first, second, last = answer.out.splitlines()
    assert first.split() == ["0", "?", "base_policy=jacobian"]
    assert second.split() == ["1", "?", "base_policy=hybrid"]
    assert last.startswith("2 runs, ")
    assert "known of trainings alone" in last


def test_a_search_is_told_with_its_space(lab):
    assert lab.run("seed=0").code == 0
    answer = lab.run(
        "sweep=residual",
        "hydra.sweeper.n_trials=5",
        "hydra.sweeper.seeds=2",
        "hydra.sweeper.dry_run=true",
    )
    assert answer.code == 0, answer.err
    assert re.search(
        r"residual.alpha +FloatDistribution\(high=1.0, .*low=0.2", answer.out
    )
    assert "5 trials of 2 runs; at most, before pruning:" in answer.out
    assert "10 runs, " in answer.out

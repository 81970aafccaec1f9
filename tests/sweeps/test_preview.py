"""A dry run says what would be run, and says so if it ran short trainings for that."""

import re

import pytest
import sweeping
from made_up import edit_info

from so101rl.sweeps.preview import Cost, total

lab = sweeping.lab
MIB, DRY = 2**20, "hydra.sweeper.dry_run=true"


def test_parallel_runs_share_the_time_and_not_the_disk():
    each = [Cost(60.0, MIB, "a"), Cost(60.0, MIB, "b"), Cost(120.0, 2 * MIB, "a")]
    assert total(each, 2) == (
        "3 runs, 2 at a time: about 2 min, 4.2 MB; taken from a and b. Nothing was run."
    )
    assert "about 2 min," in total(each, 8)  # no shorter than the longest
    assert "about 4 min" in total(each, 1)
    text = total([each[0], None], 2)  # one unknown makes the sum unknown
    assert text.startswith("2 runs, 2 at a time; only the time of trainings can")


def test_it_lists_the_jobs_that_are_left_with_what_earlier_ones_took(lab):
    lab.folder = lab.home / "multirun/sweep"  # where earlier runs are looked for
    assert lab.run("seed=0,1").code == 0
    for name, seconds in (("0", 60.0), ("1", 180.0)):
        facts = {"wall_clock_s": seconds, "groups": {"job": "train"}}
        edit_info(lab.folder / name, **facts)
    lab.folder = lab.home / "multirun/other"
    answer = lab.run("seed=0,1", "residual.alpha=0.3,0.7", DRY)
    assert answer.code == 0, answer.err
    common, *jobs, last = answer.out.splitlines()
    assert common.startswith("all with: tracking=none")
    assert [re.split("  +", job.strip()) for job in jobs] == [
        [str(2 * seed + n), "2 min", f"seed={seed} residual.alpha={alpha}"]
        for seed in (0, 1)
        for n, alpha in enumerate((0.3, 0.7))
    ]
    assert last.startswith("4 runs")
    assert last.endswith("taken from earlier runs. Nothing was run.")
    settings = ("hydra.sweeper.n_trials=5", "hydra.sweeper.seeds=2")
    answer = lab.run("sweep=residual", *settings, "init_from=null", DRY)
    assert answer.code == 0, answer.err
    line = r"residual.alpha +FloatDistribution\(high=1.0, .*low=0.2"
    assert re.search(line, answer.out)
    assert "5 trials of 2 runs; at most, before pruning:\n10 runs, " in answer.out
    assert lab.runs() == []  # in the folders of the sweeps that were not run
    answer = lab.run("job=evaluate", "base_policy=jacobian,hybrid", DRY)
    _, first, _, last = answer.out.splitlines()
    assert first.split() == ["0", "?", "base_policy=jacobian"]
    assert "trainings can be estimated. Nothing was run." in last


@pytest.mark.parametrize(
    ("word", "message"),
    [  # those of `fake_main` write no timings
        ("seed=0", None),
        ("total_timesteps=20000", "logged no time/fps"),
        ("init_from=refuse", "dry_run: something cannot work"),
    ],
)
def test_without_earlier_runs_a_short_training_is_measured_and_named(
    lab, word, message
):
    answer = lab.run(word, "n_envs=4,8", DRY)
    assert "measuring a short training" in answer.out
    if message is None:
        assert "taken from short trainings. Only short trainings were" in answer.out
        assert answer.code == 0 and "Nothing was run" not in answer.out
    else:
        assert answer.code == 2 and message in answer.err
    assert lab.runs() == []

"""Tables count every run, and figures draw what the runs say."""

import csv
import math
import random
import shutil
import subprocess

import pytest
from conftest import ROOT
from omegaconf import OmegaConf

from so101rl.figures.style import FigureError
from so101rl.figures.summary import _draw_failures, _mark_kept, figure_summary
from so101rl.report import main, study_table
from so101rl.rundir import RunDir
from so101rl.study import SAME_ARM, StudyError

FAILURES = ("timed_out", "wrong_yaw", "overshot", "jammed", "never_touched")


def scores(rate, n=100):
    k = round(rate * n)
    lost = [(n - k) // 2, (n - k) // 5, (n - k) // 6, (n - k) // 10]
    counts = [k, *lost, n - k - sum(lost)]
    z = 1.96
    half = z / (n + z * z) * math.sqrt(k * (n - k) / n + z * z / 4)
    centre = (k + z * z / 2) / (n + z * z)
    return {
        "success_rate": k / n,
        "wilson_95": [centre - half, centre + half],
        "n_episodes": n,
        "failures": dict(zip(FAILURES, counts[1:], strict=True)),
    }


def make_run(
    path, *, seed=0, base=0.41, residual=0.97, status="finished", keys=None, **groups
):
    """A run directory as training leaves it, with made-up numbers."""
    rng = random.Random(f"{path}{seed}")
    chosen = {"env": "paper_push", "base_policy": "jacobian", "algo": "ppo"}
    alpha = groups.pop("alpha", 1.0)
    cfg = OmegaConf.create({"seed": seed, "residual": {"alpha": alpha}})
    for key, value in (keys or {}).items():
        OmegaConf.update(cfg, key, value)
    run = RunDir.create(
        path,
        cfg=cfg,
        command=f"main.py seed={seed}",
        groups=chosen | groups,
    )
    for step in range(8192, 300_001, 8192):
        reached = residual + (base - residual) * math.exp(-step / 60_000)
        noisy = reached + rng.gauss(0, 0.03)
        metrics = {"rollout/success_rate": min(max(noisy - 0.08, 0), 1)}
        if step // 8192 % 6 == 0:
            metrics["eval/success_rate"] = min(max(noisy, 0), 1)
        run.log(step, metrics)
    if status == "finished":
        policies = {"base": scores(base), "residual": scores(residual)}
        run.write_evaluation({"policies": policies, "policy_step": 245_760})
    run.finish(status, None if status == "finished" else ValueError("diverged"))
    return run


@pytest.fixture
def study(tmp_path):
    """Two arms of three seeds; one seed of the second arm failed."""
    runs = []
    for base_policy, base, residual in (("jacobian", 0.41, 0.96), ("zero", 0, 0.7)):
        for seed in range(3):
            bad = base_policy == "zero" and seed == 2
            run = make_run(
                tmp_path / "runs" / f"{base_policy}{seed}",
                seed=seed,
                base=base,
                residual=residual + (seed - 1) / 100,
                status="failed" if bad else "finished",
                base_policy=base_policy,
            )
            runs.append(run)
    return runs


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG")


def test_summary_figure_is_drawn(tmp_path):
    path = figure_summary(make_run(tmp_path / "run"))
    assert path == tmp_path / "run" / "figures" / "summary.png"
    assert is_png(path)


def test_summary_figure_rings_the_policy_that_was_kept(tmp_path):
    """Of two scores at its step, the last counts: that is the one that was saved."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    points = [(0, 0.4), (64, 0.8), (64, 0.9), (128, 0.7)]
    lines = [{"step": step, "eval/success_rate": rate} for step, rate in points]
    _mark_kept(axes, lines, 64)
    (ring,) = axes.lines
    assert ring.get_xydata().tolist() == [[64, 90]]


def test_summary_figure_of_a_bare_base_without_metrics(tmp_path):
    cfg = {"seed": 0, "residual": {"alpha": 0.0}}
    run = RunDir.create(tmp_path / "run", cfg=cfg, command="x")
    run.write_evaluation({"policies": {"base": scores(1.0)}})
    assert is_png(figure_summary(run))


def test_summary_figure_needs_an_evaluation(tmp_path):
    run = make_run(tmp_path / "run", status="failed")
    with pytest.raises(FigureError, match=r"no evaluation\.json"):
        figure_summary(run)


def test_same_run_same_figure(tmp_path):
    run = make_run(tmp_path / "run")
    assert figure_summary(run).read_bytes() == figure_summary(run).read_bytes()


def test_results_hold_one_row_per_run(study, tmp_path):
    study_table(study, tmp_path / "out")
    with (tmp_path / "out" / "results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 6
    assert {row["uid"] for row in rows} == {run.info["uid"] for run in study}
    assert rows[1]["base_success"] == "0.41"
    assert rows[1]["env_steps"] == "294912"
    assert [row["status"] for row in rows].count("failed") == 1
    assert rows[5]["residual_success"] == ""


def test_table_has_intervals_over_seeds_and_marks(study, tmp_path):
    text = study_table(study, tmp_path / "out").read_text()
    # 95, 96, 97 %: sd 1, t(2) = 4.3027, half width 4.3027 / sqrt(3) = 2.484
    assert "| paper_push | jacobian | ppo, alpha 1 | 295k | 3 x 100 " in text
    assert "| 96.0 [93.5, 98.5] | PRELIMINARY |" in text
    assert "| zero | ppo, alpha 1 | 295k | 2 of 3 x 100 " in text
    assert "PRELIMINARY, INCOMPLETE" in text


def test_failed_runs_are_named_with_their_reason(study, tmp_path):
    text = study_table(study, tmp_path / "out").read_text()
    assert "1 of 6 runs gave no result" in text
    assert study[-1].info["name"] in text
    assert "ValueError: diverged" in text


def test_equal_seed_means_get_the_width_of_one_seed(tmp_path):
    """A base without chance is no more certain for having been run ten times."""
    runs = [make_run(tmp_path / f"{seed}", seed=seed, base=0.7) for seed in range(3)]
    text = study_table(runs, tmp_path / "out").read_text()
    assert "| 70.0 [60.4, 78.1] W |" in text


def test_odd_seed_means_are_pointed_out(tmp_path):
    rates = [0.97, 0.98, 0.96, 0.97, 0.31]
    runs = [
        make_run(tmp_path / f"{seed}", seed=seed, residual=rate)
        for seed, rate in enumerate(rates)
    ]
    text = study_table(runs, tmp_path / "out").read_text()
    assert "the residual seed means look skewed" in text


def test_ten_seeds_are_not_preliminary(tmp_path):
    runs = [make_run(tmp_path / f"{seed}", seed=seed) for seed in range(10)]
    table = study_table(runs, tmp_path / "out").read_text()
    assert "| 10 x 100 |" in table
    assert "| PRELIMINARY |" not in table


def test_study_figure_is_drawn(study, tmp_path):
    study_table(study, tmp_path / "out")
    assert is_png(tmp_path / "out" / "figure.png")


def test_study_of_failures_only_says_so(tmp_path):
    text = study_table(
        [make_run(tmp_path / "run", status="killed")], tmp_path / "out"
    ).read_text()
    assert "1 of 1 runs gave no result" in text
    assert not (tmp_path / "out" / "figure.png").exists()


def test_a_seed_counts_once(tmp_path):
    runs = [make_run(tmp_path / name, seed=3) for name in ("a", "b")]
    with pytest.raises(StudyError, match="same seed 3"):
        study_table(runs, tmp_path / "out")


def test_a_failed_seed_may_be_run_again(tmp_path):
    runs = [
        make_run(tmp_path / "a", seed=3, status="failed"),
        make_run(tmp_path / "b", seed=3),
    ]
    assert "1 of 2" in study_table(runs, tmp_path / "out").read_text()


def test_command_line(study, tmp_path, capsys):
    assert main([str(tmp_path / "runs"), "--out", str(tmp_path / "out")]) == 0
    assert capsys.readouterr().out.strip() == str(tmp_path / "out" / "table.md")


def test_command_line_answers_a_mistake_in_one_line(tmp_path, capsys):
    assert main([str(tmp_path / "absent"), "--out", str(tmp_path / "out")]) == 2
    assert "absent is no folder" in capsys.readouterr().err
    assert main([str(tmp_path), "--out", str(tmp_path / "out")]) == 2
    assert "no runs" in capsys.readouterr().err


def test_runs_of_different_configs_are_different_arms(tmp_path):
    """Seeds 0 and 1 with either penalty: two arms of two seeds, never one of four."""
    runs = [
        make_run(
            tmp_path / f"{penalty}-{seed}",
            seed=seed,
            residual=rate,
            keys={"residual.penalty": penalty},
        )
        for penalty, rate in ((0.001, 0.5), (0.1, 0.9))
        for seed in range(2)
    ]
    text = study_table(runs, tmp_path / "out").read_text()
    assert "| ppo, alpha 1, residual.penalty=0.001 | 295k | 2 x 100 " in text
    assert "| ppo, alpha 1, residual.penalty=0.1 | 295k | 2 x 100 " in text
    with (tmp_path / "out" / "results.csv").open() as file:
        told = [row["differs_in"] for row in csv.DictReader(file)]
    assert told == ["residual.penalty=0.001"] * 2 + ["residual.penalty=0.1"] * 2
    assert is_png(tmp_path / "out" / "figure.png")


def test_a_choice_stands_for_its_keys_and_a_key_within_it_for_itself(tmp_path):
    choices = (
        ("default", {"randomization.low": 0.7, "randomization.high": 1.4}),
        ("hard", {"randomization.low": 0.5, "randomization.high": 2.0}),
        ("hard", {"randomization.low": 0.5, "randomization.high": 3.0}),
    )
    runs = [
        make_run(tmp_path / f"{n}", keys=keys, randomization=choice)
        for n, (choice, keys) in enumerate(choices)
    ]
    text = study_table(runs, tmp_path / "out").read_text()
    assert "| ppo, alpha 1, randomization=default |" in text
    assert "alpha 1, randomization=hard randomization.high=2 |" in text
    assert "alpha 1, randomization=hard randomization.high=3 |" in text


def test_many_differences_are_spelled_out_below_the_table(tmp_path):
    keys = [f"algo.a_setting_with_a_long_name_{n}" for n in range(4)]
    runs = [
        make_run(tmp_path / f"{value}", keys=dict.fromkeys(keys, value))
        for value in (1, 2)
    ]
    text = study_table(runs, tmp_path / "out").read_text()
    assert "| ppo, alpha 1, variant 1 |" in text
    assert "| ppo, alpha 1, variant 2 |" in text
    told = " ".join(f"{key}=2" for key in keys)
    assert f"- variant 2: `{told}`" in text


def test_where_and_how_loudly_a_run_went_makes_no_arm(tmp_path):
    runs = [
        make_run(
            tmp_path / f"{seed}",
            seed=seed,
            keys={key: f"{seed}" for key in SAME_ARM if key not in ("seed", "job")},
            tracking=("mlflow", "none")[seed],
        )
        for seed in range(2)
    ]
    text = study_table(runs, tmp_path / "out").read_text()
    assert "| ppo, alpha 1 | 295k | 2 x 100 |" in text


def bare_base(path):
    """What `job=evaluate base_policy=jacobian` leaves."""
    run = make_run(path, job="evaluate", keys={"run": None, "checkpoint": None})
    run.write_evaluation({"policies": {"base": scores(0.4)}})
    return run


def test_an_evaluation_of_a_bare_base_is_left_out_in_one_line(tmp_path):
    bare = bare_base(tmp_path / "bare")
    text = study_table([make_run(tmp_path / "run"), bare], tmp_path / "out").read_text()
    named = [line for line in text.splitlines() if bare.info["name"] in line]
    assert named == [
        f"Left out, for they evaluate a base policy alone: {bare.info['name']}."
    ]
    assert "INCOMPLETE" not in text
    assert len((tmp_path / "out" / "results.csv").read_text().splitlines()) == 2


def test_bare_bases_make_no_study(tmp_path):
    with pytest.raises(StudyError, match=r"no runs; .* base policy alone"):
        study_table([bare_base(tmp_path / "bare")], tmp_path / "out")


def test_table_says_which_commits_and_whether_code_was_committed(tmp_path):
    runs = [make_run(tmp_path / f"{seed}", seed=seed) for seed in range(2)]
    for run, letter in zip(runs, "ab", strict=True):
        run.info["git"] = {"commit": letter * 40, "dirty": False}
    text = study_table(runs, tmp_path / "out").read_text()
    assert (
        "Commit: aaaaaaaaaa, bbbbbbbbbb. **The runs come from different commits.**"
        in text
    )
    runs[1].info["git"] = {"commit": "a" * 40, "dirty": True}
    text = study_table(runs, tmp_path / "out").read_text()
    assert "Commit: aaaaaaaaaa. **1 of 2 runs had changes" in text
    runs[1].info["git"] = None
    assert (
        "Commit: aaaaaaaaaa, unknown."
        in study_table(runs, tmp_path / "out").read_text()
    )


def test_wide_intervals_are_shown_as_they_are_in_eight_columns(tmp_path):
    """10 and 90 %: half width 12.706 * 40, far beyond the scale."""
    runs = [
        make_run(tmp_path / f"{seed}", seed=seed, residual=rate)
        for seed, rate in enumerate((0.1, 0.9))
    ]
    text = study_table(runs, tmp_path / "out").read_text()
    assert "| 50.0 [-458.2, 558.2] |" in text
    assert "an end below 0 or above 100 says" in " ".join(text.split())
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert {line.count("|") for line in rows} == {9}
    assert is_png(tmp_path / "out" / "figure.png")


def test_every_end_of_an_episode_is_drawn(tmp_path):
    """Successes are no failure class, and still part of how episodes end."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    _draw_failures(axes, {"base": scores(0.3), "residual": scores(1.0)})
    tops = {bar.get_x(): bar.get_y() + bar.get_height() for bar in axes.patches}
    assert [round(top) for top in tops.values()] == [100, 100]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_results_takes_a_new_folder_only(tmp_path):
    """A stand-in for Python says what it would have run."""
    stand_in = tmp_path / "python"
    stand_in.write_text("#!/bin/sh\necho ran $*\n")
    stand_in.chmod(0o755)

    def results(study):
        command = ["make", "-s", "-o", "setup", "results", f"BIN={tmp_path}"]
        return subprocess.run(
            [*command, f"STUDY={study}"], cwd=ROOT, capture_output=True, text=True
        )

    new, taken = results(tmp_path / "new"), results(tmp_path)
    assert new.returncode == 0, new.stderr
    assert f"hydra.sweep.dir={tmp_path / 'new'}" in new.stdout
    assert f"so101rl.report {tmp_path / 'new'} --out experiments/first" in new.stdout
    assert taken.returncode == 2
    assert f"{tmp_path} is there already; right is a new folder" in taken.stderr
    assert "ran" not in taken.stdout

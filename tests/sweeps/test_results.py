"""What a sweep shows at its end is what its trials and runs say."""

import contextlib
import json
import random
import re
import shlex
from types import SimpleNamespace

import optuna
import pandas as pd
import pytest
from made_up import make_run, make_study, write
from optuna.distributions import CategoricalDistribution, FloatDistribution
from PIL import Image

from so101rl.sweeps.job import Job
from so101rl.sweeps.results import SHOWN_JOBS, conclude_jobs, env_steps
from so101rl.sweeps.search.search import SearchPlan
from so101rl.sweeps.search.summary import CAUTION, MIN_COMPLETE, conclude, importance

SPACE = {
    "residual.alpha": FloatDistribution(0.2, 1.0),
    "residual.penalty": FloatDistribution(1e-4, 1e-1, log=True),
    "algo": CategoricalDistribution(["ppo", "sac"]),
}
WORDS = {"name": "tiny", "fixed": ["sweep=tiny", "env=paper_push_hard"]}
NUMBERS = {"report": "eval/success_rate", "seeds": [7, 8], "total": 100}
PLAN = SearchPlan(objectives=["residual/success_rate"], **WORDS, **NUMBERS)


def trial(alpha, *values, state="COMPLETE", **more):
    """A trial that has ended, as the search leaves it."""
    return optuna.create_trial(
        state=optuna.trial.TrialState[state],
        values=values or None,
        params={"residual.alpha": alpha, "residual.penalty": 1e-3, "algo": "sac"},
        distributions=SPACE,
        user_attrs={"env_steps": 150, **more},
    )


def searched(trials, directions=("maximize",)):
    """A stand-in for the study of a search."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="tiny", directions=directions)
    study.add_trials(trials)
    finished, no_errors = study.get_trials, contextlib.nullcontext
    return SimpleNamespace(study=study, finished=finished, database_errors=no_errors)


def numbers(folder):
    return json.loads((folder / "summary.json").read_text())


def test_a_search_names_its_best_and_how_to_train_with_it(tmp_path, capsys):
    bad = trial(0.9, state="FAIL", reason="NaN in the loss")
    trials = [trial(0.3, 0.5), trial(0.7, 0.8), trial(0.2, state="PRUNED"), bad]
    conclude(searched(trials), tmp_path, PLAN)
    text = capsys.readouterr().out
    assert text == (tmp_path / "summary.md").read_text()
    assert "**Best of 4 trials: residual/success_rate 0.8**, mean of 2 runs\n" in text
    (line,) = re.findall(r"`python main.py (.*)`", text)
    words = ["env=paper_push_hard", "residual.alpha=0.7", "residual.penalty=0.001"]
    assert shlex.split(line) == [*words, "algo=sac"]
    assert "4 trials: 2 complete, 1 pruned, 1 failed" in text
    assert "env steps: 600, 100% of what" in text  # the failed one's count, too
    assert "trial 3 failed: NaN in the loss" in text
    assert CAUTION in text and "http" not in text
    counts = {"trials/complete": 2, "trials/pruned": 1, "trials/failed": 1}
    wanted = {**counts, "env_steps": 600, "best/residual/success_rate": 0.8}
    assert numbers(tmp_path)["metrics"] == wanted
    table = pd.read_csv(tmp_path / "trials.csv")
    assert [*table["residual/success_rate"].dropna()] == [0.5, 0.8]
    assert Image.open(tmp_path / "figures/search.png").width == 1568


def test_what_is_best_depends_on_the_directions(tmp_path, capsys):
    conclude(searched([trial(0.3, 0.5), trial(0.7, 0.8)], ["minimize"]), tmp_path, PLAN)
    assert numbers(tmp_path)["best"]["trial"] == 0
    names = ["residual/success_rate", "residual/mean_residual_l2"]
    plan = SearchPlan(objectives=names, **WORDS, **NUMBERS)
    trials = [trial(0.3, 0.5, 0.1), trial(0.7, 0.8, 0.6), trial(0.9, 0.4, 0.9)]
    conclude(searched(trials, ["maximize", "minimize"]), tmp_path, plan)
    assert "**2 of 3 trials** that no other beats in" in capsys.readouterr().out
    assert numbers(tmp_path)["best"] == {}
    assert "best" not in str(numbers(tmp_path)["metrics"])
    for trials in ([], [trial(0.3, state="PRUNED")]):
        conclude(searched(trials), tmp_path / "none", PLAN)
        said = capsys.readouterr().out
        assert said.startswith(f"**No complete trial** among {len(trials)}\n")


def test_importances_are_shares_and_need_enough_trials():
    rng = random.Random(0)
    alphas = [rng.uniform(0.2, 1) for _ in range(MIN_COMPLETE)]
    found = searched([trial(alpha, alpha / 2) for alpha in alphas])
    shares, remark = importance(found.study, found.finished())
    assert remark == "" and sum(shares.values()) == pytest.approx(1)
    assert shares["residual.alpha"] > 0.9
    assert importance(found.study, found.finished())[0] == shares
    shares, remark = importance(found.study, found.finished()[1:])
    assert shares == {} and "Importances need 10 complete trials; there are 9" in remark
    same = searched([trial(alpha, 0.5) for alpha in alphas])
    shares, remark = importance(same.study, same.finished())
    assert shares == {} and remark == "All complete trials have the same value."


def test_a_study_has_a_line_per_arm_and_claims_nothing(tmp_path, capsys):
    study = make_study(tmp_path, {"half": [10, 12, None], "full": [18, 20, None]})
    parts = {arm: {"sweep": "s", "arm": arm} for arm in study["arms"]}
    jobs = [
        Job(f"{arm}/seed-{seed}", (f"seed={seed}",), part)
        for seed in study["seeds"]
        for arm, part in parts.items()
    ]
    make_run(tmp_path / "half/seed-2", seed=2, error="NaN", part_of=parts["half"])
    path = tmp_path / "registration.json"
    change = {"changes": ["study.significance: 0.05 -> 0.1"]}
    write(path, json.dumps(json.loads(path.read_text()) | {"deviations": [change]}))
    conclude_jobs(jobs, tmp_path, {})
    text = capsys.readouterr().out
    for part in (
        "**What does alpha do?**",
        "| half | 2 of 3 | 0.550 | 1 |\n| full | 2 of 3 | 0.950 | 0 |",
        "half/seed-2 failed: DivergedError: NaN",
        "- deviation: study.significance: 0.05 -> 0.1",
        "4 finished, 1 failed, 1 to do",
        "job=report",
    ):
        assert part in text
    assert not re.search("signific(?!ance: 0)|better than|p =", text)
    found = numbers(tmp_path)["metrics"]
    assert found["residual/success_rate/full"] == pytest.approx(0.95)
    assert len(pd.read_csv(tmp_path / "jobs.csv")) == 6


def test_jobs_of_a_plain_sweep_are_told_apart_by_their_overrides(tmp_path, capsys):
    words = [("n_envs=4", f"seed={seed}") for seed in range(SHOWN_JOBS + 1)]
    jobs = [Job(str(n), own, {"sweep": "tiny"}) for n, own in enumerate(words)]
    make_run(tmp_path / "0", residual=15, part_of={"sweep": "tiny"})
    (tmp_path / "1.log").write_text("error: no such key\n")
    conclude_jobs(jobs, tmp_path, {})
    text = capsys.readouterr().out
    assert "| 0 | 0.750 | finished | seed=0 |" in text
    assert "| 1 |  | failed | seed=1 |" in text
    assert f"1 failed: no run; see {tmp_path / '1.log'}" in text
    assert "... and 1 more, see jobs.csv" in text
    assert f"1 finished, 1 failed, {SHOWN_JOBS - 1} to do" in text
    # A stopped run has taken the steps of its last policy.
    assert env_steps(tmp_path / "0") == 200_000
    write(tmp_path / "0/checkpoints/interrupted/checkpoint.json", '{"step": 200064}')
    assert env_steps(tmp_path / "0") == 200_064

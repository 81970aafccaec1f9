"""What a sweep says at its end is what its trials and runs say."""

import contextlib
import json
import random
import re
import shlex
from types import SimpleNamespace

import optuna
import pandas as pd
import pytest
from made_up import make_run, make_study
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution, FloatDistribution
from PIL import Image
from sweeping import Lab

from so101rl.config.compose import compose
from so101rl.figures.search import (
    SearchedParam,
    SearchResult,
    TrialResult,
    figure_search,
)
from so101rl.figures.style import FigureError
from so101rl.runs.sweep_dir import SweepDir
from so101rl.sweeps.job import Job
from so101rl.sweeps.results import LISTED, conclude_jobs
from so101rl.sweeps.search.figure import ENOUGH, importances
from so101rl.sweeps.search.preset import preset
from so101rl.sweeps.search.search import Plan
from so101rl.sweeps.search.summary import CAUTION, conclude

SPACE = {
    "residual.alpha": FloatDistribution(0.2, 1.0),
    "residual.penalty": FloatDistribution(1e-4, 1e-1, log=True),
    "algo": CategoricalDistribution(["ppo", "sac"]),
}
PLAN = Plan(
    name="tiny",
    objectives=["residual/success_rate"],
    report="eval/success_rate",
    fixed=["sweep=tiny", "env=paper_push_hard"],
    seeds=[7, 8],
    total=100,
)
TWO = ["residual/success_rate", "residual/mean_residual_l2"]


def trial(alpha, values=None, state="COMPLETE", **more):
    """A trial that has ended, as the search leaves it."""
    return optuna.create_trial(
        state=optuna.trial.TrialState[state],
        values=values,
        params={"residual.alpha": alpha, "residual.penalty": 1e-3, "algo": "sac"},
        distributions=SPACE,
        user_attrs={"env_steps": 150, **more},
    )


def searched(trials, directions=("maximize",)):
    """A stand-in for the study of a search."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(study_name="tiny", directions=directions)
    study.add_trials(trials)
    return SimpleNamespace(
        study=study, finished=study.get_trials, database_errors=contextlib.nullcontext
    )


def some(n):
    """Trials whose value depends on alpha alone."""
    rng = random.Random(0)
    return [
        trial(alpha, [alpha / 2]) for alpha in (rng.uniform(0.2, 1) for _ in range(n))
    ]


def numbers(folder):
    return json.loads((folder / "summary.json").read_text())


# ---- a search ----


def test_a_search_names_its_best_and_how_to_train_with_it(tmp_path, capsys):
    bad = trial(0.9, state="FAIL", reason="NaN in the loss")
    trials = [trial(0.3, [0.5]), trial(0.7, [0.8]), trial(0.2, state="PRUNED"), bad]
    conclude(searched(trials), tmp_path, PLAN)
    said = capsys.readouterr().out
    assert said == (tmp_path / "summary.md").read_text()
    assert said.startswith(
        "**Best of 4 trials: residual/success_rate 0.8**, mean of 2 runs\n"
    )
    (line,) = re.findall(r"`python main.py (.*)`", said)
    assert shlex.split(line) == [
        *("env=paper_push_hard", "residual.alpha=0.7"),
        *("residual.penalty=0.001", "algo=sac"),
    ]
    assert "4 trials: 2 complete, 1 pruned, 1 failed" in said
    assert "env steps: 600, 100% of what" in said  # the failed one's count, too
    assert "trial 3 failed: NaN in the loss" in said
    assert CAUTION in said and "http" not in said
    assert numbers(tmp_path)["best"]["residual.alpha"] == 0.7
    assert numbers(tmp_path)["metrics"] == {
        "trials/complete": 2,
        "trials/pruned": 1,
        "trials/failed": 1,
        "env_steps": 600,
        "best/residual/success_rate": 0.8,
    }
    table = pd.read_csv(tmp_path / "trials.csv")
    assert [*table["state"]] == ["complete", "complete", "pruned", "failed"]
    assert [*table["residual/success_rate"].dropna()] == [0.5, 0.8]


def test_the_least_is_the_best_where_less_is_better(tmp_path, capsys):
    conclude(
        searched([trial(0.3, [0.5]), trial(0.7, [0.8])], ["minimize"]), tmp_path, PLAN
    )
    assert numbers(tmp_path)["best"]["trial"] == 0


def test_of_several_objectives_no_trial_is_the_best(tmp_path, capsys):
    plan = Plan(**{**vars(PLAN), "objectives": TWO})
    trials = [trial(0.3, [0.5, 0.1]), trial(0.7, [0.8, 0.6]), trial(0.9, [0.4, 0.9])]
    conclude(searched(trials, ["maximize", "minimize"]), tmp_path, plan)
    said = capsys.readouterr().out
    assert said.startswith("**2 of 3 trials** that none beats in")
    assert numbers(tmp_path)["best"] == {}
    assert "best" not in str(numbers(tmp_path)["metrics"])
    assert (tmp_path / "figures/search.png").exists()


def test_a_search_without_a_complete_trial_says_so(tmp_path, capsys):
    conclude(searched([trial(0.3, state="PRUNED")]), tmp_path, PLAN)
    assert capsys.readouterr().out.startswith("**No complete trial** among 1\n")
    assert {path.name for path in tmp_path.iterdir()} == {
        *("trials.csv", "summary.md", "summary.json"),
    }
    conclude(searched([]), tmp_path, PLAN)
    assert capsys.readouterr().out.startswith("**No complete trial** among 0\n")


def test_what_matters_is_found_and_nothing_is_said_too_early():
    found = searched(some(ENOUGH))
    shares, remark = importances(found.study, found.finished())
    assert remark == ""
    assert sum(shares.values()) == pytest.approx(1)
    assert shares["residual.alpha"] > 0.9
    assert importances(found.study, found.finished())[0] == shares
    shares, remark = importances(found.study, found.finished()[1:])
    assert shares == {} and "10 complete trials to tell; there are 9" in remark
    same = searched([trial(alpha / 20, [0.5]) for alpha in range(5, 20)])
    shares, remark = importances(same.study, same.finished())
    assert shares == {} and remark == "All complete trials have the same value."


# ---- a preset ----


def test_a_preset_sets_what_typing_would(tmp_path):
    params = {
        "algo": "sac",
        "env/observation": "paper25",
        "residual.alpha": 0.5,
        "residual.penalty": "1e-3",  # listed values stay the text that was typed
        "algo.policy_kwargs.net_arch": "[8,16]",
        "n_envs": 32,
    }
    text = preset(params, "Trial 1 of search tiny: 0.8")
    assert text.splitlines()[:2] == [
        "# @package _global_",
        "# Trial 1 of search tiny: 0.8",
    ]
    found = OmegaConf.to_container(OmegaConf.create(text))
    assert found.pop("defaults") == [
        {"override /algo": "sac"},
        {"override /env/observation": "paper25"},
    ]
    cfg = compose([f"{key}={value}" for key, value in params.items()])
    assert OmegaConf.masked_copy(cfg, [*found]) == OmegaConf.merge(
        OmegaConf.masked_copy(cfg, [*found]), found
    )
    assert found["residual"]["penalty"] == 0.001


# ---- the figure ----


def test_the_figure_shows_every_kind_of_end_and_parameter(tmp_path):
    ends = ["complete", "pruned", "complete", "failed", "complete"]
    trials = [
        TrialResult(
            number=number,
            end=end,
            values=[number / 10] if end == "complete" else [],
            params={"alpha": number / 5, "penalty": 10.0**-number, "algo": "ppo"},
        )
        for number, end in enumerate(ends)
    ]
    path = figure_search(
        tmp_path / "figures/search.png",
        SearchResult(
            title="search tiny",
            objectives={"residual/success_rate": True},
            trials=trials,
            best=[4],
            params=[
                SearchedParam(name="alpha", low=0, high=1),
                SearchedParam(name="penalty", low=1e-4, high=1, is_log=True),
                SearchedParam(name="algo", choices=["ppo", "sac"]),
                SearchedParam(name="fixed", low=3, high=3),
            ],
            importances={},
            remark="It takes 10 complete trials to tell; there are 3.",
        ),
    )
    width, height = Image.open(path).size
    assert width == 1568 and height < 1400


def test_there_is_no_figure_of_nothing(tmp_path):
    nothing = SearchResult(
        title="search tiny",
        objectives={"a": True},
        trials=[],
        best=[],
        params=[],
        importances={},
    )
    with pytest.raises(FigureError, match="search tiny: no trial is complete"):
        figure_search(tmp_path / "search.png", nothing)


# ---- jobs ----


def jobs_of(study, name):
    return [
        Job(f"{arm}/seed-{seed}", (*words, f"seed={seed}"), {"sweep": name, "arm": arm})
        for seed in study["seeds"]
        for arm, words in study["arms"].items()
    ]


def test_a_study_has_a_line_per_arm_and_claims_nothing(tmp_path, capsys):
    study = make_study(tmp_path, {"half": [10, 12, None], "full": [18, 20, 19]})
    jobs = jobs_of(study, tmp_path.name)
    make_run(
        tmp_path / "half/seed-2",
        seed=2,
        status="failed",
        error="NaN",
        part_of={"sweep": tmp_path.name, "arm": "half"},
    )
    conclude_jobs(jobs, tmp_path, {})
    said = capsys.readouterr().out
    assert said == (tmp_path / "summary.md").read_text()
    assert "**What does alpha do?**" in said
    assert "| half | 2 of 3 | 0.550 | 1 |" in said
    assert "| full | 3 of 3 | 0.950 | 0 |" in said
    assert "half/seed-2 failed: DivergedError: NaN" in said
    assert "job=report" in said
    assert not re.search("signific|better than|p =", said)
    found = numbers(tmp_path)["metrics"]
    assert found["residual/success_rate/full"] == pytest.approx(0.95)
    assert found["jobs/finished"] == 5 and found["jobs/failed"] == 1
    assert len(pd.read_csv(tmp_path / "jobs.csv")) == 6


def test_a_study_names_its_deviations_and_what_is_to_do(tmp_path, capsys):
    study = make_study(tmp_path, {"half": [10, None], "full": [18, None]})
    path = tmp_path / "registration.json"
    told = json.loads(path.read_text())
    told["deviations"] = [{"changes": ["study.significance: 0.05 -> 0.1"]}]
    path.write_text(json.dumps(told))
    conclude_jobs(jobs_of(study, tmp_path.name), tmp_path, {})
    said = capsys.readouterr().out
    assert "- deviation: study.significance: 0.05 -> 0.1" in said
    assert "2 finished, 2 to do" in said
    assert "| half | 1 of 2 | 0.500 | 0 |" in said


def test_jobs_of_a_plain_sweep_are_told_apart_by_their_words(tmp_path, capsys):
    words = [("n_envs=4", f"seed={seed}") for seed in range(LISTED + 1)]
    jobs = [Job(str(n), own, {"sweep": "tiny"}) for n, own in enumerate(words)]
    make_run(tmp_path / "0", residual=15, part_of={"sweep": "tiny"})
    (tmp_path / "1.log").write_text("error: no such key\n")
    conclude_jobs(jobs, tmp_path, {})
    said = capsys.readouterr().out
    assert "| 0 | 0.750 | finished | seed=0 |" in said
    assert "| 1 |  | failed | seed=1 |" in said
    assert f"1 failed: no run; see {tmp_path / '1.log'}" in said
    assert "... and 1 more, see jobs.csv" in said
    assert f"1 finished, 1 failed, {LISTED - 1} to do" in said


# ---- whole sweeps ----


@pytest.fixture
def lab(tmp_path, monkeypatch, capsys):
    return Lab(tmp_path, monkeypatch, capsys)


def test_a_sweep_says_at_its_end_what_it_is_and_how_it_ended(lab):
    words = ["seed=1,2", 'init_from="bug@seed=2"', "hydra.sweeper.n_jobs=2"]
    for _ in range(2):  # the second call has nothing to run
        answer = lab.run(*words)
        assert answer.code == 2
        assert "| 1 |  | failed | seed=2 |" in answer.out
        info = SweepDir.open(lab.folder).info
        assert info["status"] == "failed" and "1 of 2 jobs" in info["error"]["message"]
        assert (info["name"], info["group"]) == ("sweep", None)
        assert info["groups"]["env"] == "paper_push"
        assert "hydra/sweeper" not in info["groups"]


def test_a_search_says_so_too(lab):
    words = ["sweep=residual", "hydra.sweeper.n_trials=3", "hydra.sweeper.seeds=1"]
    answer = lab.run(*words, "env=paper_push_hard", "hydra.sweeper.n_jobs=2")
    assert answer.code == 0, answer.err
    assert "**Best of 3 trials: residual/success_rate" in answer.out
    info = SweepDir.open(lab.folder).info
    assert (info["name"], info["group"]) == ("residual", "trial")
    assert info["status"] == "finished"
    assert info["groups"]["env"] == "paper_push_hard"
    assert (lab.folder / "figures/search.png").exists()
    assert numbers(lab.folder)["best"]["trial"] in range(3)


def test_a_study_says_so_too(lab):
    answer = lab.run("experiment=alpha", "seed=0", "hydra.sweeper.n_jobs=2")
    assert answer.code == 0, answer.err
    assert answer.out.count("| 1 of 1 |") == 5
    info = SweepDir.open(lab.folder).info
    assert (info["name"], info["group"]) == ("alpha", "arm")

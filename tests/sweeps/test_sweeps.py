"""Whole sweeps: every job a process, none takes others along, none is run twice."""

import json
import shutil
import signal
from collections import Counter

import optuna
import pytest
import yaml
from conftest import CONF
from sweeping import Lab, children, is_alive, wait_until

from so101rl.config.threads import n_threads
from so101rl.errors import ConfigError
from so101rl.runs.sweep_dir import SweepDir
from so101rl.seeds import TUNING_FROM
from so101rl.sweeps.search.storage import sqlite_url
from so101rl.sweeps.studies import _check

ONE, TWO = "hydra.sweeper.n_jobs=1", "hydra.sweeper.n_jobs=2"


@pytest.fixture
def lab(tmp_path, monkeypatch, capsys):
    return Lab(tmp_path, monkeypatch, capsys)


# ---- all combinations ----


def test_all_combinations_run_and_only_once(lab):
    lab.folder = lab.home / """it's "ünï",c=[→]{e} \\"""  # any name will do
    words = ["residual.alpha=0.3,0.7", "seed=0,1", TWO]
    answer = lab.run(*words)
    assert answer.code == 0, answer.err
    assert "4 finished" in answer.out
    found = [lab.run_of(str(number)) for number in range(4)]
    values = [(run.config().residual.alpha, run.config().seed) for run in found]
    assert values == [(0.3, 0), (0.3, 1), (0.7, 0), (0.7, 1)]
    assert all(run.info["part_of"] == {"sweep": lab.folder.name} for run in found)
    assert {run.config().n_threads for run in found} == {max(1, n_threads(None) // 2)}

    before = [run.info for run in found]
    again = lab.run(*words)
    assert again.code == 0
    assert "4 finished" in again.out
    assert [lab.run_of(str(number)).info for number in range(4)] == before
    with SweepDir.at(lab.folder).locked():
        busy = lab.run(*words)
    assert busy.code == 2 and "a process is running this sweep" in busy.err
    dry = lab.run(*words, "hydra.sweeper.dry_run=true")
    assert dry.out == "4 of 4 jobs are done\n"

    others = lab.run("residual.alpha=0.3,0.7", "seed=0,1,2", TWO)
    assert others.code == 2
    assert "holds a sweep of other settings" in others.err
    assert others.err.count("\n") <= 6
    assert len(lab.runs()) == 4


def test_failures_stay_with_their_jobs(lab):
    falls = ["null", "bug", "nan", "exit", "refuse", "first-kill", "first-gone"]
    words = [f"init_from={','.join(falls)}", "n_threads=1", TWO]
    answer = lab.run(*words)
    assert answer.code == 2
    assert "6 of 7 jobs gave no result" in answer.err
    assert answer.err.count("\n") <= 6
    status = [lab.run_of(name).info["status"] for name in lab.runs()]
    assert lab.runs() == ["0", "1", "2", "3", "5", "6"]
    assert status == ["finished", *["failed"] * 3, *["killed"] * 2]
    kinds = [lab.run_of(str(n)).info["error"]["kind"] for n in (1, 2, 3, 5, 6)]
    assert kinds == ["bug", "diverged", "bug", *["infrastructure"] * 2]
    assert "ValueError: a bug" in answer.err
    info = SweepDir.open(lab.folder).info
    assert info["status"] == "failed" and "6 of 7 jobs" in info["error"]["message"]
    assert (info["name"], info["group"]) == ("sweep", None)
    assert info["groups"]["env"] == "paper_push"
    assert "hydra/sweeper" not in info["groups"]
    assert "| 4 |  | failed | init_from=refuse |" in answer.out

    # Killed jobs go on; those that failed by themselves have failed.
    infos = [lab.run_of(str(n)).info for n in range(4)]
    again = lab.run(*words)
    assert "4 of 7 jobs gave no result" in again.err
    assert [lab.run_of(str(n)).info for n in range(4)] == infos
    for number in (5, 6):
        run = lab.run_of(str(number))
        assert run.info["status"] == "finished"
        (resumed,) = run.info["resumed"]
        assert resumed["step"] == 50
        assert [line["step"] for line in run.metrics()] == [*range(10, 101, 10)]
        assert run.config().n_threads == 1


def test_the_same_failure_again_and_again_stops_a_sweep(lab):
    answer = lab.run("init_from=bug", "seed=range(0,9)", ONE)
    assert answer.code == 2
    assert "3 jobs in a row failed for the same reason: ValueError: a bug" in answer.err
    assert lab.runs() == ["0", "1", "2"]


GRID, SEARCH = "n_envs=4,8", "sweep=residual"
POSTGRES = "hydra.sweeper.storage=postgresql+psycopg://me:secret@host/db"


@pytest.mark.parametrize(
    ("sweep", "word", "message"),
    [
        (GRID, "seed=interval(0,3)", "interval"),
        (GRID, "residual.alpha=0.5,2", "residual.alpha=2"),
        (GRID, "sed=3", "Did you mean seed"),
        (GRID, "init_from=latest", "init_from"),
        (SEARCH, "evaluation.role=report", "expected tune"),
        (SEARCH, "seed=0,1", "hydra.sweeper.seeds"),
        (SEARCH, "hydra.sweeper.seeds=101", "at most 100"),
        (SEARCH, "hydra.sweeper.n_trails=3", "n_trails"),
        (SEARCH, "hydra/sweeper/sampler=tpo", "tpo"),
        (SEARCH, "residual.alpha=interval(0.5,2)", "residual.alpha=2"),
        (SEARCH, POSTGRES, "PGPASSFILE"),
    ],
)
def test_a_sweep_that_cannot_work_leaves_nothing_behind(lab, sweep, word, message):
    answer = lab.run(sweep, word)
    refused(lab, answer, message)
    assert "secret" not in answer.err


def refused(lab, answer, message):
    assert answer.code == 2
    assert message in answer.err
    assert answer.err.count("\n") <= 6
    assert not lab.folder.exists()


# ---- searches ----


def typed(lab, *more, n_trials=2, seeds=1, sampler="random", pruner="none"):
    sweeper = {"n_trials": n_trials, "seeds": seeds, "n_jobs": seeds}
    sweeper["storage"] = sqlite_url(lab.home / "shared.db")
    groups = [f"hydra/sweeper/sampler={sampler}", f"hydra/sweeper/pruner={pruner}"]
    words = [f"hydra.sweeper.{key}={value}" for key, value in sweeper.items()]
    return ["sweep=residual", *groups, *words, *more]


def trials_of(lab):
    """A sweep's trials, as Optuna has them, and how many ended how."""
    url = sqlite_url(lab.home / "shared.db")
    trials = optuna.load_study(study_name="residual", storage=url).trials
    return trials, Counter(one.state.name for one in trials)


def test_a_search_from_the_command_line(lab):
    answer = lab.run(*typed(lab, "init_from=first-kill", seeds=2))
    assert answer.code == 0, answer.err
    assert "**Best of 2 trials: residual/success_rate" in answer.out
    trials, ends = trials_of(lab)
    assert ends == {"COMPLETE": 2, "FAIL": 1}
    for trial in (one for one in trials if one.state.name == "COMPLETE"):
        runs = [lab.run_of(f"trial-{trial.number}/{n}") for n in range(2)]
        cfgs = [run.config() for run in runs]
        assert [cfg.seed for cfg in cfgs] == [TUNING_FROM, TUNING_FROM + 1]
        assert {cfg.evaluation.role for cfg in cfgs} == {"tune"}
        alphas = {cfg.residual.alpha for cfg in cfgs}
        assert alphas == {trial.params["residual.alpha"]}
        part = {"sweep": "residual", "trial": trial.number}
        assert all(run.info["part_of"] == part for run in runs)
        rates = [run.evaluation()["policies"]["residual"] for run in runs]
        mean = sum(rate["success_rate"] for rate in rates) / 2
        assert trial.value == pytest.approx(mean)

    # The total over all calls, and never another space or other settings.
    before = len(lab.runs())
    words = typed(lab, "init_from=first-kill", n_trials=3, seeds=2)
    assert lab.run(*words).code == 0
    assert len(lab.runs()) == before + 2
    for word in ("residual.penalty=interval(0,1)", "algo.gamma=0.5"):
        changed = lab.run(*words, word)
        assert changed.code == 2
        assert word.split("=")[0] in changed.err
        assert changed.err.count("\n") <= 6


def test_pruning_ends_a_run_early(lab):
    pruner = "hydra.sweeper.pruner"
    answer = lab.run(
        *typed(lab, "total_timesteps=1500", sampler="grid", pruner="median"),
        *("env.act_scale=0.05", "residual.alpha=0.6,0", "residual.penalty=0.001"),
        *(f"{pruner}.n_startup_trials=1", f"{pruner}.n_warmup_steps=100"),
    )
    assert answer.code == 0, answer.err
    (good, bad), _ = trials_of(lab)
    assert good.params["residual.alpha"] == "0.6"
    assert [good.state.name, bad.state.name] == ["COMPLETE", "PRUNED"]
    assert lab.run_of("trial-1/0").info["status"] == "pruned"
    assert lab.run_of("trial-1/0").metrics()[-1]["step"] < 1500


# ---- sweeps that are killed ----


def stop(lab, words, name, number):
    """Stop a sweep whose job hangs; returns its exit code when both have ended."""
    sweep = lab.start(*words)
    wait_until(lambda: lab.runs() and len(lab.run_of(name).metrics()) == 5)
    (job,) = children(sweep.pid)
    sweep.send_signal(number)
    code = sweep.wait()
    wait_until(lambda: not is_alive(job))
    info = lab.run_of(name).info
    assert (info["status"], info["error"]["kind"]) == ("killed", "stopped")
    return code


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGKILL, -9), (signal.SIGTERM, 143)]
)
def test_jobs_end_with_their_sweep_and_go_on_with_it(lab, number, code):
    words = ["seed=0", "init_from=first-hang", ONE]
    assert stop(lab, words, "0", number) == code
    answer = lab.run(*words)
    assert answer.code == 0, answer.err
    assert lab.run_of("0").info["resumed"][0]["step"] == 50


@pytest.mark.parametrize(
    ("number", "code", "ends"),
    [
        (signal.SIGINT, 130, {"FAIL": 1, "WAITING": 1}),
        (signal.SIGKILL, -9, {"RUNNING": 1}),
    ],
)
def test_a_search_that_was_stopped_or_killed_goes_on(lab, number, code, ends):
    words = typed(lab, "init_from=first-hang")
    assert stop(lab, words, "trial-0/0", number) == code
    assert trials_of(lab)[1] == ends
    assert lab.run(*words).code == 0
    trials, ends = trials_of(lab)
    assert ends == {"FAIL": 1, "COMPLETE": 2}
    assert trials[0].params == trials[1].params


# ---- studies ----

STUDY = {
    "question": "Does it matter?",
    "arms": {"low": ["residual.alpha=0.3"], "high-1.0": ["residual.alpha=1"]},
    "reference": "low",
    "seeds": 2,
    "metric": "residual/success_rate",
    "test": "paired_permutation",
    "correction": "holm",
    "significance": 0.05,
}


@pytest.fixture
def study(lab):
    """Run `experiment=small`, a study with some of its keys changed."""
    conf = lab.home / "conf"
    shutil.copytree(CONF, conf)

    def run(*typed, **changes):
        text = yaml.safe_dump({"study": STUDY | changes}, sort_keys=False)
        path = conf / "experiment" / "small.yaml"
        path.write_text(f"# @package _global_\n{text}")
        return lab.run("experiment=small", *typed, conf=conf)

    return run


def registered(lab):
    return json.loads((lab.folder / "registration.json").read_text())


def test_a_study_registers_then_runs_every_arm_with_the_same_seeds(lab, study):
    assert study("seed=1,1", ONE).code == 0  # some of its seeds may go first
    assert lab.runs() == ["high-1.0/seed-1", "low/seed-1"]
    assert "some of the registered seeds, 0 to 1" in study("seed=0,2").err
    answer = study(ONE)
    assert answer.code == 0, answer.err
    assert answer.out.count("| 2 of 2 |") == 2
    promised = registered(lab)
    assert promised["name"] == "small"
    assert promised["study"] == STUDY | {"seeds": [0, 1]}
    assert promised["settings"]["low"]["residual.alpha"] == 0.3
    assert promised["deviations"] == []
    assert SweepDir.open(lab.folder).info["group"] == "arm"

    names = ["low/seed-1", "high-1.0/seed-1", "low/seed-0", "high-1.0/seed-0"]
    runs = [lab.run_of(name) for name in names]
    started = [run.info["started"] for run in runs]
    assert promised["registered"] < started[0]
    assert started == sorted(started)  # a study that is stopped has all arms
    assert [run.config().seed for run in runs] == [1, 1, 0, 0]
    assert [run.config().residual.alpha for run in runs] == [0.3, 1, 0.3, 1]
    part_of = {"sweep": "small", "arm": "low", "registration": promised["sha256"]}
    assert runs[2].info["part_of"] == part_of

    # Another promise is a deviation, printed and kept; the runs stay what they were.
    infos = [run.info for run in runs]
    for _ in range(2):
        answer = study(ONE, significance=0.1)
        assert "DEVIATION" in answer.out
        assert "study.significance: 0.05 -> 0.1" in answer.out
        (deviation,) = registered(lab)["deviations"]
        assert deviation["changes"] == ["study.significance: 0.05 -> 0.1"]
    assert registered(lab)["study"] == promised["study"]
    assert [lab.run_of(name).info for name in names] == infos


def test_a_study_without_enough_seeds_warns_before_it_runs(lab, study):
    answer = study("job=evaluate", "hydra.sweeper.dry_run=true", seeds=3)
    assert "NO VERDICT POSSIBLE: 3 seeds cannot decide 1 comparisons" in answer.out
    assert "it takes 6" in answer.out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"arms": {"low": [], "x": ["residual.alpha=0.1,0.2"]}}, "one value"),
        ({"arms": {"low": [], "x": ["residual.alhpa=1"]}}, "residual.alpha"),
        ({"seeds": 0}, "study.seeds=0"),
        ({"sedes": 3}, "sedes"),
        ({"metric": "residual/succes_rate"}, "metric=residual/succes_rate"),
        ({"metric": "residual on hard/success_rate"}, "study.metric=residual on hard"),
    ],
)
def test_a_study_that_cannot_keep_its_promise_is_refused(lab, study, changes, message):
    refused(lab, study(**changes), message)


def test_a_promise_that_makes_no_sense_is_refused():
    for changes, message in (
        ({"reference": "lowest"}, "study.reference=lowest"),
        ({"arms": {"low": ["residual.alpha=0"]}}, "2 to 9 arms"),
        ({"arms": {f"a{n}": [] for n in range(10)}}, "2 to 9 arms"),
        ({"arms": {"low": [], "../x": []}}, "it becomes a folder"),
        ({"test": "t"}, "study.test=t"),
        ({"correction": "none"}, "study.correction=none"),
    ):
        with pytest.raises(ConfigError, match=message):
            _check(STUDY | changes)

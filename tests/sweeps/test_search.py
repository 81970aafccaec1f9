"""Searches: what becomes of the runs of trials, and whole searches."""

import signal
import subprocess
import sys
import time
from collections import Counter

import optuna
import pytest
import yaml
from conftest import ROOT
from optuna.distributions import CategoricalDistribution, FloatDistribution
from sweeping import Lab, children, is_alive, wait_until
from test_trials import ask, make, sampler_of, states

from so101rl.seeds import TUNING_FROM
from so101rl.sweeps.job import SweepError
from so101rl.sweeps.launchers import LauncherJobs
from so101rl.sweeps.outcome import BrokenSweep
from so101rl.sweeps.processes import Processes
from so101rl.sweeps.progress import SweepProgress
from so101rl.sweeps.results import env_steps
from so101rl.sweeps.search.search import Search, SearchPlan
from so101rl.sweeps.search.storage import sqlite_url
from so101rl.sweeps.search.trials import MAX_LOSSES
from so101rl.sweeps.search.tune import Settings

TOTAL, EVERY = 100, 10
LIGHT = """
import json, os, sys, time
folder, how = sys.argv[1], dict(word.split("=", 1) for word in sys.argv[2:])
x, kind = float(how.get("x", 0)), how.get("kind", "ok")
os.makedirs(folder)
def write(name, content, mode="w"):
    with open(f"{folder}/{name}", mode) as file:
        file.write(json.dumps(content) + chr(10))
def end(status, error=None):
    write("run.json", {"status": status, "error": error, "started": "now"})
if kind == "bug": 1 / 0
if kind == "refuse": print("error: no"); sys.exit(2)
end("running")
if kind == "hang": time.sleep(999)
if kind == "gone": os._exit(0)
if kind == "lost":
    end("failed", {"kind": "diverged", "class": "DivergedError", "message": "nan"})
    sys.exit(2)
for step in range(0, TOTAL + EVERY, EVERY):
    write("metrics.jsonl", {"step": step, "eval/success_rate": x * step / TOTAL}, "a")
    time.sleep(float(how.get("pause", 0)))
scores = {"success_rate": x + int(how["seed"]) / 10, "mean_time_to_success_s": None}
scores |= {"wilson_95": [0, 1], "failures": {}}
write("evaluation.json", {"policies": {"residual": scores}})
end("finished")
""".replace("TOTAL", str(TOTAL)).replace("EVERY", str(EVERY))
SCORE = "residual/success_rate"
X = {"x": FloatDistribution(0, 1)}


class Light:
    """A program whose runs are over at once."""

    def command(self, job, folder):
        return [sys.executable, "-c", LIGHT, str(folder), *job.overrides]

    job_words = command


class Through:
    """A launcher as Hydra's are: it takes a list of jobs, and returns at the end."""

    def launch(self, jobs, initial_job_idx):
        for *command, subdir in jobs:
            assert subdir.startswith("hydra.sweep.subdir='trial-")
            subprocess.run(command)


class Threshold(optuna.pruners.BasePruner):
    """Stops what is below the least after 20 steps."""

    def __init__(self, least=0.1):
        self._least = least

    def prune(self, study, trial):
        return trial.last_step >= 20 and trial.intermediate_values[20] < self._least


def searched(
    tmp_path,
    trials,
    distributions,
    *,
    sampler="grid",
    pruner=None,
    worker="a",
    n_jobs=1,
    timeout_s=None,
    launched=False,
    **plan,
):
    """Run a search; returns its trials by their only value."""
    make_sampler = sampler_of(sampler, distributions)
    judge = pruner or optuna.pruners.NopPruner()
    usual = {"objectives": (SCORE,), "seeds": (0,), "fixed": (), "total": TOTAL}
    usual |= {"name": "s", "report": "eval/success_rate"}
    runner = Processes(Light(), timeout_s)
    if launched:
        runner = LauncherJobs(Through(), Light())
    with SweepProgress("s", 1, n_jobs) as progress:
        Search(
            SearchPlan(**usual | plan),
            trials,
            lambda: trials.ask(distributions, make_sampler, judge),
            tmp_path / worker,
            runner,
            progress,
            n_jobs=n_jobs,
            heartbeat_s=0.1,
        ).run()
    return {str(*one.params.values()): one for one in trials.finished()}


def listed(*values, key="kind"):
    return {key: CategoricalDistribution(list(values))}


@pytest.mark.parametrize("launched", [False, True])
def test_failed_trials_are_recorded_and_lost_ones_tried_again(tmp_path, launched):
    kinds = {"ok": "", "bug": "bug", "refuse": "config", "lost": "diverged"}
    kinds |= {"gone": "infrastructure"}
    if launched:  # what a launcher's job printed is not read
        kinds["refuse"] = "bug"
    trials = make(tmp_path, len(kinds))
    distributions = listed(*kinds)
    found = searched(tmp_path, trials, distributions, n_jobs=2, launched=launched)
    for name, kind in kinds.items():
        assert found[name].user_attrs.get("kind", "") == kind
        assert found[name].state.name == ("COMPLETE" if name == "ok" else "FAIL")
    reason = "its launcher left no run" if launched else "division by zero"
    assert found["bug"].user_attrs["reason"].endswith(reason)
    assert found["ok"].user_attrs["env_steps"] == TOTAL
    assert len(trials.study.trials) == len(kinds) + MAX_LOSSES - 1


def test_a_trial_that_takes_too_long_has_failed(tmp_path):
    found = searched(tmp_path, make(tmp_path, 1), listed("hang"), timeout_s=0.5)
    assert found["hang"].state.name == "FAIL"
    assert found["hang"].user_attrs["kind"] == "timeout"


@pytest.mark.parametrize("launched", [False, True])
def test_a_trial_is_the_mean_of_its_runs(tmp_path, launched):
    x = listed("0.25", "0.5", "0.75", key="x")
    more = {"seeds": (1, 3), "n_jobs": 2, "launched": launched}
    found = searched(tmp_path, make(tmp_path, 3), x, **more)
    assert found["0.25"].values == [pytest.approx(0.45)]
    assert found["0.5"].values == [pytest.approx(0.7)]
    assert found["0.5"].user_attrs["runs"] == [[0.6], [0.8]]
    assert found["0.5"].user_attrs["env_steps"] == 2 * TOTAL


@pytest.mark.parametrize(
    ("message", "more"),
    [
        ("division by zero", {"fixed": ["kind=bug"]}),
        ("expected one of the results: residual/", {"objectives": ["residual/rate"]}),
        ("expected one of the results: residual/", {"objectives": ["base/success_rate"],
         "launched": True, "seeds": (0, 1)}),
        (r"report=eval/rate: metrics\.jsonl has no such number",
         {"report": "eval/rate", "pruner": Threshold()}),
    ],
)  # fmt: skip
def test_the_same_failure_three_times_in_a_row_stops_a_search(tmp_path, message, more):
    trials = make(tmp_path, 9)
    with pytest.raises(BrokenSweep, match=message):
        searched(tmp_path, trials, X, sampler="random", n_jobs=2, **more)
    # What ended together is recorded together.
    assert len(trials.finished()) in (3, 4)
    assert set(states(trials)) <= {"FAIL", "WAITING"}


@pytest.mark.parametrize("launched", [False, True])
def test_a_result_without_a_value_is_the_trials_own_failure(tmp_path, launched):
    x, names = listed(*"0123", key="x"), ["residual/mean_time_to_success_s"]
    more = {"objectives": names, "launched": launched}
    found = searched(tmp_path, make(tmp_path, 4), x, **more)
    assert {one.state.name for one in found.values()} == {"FAIL"}
    assert {one.user_attrs["kind"] for one in found.values()} == {"diverged"}


@pytest.mark.parametrize("pause", [0, 0.2])
def test_a_hopeless_trial_is_pruned_whether_it_is_over_or_not(tmp_path, pause):
    more = {"pruner": Threshold(), "seeds": (0, 1), "fixed": [f"pause={pause}"]}
    x = listed("0.2", "0.9", key="x")
    found = searched(tmp_path, make(tmp_path, 2), x, n_jobs=2, **more)
    bad, good = found["0.2"], found["0.9"]
    assert (bad.state.name, good.state.name) == ("PRUNED", "COMPLETE")
    assert bad.values == [pytest.approx(0.04)]
    assert max(bad.intermediate_values) == 20
    # Steps count on; the second run's mean is with the first's; the end is no report.
    assert list(good.intermediate_values) == [*range(10, 2 * TOTAL, 10)]
    assert good.intermediate_values[110] == pytest.approx((0.9 + 0.09) / 2)
    assert not (tmp_path / "a" / f"trial-{bad.number}" / "1").exists()
    if pause:
        assert bad.user_attrs["env_steps"] < TOTAL


def test_a_search_for_little_keeps_what_is_pruned_of_a_search_for_much(tmp_path):
    """Its pruner sees the report with its sign turned: 0.2 is -0.04 after 20 steps."""
    trials = make(tmp_path, 2, directions=["minimize"])
    x, pruner = listed("0.2", "0.9", key="x"), Threshold(least=-0.1)
    found = searched(tmp_path, trials, x, pruner=pruner, sign=-1)
    assert found["0.2"].state.name == "COMPLETE"
    assert found["0.9"].state.name == "PRUNED"
    assert found["0.9"].values == [pytest.approx(-0.18)]


@pytest.mark.parametrize("launched", [False, True])
def test_neither_several_objectives_nor_launchers_prune(tmp_path, launched):
    names = [SCORE] if launched else [SCORE, "residual/success_high"]
    trials = make(tmp_path, 2, directions=["maximize", "minimize"][: len(names)])
    x, more = listed("0.2", "0.9", key="x"), {"objectives": names, "launched": launched}
    found = searched(tmp_path, trials, x, pruner=Threshold(), **more)
    assert {one.state.name for one in found.values()} == {"COMPLETE"}


def test_a_search_waits_for_the_trials_of_others_and_takes_over(tmp_path):
    other = make(tmp_path, 2, worker="b", heartbeat_s=1, grace_s=2)
    trial = ask(other, "random", X)
    trials = make(tmp_path, 2, heartbeat_s=1, grace_s=2)
    searched(tmp_path, trials, X, sampler="random")
    assert states(trials) == {"COMPLETE": 2, "FAIL": 1}
    assert trials.finished()[0].params == trial.params


def test_a_trial_that_others_took_for_lost_is_stopped(tmp_path, monkeypatch):
    trials = make(tmp_path, 1)
    beat, begun = trials.beat, time.monotonic()

    def taken():
        if states(trials)["RUNNING"] and time.monotonic() > begun + 0.5:
            make(tmp_path, 1)  # the same folder: it says that this worker is gone
            monkeypatch.setattr(trials, "beat", beat)
        return beat()

    monkeypatch.setattr(trials, "beat", taken)
    searched(tmp_path, trials, listed("ok"), fixed=["pause=0.2"])
    assert states(trials) == {"FAIL": 1, "COMPLETE": 1}


def test_a_directory_is_never_used_twice(tmp_path):
    folder = tmp_path / "a" / "trial-0" / "0"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    trials = make(tmp_path, 1)
    with pytest.raises(SweepError, match="a run that the study does not know"):
        searched(tmp_path, trials, listed("ok"))
    assert "RUNNING" not in states(trials)


def test_a_database_that_is_lost_is_named_and_nothing_goes_on(tmp_path, monkeypatch):
    trials = make(tmp_path, 1)
    tell, calls = trials.study.tell, []

    def lost(*arguments, **more):
        calls.append(1)
        if len(calls) == 1:
            raise optuna.exceptions.StorageInternalError("gone")
        return tell(*arguments, **more)

    monkeypatch.setattr(trials.study, "tell", lost)
    with pytest.raises(SweepError, match="storage=sqlite"):
        searched(tmp_path, trials, listed("ok"))
    assert states(trials) == {"FAIL": 1, "WAITING": 1}


def test_a_stopped_run_has_taken_the_steps_of_its_last_policy(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 100}\n')
    assert env_steps(tmp_path) == 100
    path = tmp_path / "checkpoints/interrupted/checkpoint.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"step": 164}')
    assert env_steps(tmp_path) == 164


# ---- from the command line ----


@pytest.fixture
def lab(tmp_path, monkeypatch, capsys):
    return Lab(tmp_path, monkeypatch, capsys)


def typed(*more, n_trials=4, seeds=1, n_jobs=1, sampler="random"):
    return [
        "sweep=residual",
        f"hydra/sweeper/sampler={sampler}",
        "hydra/sweeper/pruner=none",
        f"hydra.sweeper.n_trials={n_trials}",
        f"hydra.sweeper.seeds={seeds}",
        f"hydra.sweeper.n_jobs={n_jobs}",
        *more,
    ]


def study_of(lab, path="sweep/study.db"):
    """A sweep's trials, as Optuna has them."""
    url = sqlite_url(lab.home / path)
    return optuna.load_study(study_name="residual", storage=url)


def ends(study):
    return Counter(one.state.name for one in study.trials)


def test_a_search_from_the_command_line(lab):
    words = ["init_from=first-kill"]
    answer = lab.run(*typed(*words, n_trials=2, seeds=2, n_jobs=2))
    assert answer.code == 0, answer.err
    study = study_of(lab)
    assert ends(study) == {"COMPLETE": 2, "FAIL": 1}
    for trial in study.trials:
        if trial.state.name == "FAIL":
            continue
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
    words = typed(*words, n_trials=3, seeds=2, n_jobs=2)
    assert lab.run(*words).code == 0
    assert len(lab.runs()) == before + 2
    for word in ("residual.penalty=interval(0,1)", "algo.gamma=0.5"):
        changed = lab.run(*words, word)
        assert changed.code == 2
        assert word.split("=")[0] in changed.err
        assert changed.err.count("\n") <= 6


def test_pruning_ends_a_run_early(lab):
    words = [
        *("sweep=residual", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_jobs=1"),
        *("hydra.sweeper.seeds=1", "total_timesteps=1500", "env.act_scale=0.05"),
        *("residual.alpha=0.6,0", "residual.penalty=0.001"),
        "hydra.sweeper.pruner.n_startup_trials=1",
        "hydra.sweeper.pruner.n_warmup_steps=100",
    ]
    answer = lab.run(*words)
    assert answer.code == 0, answer.err
    good, bad = study_of(lab).trials
    assert good.params["residual.alpha"] == "0.6"
    assert [good.state.name, bad.state.name] == ["COMPLETE", "PRUNED"]
    assert lab.status("trial-1/0") == "pruned"
    assert lab.run_of("trial-1/0").metrics()[-1]["step"] < 1500


def test_a_search_that_was_shot_goes_on_as_if_it_was_not(lab):
    words = typed(sampler="tpe", n_trials=2)
    assert lab.run(*words).code == 0
    whole = study_of(lab).trials
    lab.folder = lab.home / "shot"
    sweep = lab.start(*words)
    wait_until(lambda: len(lab.runs()) == 2)
    jobs = children(sweep.pid)
    sweep.kill()
    sweep.wait()
    answer = lab.run(*words)
    assert answer.code == 0, answer.err
    assert not any(is_alive(job) for job in jobs)
    study = study_of(lab, "shot/study.db")
    assert set(ends(study)) <= {"COMPLETE", "FAIL"}
    kept = [one for one in study.trials if one.state.name == "COMPLETE"]
    assert [one.params for one in kept] == [one.params for one in whole]
    assert [one.values for one in kept] == [one.values for one in whole]


def test_a_search_that_is_stopped_has_queued_what_it_was_at(lab):
    sweep = lab.start(*typed("init_from=first-hang", n_trials=2))
    wait_until(lambda: lab.runs() and len(lab.run_of("trial-0/0").metrics()) == 5)
    sweep.send_signal(signal.SIGINT)
    assert sweep.wait() == 130
    assert lab.status("trial-0/0") == "killed"
    study = study_of(lab)
    assert ends(study) == {"FAIL": 1, "WAITING": 1}
    assert study.trials[0].params == study.trials[1].params


def test_two_sweepers_share_a_study(lab):
    storage = f"hydra.sweeper.storage={sqlite_url(lab.home / 'shared.db')}"
    sweeps = []
    for name in ("one", "two"):
        lab.folder = lab.home / name
        sweeps.append(lab.start(*typed(storage, n_trials=4)))
    assert [sweep.wait() for sweep in sweeps] == [0, 0]
    assert ends(study_of(lab, "shared.db")) == {"COMPLETE": 4}
    found = [*lab.home.glob("*/trial-*/0/run.json")]
    assert sorted(int(path.parts[-3][6:]) for path in found) == [0, 1, 2, 3]
    assert {path.parts[-4] for path in found} == {"one", "two"}


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("evaluation.role=report", "expected tune"),
        ("seed=0,1", "hydra.sweeper.seeds"),
        ("hydra.sweeper.seeds=101", "at most 100"),
        ("hydra.sweeper.n_trails=3", "n_trails"),
        ("hydra/sweeper/sampler=tpo", "tpo"),
        ("residual.alpha=interval(0.5,2)", "residual.alpha=2"),
        ("hydra.sweeper.storage=postgresql+psycopg://me:secret@host/db", "PGPASSFILE"),
    ],
)
def test_a_search_that_cannot_work_leaves_nothing_behind(lab, word, message):
    answer = lab.run("sweep=residual", word)
    assert answer.code == 2
    assert message in answer.err
    assert answer.err.count("\n") <= 6
    assert "secret" not in answer.err
    assert not lab.folder.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [("seeds", 0), ("n_trials", 0), ("heartbeat_s", 0), ("grace_s", 10),
     ("direction", "up"), ("direction", ["maximize", "minimize"]),
     ("report_direction", "up")],
)  # fmt: skip
def test_settings_that_make_no_sense_are_refused(key, value):
    text = (ROOT / "conf/hydra/sweeper/optuna.yaml").read_text()
    usual = {
        name: item for name, item in yaml.safe_load(text).items() if name[0] != "_"
    }
    usual |= {"seed": 0, "sampler": None, "pruner": None}
    del usual["defaults"]
    Settings(**usual)
    with pytest.raises(SweepError, match=rf"hydra\.sweeper\.{key}"):
        Settings(**usual | {key: value})

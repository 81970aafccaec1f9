"""Whole sweeps: every job a process, none takes others along, none is run twice."""

import json
import shutil
import signal

import pytest
import yaml
from conftest import CONF
from sweeping import Lab, children, is_alive, wait_until

from so101rl.config.threads import n_threads
from so101rl.errors import ConfigError
from so101rl.runs.run_dir import RunDir
from so101rl.runs.sweep_dir import SweepDir
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
    status = [lab.status(str(number)) for number in range(7)]
    assert status[:4] == ["finished", "failed", "failed", "failed"]
    assert status[4:] == [None, "killed", "killed"]
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


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("seed=interval(0,3)", "interval"),
        ("residual.alpha=0.5,2", "residual.alpha=2"),
        ("sed=3", "Did you mean seed"),
        ("init_from=latest", "init_from"),
    ],
)
def test_a_sweep_that_cannot_work_leaves_nothing_behind(lab, word, message):
    refused(lab, lab.run("n_envs=4,8", word), message)


def refused(lab, answer, message):
    assert answer.code == 2
    assert message in answer.err
    assert answer.err.count("\n") <= 6
    assert not lab.folder.exists()


# ---- the folder ----


def test_a_folder_that_is_in_use_or_holds_runs_is_refused(lab):
    with SweepDir.at(lab.folder).locked():
        answer = lab.run("seed=0")
    assert answer.code == 2
    assert "a process is running this sweep" in answer.err
    assert not lab.runs()
    RunDir.create(lab.folder / "0", cfg={"seed": 0}, command="x").finish("finished")
    assert "it holds runs of no sweep" in lab.run("seed=0").err


# ---- sweeps that are killed ----


@pytest.mark.parametrize(
    ("number", "code"),
    [(signal.SIGKILL, -9), (signal.SIGTERM, 143)],
    ids=["SIGKILL", "SIGTERM"],
)
def test_jobs_end_with_their_sweep_and_go_on_with_it(lab, number, code):
    words = ["seed=0", "init_from=first-hang", ONE]
    sweep = lab.start(*words)
    wait_until(lambda: lab.runs() and len(lab.run_of("0").metrics()) == 5)  # it hangs
    (job,) = children(sweep.pid)
    sweep.send_signal(number)
    assert sweep.wait() == code
    wait_until(lambda: not is_alive(job))
    assert lab.run_of("0").info["status"] == "killed"
    assert lab.run_of("0").info["error"]["kind"] == "stopped"

    answer = lab.run(*words)
    assert answer.code == 0, answer.err
    assert lab.run_of("0").info["resumed"][0]["step"] == 50


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

"""Sweeps: every job a process, none takes the others along, none is run twice."""

import errno
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys

import pytest
import yaml
from conftest import CONF, PPO_KEYS, ROOT, SHORT
from hydra.core.override_parser.overrides_parser import OverridesParser
from sweeping import Lab, children, is_alive, wait_until

from so101rl.config.threads import n_threads
from so101rl.errors import ConfigError
from so101rl.runs import signals
from so101rl.runs.run_dir import RunDir
from so101rl.runs.sweep_dir import SweepDir, SweepDirError
from so101rl.sweeps.job import SweepError, every_combination
from so101rl.sweeps.outcome import (
    Before,
    Breaker,
    BrokenSweep,
    Outcome,
    outcome,
    standing,
)
from so101rl.sweeps.processes import Processes
from so101rl.sweeps.studies import _check

ONE, TWO = "hydra.sweeper.n_jobs=1", "hydra.sweeper.n_jobs=2"


@pytest.fixture
def lab(tmp_path, monkeypatch, capsys):
    return Lab(tmp_path, monkeypatch, capsys)


# ---- all combinations ----


def test_all_combinations_run_and_only_once(lab):
    words = ["residual.alpha=0.3,0.7", "seed=0,1", TWO]
    answer = lab.run(*words)
    assert answer.code == 0, answer.err
    assert "4 finished" in answer.out
    found = [lab.run_of(str(number)) for number in range(4)]
    told = [(run.config().residual.alpha, run.config().seed) for run in found]
    assert told == [(0.3, 0), (0.3, 1), (0.7, 0), (0.7, 1)]
    assert all(run.info["part_of"] == {"sweep": "sweep"} for run in found)
    assert {run.config().n_threads for run in found} == {max(1, n_threads(None) // 2)}

    before = [run.info for run in found]
    again = lab.run(*words)
    assert again.code == 0
    assert "4 finished" in again.out
    assert [lab.run_of(str(number)).info for number in range(4)] == before

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

    # Who was shot goes on; who failed by itself has failed.
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
    assert "3 jobs in a row failed alike: ValueError: a bug" in answer.err
    assert lab.runs() == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["seed=interval(0,3)"], "interval"),
        (["seed=0,1", "residual.alpha=0.5,2"], "residual.alpha=2"),
        (["seed=0,1", "sed=3"], "Did you mean seed"),
        (["seed=0,1", "init_from=latest"], "init_from"),
    ],
)
def test_a_sweep_that_cannot_work_leaves_nothing_behind(lab, words, said):
    answer = lab.run(*words)
    assert answer.code == 2
    assert said in answer.err
    assert answer.err.count("\n") <= 6
    assert not lab.folder.exists()


@pytest.mark.parametrize("name", ["it's ünï →", 'a"b,c=[d]{e} \\'])
def test_a_folder_may_have_any_name(lab, name):
    lab.folder = lab.home / name
    answer = lab.run("seed=0")
    assert answer.code == 0, answer.err
    assert lab.run_of("0").info["part_of"] == {"sweep": name}


def test_a_mistyped_range_is_refused_at_once():
    for words in (
        ["seed=range(0,1000000000)"],
        ["seed=range(0,1e9)"],
        ["seed=range(0,1000)", "n_envs=range(1,1000)"],
    ):
        typed = OverridesParser.create().parse_overrides(words)
        with pytest.raises(SweepError, match="more than 100,000"):
            every_combination(typed, "x")


# ---- two sweepers, and none ----


def test_two_sweeps_cannot_work_in_one_folder(lab):
    with SweepDir.at(lab.folder).locked():
        answer = lab.run("seed=0")
    assert answer.code == 2
    assert "a process is running this sweep" in answer.err
    assert not lab.runs()


def test_a_folder_of_runs_is_no_place_for_a_sweep(lab):
    RunDir.create(lab.folder / "0", cfg={"seed": 0}, command="x").finish("finished")
    assert "it holds runs of no sweep" in lab.run("seed=0").err


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


def test_a_training_that_was_shot_goes_on_where_it_stood(lab):
    words = [*SHORT, *PPO_KEYS, "total_timesteps=1024", "evaluation.every=512", ONE]
    words = ["-cp", CONF, "-m", f"hydra.sweep.dir={lab.folder}", *words]
    sweep = lab.start(script=str(ROOT / "main.py"), words=words)
    wait_until(lambda: lab.runs() and len(lab.run_of("0").metrics()) > 10)
    (job,) = children(sweep.pid)
    os.kill(job, signal.SIGKILL)
    assert sweep.wait() == 2
    assert lab.run_of("0").info["error"]["class"] == "ProcessGone"

    assert lab.start(script=str(ROOT / "main.py"), words=words).wait() == 0
    run = lab.run_of("0")
    assert run.info["status"] == "finished"
    assert run.info["resumed"][0]["step"] > 0
    lines = [(line["step"], *sorted(line)) for line in run.metrics()]
    assert len(set(lines)) == len(lines)  # nothing happened twice
    assert lines[-1][0] >= 1024


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
    answer = study(ONE)
    assert answer.code == 0, answer.err
    promised = registered(lab)
    assert promised["name"] == "small"
    assert promised["study"] == STUDY | {"seeds": [0, 1]}
    assert promised["settings"]["low"]["residual.alpha"] == 0.3
    assert promised["deviations"] == []

    names = ["low/seed-0", "high-1.0/seed-0", "low/seed-1", "high-1.0/seed-1"]
    runs = [lab.run_of(name) for name in names]
    started = [run.info["started"] for run in runs]
    assert promised["registered"] < started[0]
    assert started == sorted(started)  # a study that is stopped has all arms
    assert [run.config().seed for run in runs] == [0, 0, 1, 1]
    assert [run.config().residual.alpha for run in runs] == [0.3, 1, 0.3, 1]
    assert runs[1].info["part_of"] == {
        "sweep": "small",
        "arm": "high-1.0",
        "registration": promised["sha256"],
    }

    # Another promise is a deviation, said and kept; the runs stay what they were.
    infos = [run.info for run in runs]
    for _ in range(2):
        answer = study(ONE, significance=0.1)
        assert "DEVIATION" in answer.out
        assert "study.significance: 0.05 -> 0.1" in answer.out
        (deviation,) = registered(lab)["deviations"]
        assert deviation["changes"] == ["study.significance: 0.05 -> 0.1"]
    assert registered(lab)["study"] == promised["study"]
    assert [lab.run_of(name).info for name in names] == infos


def test_a_study_without_enough_seeds_says_so_before_it_runs(lab, study):
    answer = study(ONE, "seed=0", seeds=3)
    assert "NO VERDICT POSSIBLE: 3 seeds cannot decide 1 comparisons" in answer.out
    assert "it takes 6" in answer.out


def test_some_seeds_of_a_study_may_go_first(lab, study):
    assert study("seed=1,1", TWO).code == 0
    assert lab.runs() == ["high-1.0/seed-1", "low/seed-1"]
    assert registered(lab)["study"]["seeds"] == [0, 1]
    assert "some of the seeds registered, 0 to 1" in study("seed=0,2").err


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"arms": {"low": [], "x": ["residual.alpha=0.1,0.2"]}}, "one value"),
        ({"arms": {"low": [], "x": ["residual.alhpa=1"]}}, "residual.alpha"),
        ({"seeds": 0}, "study.seeds=0"),
        ({"significance": 2}, "study.significance=2"),
        ({"sedes": 3}, "sedes"),
        ({"metric": "success"}, "metric=success"),
        ({"metric": "residual/succes_rate"}, "metric=residual/succes_rate"),
        ({"metric": "residual on hard/success_rate"}, "study.metric=residual on hard"),
    ],
)
def test_a_study_that_cannot_keep_its_promise_is_refused(lab, study, changes, said):
    answer = study(**changes)
    assert answer.code == 2
    assert said in answer.err
    assert answer.err.count("\n") <= 6
    assert not lab.folder.exists()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"reference": "lowest"}, "study.reference=lowest"),
        ({"arms": {"low": ["residual.alpha=0"]}}, "2 to 9 arms"),
        ({"arms": {f"a{n}": [] for n in range(10)}}, "2 to 9 arms"),
        ({"arms": {"low": [], "../x": []}}, "it becomes a folder"),
        ({"test": "t"}, "study.test=t"),
        ({"correction": "none"}, "study.correction=none"),
    ],
)
def test_a_promise_that_makes_no_sense_is_refused(changes, said):
    with pytest.raises(ConfigError, match=said):
        _check(STUDY | changes)


# ---- processes ----


def run_one(tmp_path, program, timeout_s=None, *, prune=False):
    """Run Python code as a job; returns how it ended."""
    pool = Processes(timeout_s)
    pool.start("job", [sys.executable, "-c", program], tmp_path / "job")
    if prune:
        pool.prune("job")
    while True:
        for name, found in pool.ended(1.0):
            assert name == "job"
            assert not pool.running
            return found


@pytest.mark.parametrize(
    ("program", "wanted"),
    [
        ("pass", Outcome("finished")),
        ("1 / 0", Outcome("failed", "bug", "ZeroDivisionError: division by zero")),
        ("exit(3)", Outcome("failed", "bug", "exit code 3")),
        ("print('error: no'); exit(2)", Outcome("failed", "config", "no")),
        (
            "import os; os.kill(os.getpid(), 9)",
            Outcome("killed", "infrastructure", "ended by signal 9"),
        ),
    ],
)
def test_a_job_without_a_run_is_judged_by_its_exit(tmp_path, program, wanted):
    assert run_one(tmp_path, program) == wanted


DEAF = "import signal, time; signal.signal(15, signal.SIG_IGN); time.sleep(999)"


@pytest.mark.parametrize("program", ["import time; time.sleep(999)", DEAF])
def test_a_job_that_takes_too_long_is_stopped(tmp_path, monkeypatch, program):
    monkeypatch.setattr(signals, "PARENT_PATIENCE_S", 0.5)
    found = run_one(tmp_path, program, timeout_s=0.5)
    assert found == Outcome("failed", "timeout", "stopped after 0.5 s")


SLOW = (
    "import sys, time; from so101rl.runs.run_dir import RunDir\n"
    "run = RunDir.create({folder!r}, cfg={{'seed': 0}}, command='x')\n"
    "with run.lifecycle(): time.sleep(999)"
)


def test_a_run_that_took_too_long_has_failed_for_good(tmp_path):
    folder = tmp_path / "job"
    found = run_one(tmp_path, SLOW.format(folder=str(folder)), timeout_s=4)
    assert found == Outcome("failed", "timeout", "stopped after 4 s")
    later = standing(folder)
    assert (later.status, later.kind, later.is_final) == ("failed", "timeout", True)
    assert RunDir.open(folder).info["error"]["message"] == "stopped after 4 s"


def test_a_job_that_does_not_hear_that_it_is_pruned_is_shot(tmp_path, monkeypatch):
    monkeypatch.setattr("so101rl.sweeps.processes.DELIVERY_S", 0.5)
    deaf = "import signal, time; signal.signal(10, signal.SIG_IGN); time.sleep(999)"
    assert run_one(tmp_path, deaf, prune=True).reason.startswith("ended by signal")


def test_only_what_a_process_says_itself_is_its_reason(tmp_path):
    assert run_one(tmp_path, "print('error: old'); exit(2)").reason == "old"
    assert run_one(tmp_path, "exit(1)").reason == "exit code 1"


def test_an_old_run_is_not_the_result_of_a_process_that_was_refused(tmp_path):
    folder = tmp_path / "job"
    RunDir.create(folder, cfg={"seed": 0}, command="x").finish("finished")
    before = Before.of(folder)
    (tmp_path / "job.log").write_text("error: it is taken\n")
    assert outcome(folder, 2, before) == Outcome("failed", "config", "it is taken")
    run = RunDir.open(folder)
    run.finish("failed", MemoryError("too little"))
    assert outcome(folder, 2, before).kind == "infrastructure"


def test_a_run_that_found_no_room_goes_on_when_there_is_some(tmp_path):
    run = RunDir.create(tmp_path / "run", cfg={"seed": 0}, command="x")
    run.finish("failed", OSError(errno.ENOSPC, "No space left on device"))
    found = standing(tmp_path / "run")
    assert (found.status, found.kind) == ("failed", "infrastructure")
    assert not found.is_final


def test_a_run_whose_process_is_gone_was_killed(tmp_path):
    program = (
        "import os, sys; from so101rl.runs.run_dir import RunDir\n"
        "RunDir.create(sys.argv[1], cfg={'seed': 0}, command='x'); os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", program, tmp_path / "run"], check=True)
    found = standing(tmp_path / "run")
    assert (found.status, found.kind) == ("killed", "infrastructure")
    assert not found.is_final


LEASHED = (
    "import signal, sys, time\nfrom so101rl.runs import signals\n"
    "signals.PARENT_PATIENCE_S = 0.3\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
    "signals.follow_parent(); print('held', flush=True); time.sleep(999)"
)


def leashed(program):
    """A process on a parent, and the end that holds it."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", program],
        env=os.environ | {signals.PARENT_PIPE: str(reading)},
        pass_fds=[reading],
        stdout=subprocess.PIPE,
    )
    os.close(reading)
    return process, writing


def test_a_deaf_job_does_not_outlive_its_sweep():
    process, writing = leashed(LEASHED)
    assert process.stdout.readline() == b"held\n"
    assert process.poll() is None
    os.close(writing)
    assert process.wait(60) == -signal.SIGKILL


def test_a_job_whose_sweep_is_gone_does_not_begin():
    process, writing = leashed(
        "from so101rl.runs import signals; signals.follow_parent(); print(1)"
    )
    os.close(writing)
    assert process.wait(60) == -signal.SIGTERM
    assert process.stdout.read() == b""


def test_a_leash_is_not_passed_on(monkeypatch):
    reading, writing = os.pipe()
    monkeypatch.setenv(signals.PARENT_PIPE, str(reading))
    monkeypatch.setattr(signals, "_wait_for_parent", os.close)
    signals.follow_parent()
    assert signals.PARENT_PIPE not in os.environ
    os.close(writing)


# ---- when to give up ----

BUG = Outcome("failed", "bug", "ValueError: 3 of 4.5e-3")
SHOT = Outcome("killed", "infrastructure", "ended by signal 9")
FULL = Outcome("failed", "infrastructure", "OSError: full")
LOST = Outcome("failed", "diverged", "the reward")
LATE = Outcome("failed", "timeout", "stopped after 5 s")
DONE = Outcome("finished")


def is_broken(*ends):
    breaker = Breaker()
    try:
        for end in ends:
            breaker.check(end)
    except BrokenSweep:
        return True
    return False


def test_three_equal_failures_in_a_row_are_enough():
    other = Outcome("failed", "bug", "ValueError: 17 of -2.0")
    assert is_broken(BUG, other, BUG)  # the numbers are the jobs' own
    assert is_broken(FULL, FULL, FULL)
    assert not is_broken(BUG, BUG)
    for between in (DONE, SHOT, LOST, LATE):
        assert not is_broken(BUG, BUG, between, BUG)
        assert not is_broken(*[between] * 5)
    kinds = [Outcome("failed", "bug", f"{name}Error") for name in "ABC"]
    assert not is_broken(*itertools.chain(*[kinds] * 3))


def test_a_place_is_free_again_whatever_happened(tmp_path):
    sweep = SweepDir.at(tmp_path / "sweep")
    with pytest.raises(ZeroDivisionError), sweep.locked():
        sweep.define({"a": 1}, "x")
        1 / 0  # noqa: B018
    again = SweepDir.at(tmp_path / "sweep")
    with again.locked():
        again.define({"a": 1}, "x")
        with pytest.raises(SweepDirError, match="a: 1 -> 2"):
            again.define({"a": 2}, "x")

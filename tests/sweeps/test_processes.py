"""A job's process: how its end is judged, when it is stopped, and whom it follows."""

import itertools
import os
import signal
import subprocess
import sys

import pytest

from so101rl.runs import signals
from so101rl.runs.run_dir import RunDir
from so101rl.sweeps.job import Job
from so101rl.sweeps.outcome import (
    Breaker,
    BrokenSweep,
    FolderState,
    Outcome,
    process_outcome,
    run_outcome,
)
from so101rl.sweeps.processes import Processes


class Python:
    """A program whose jobs are Python code."""

    def command(self, job, folder):
        return [sys.executable, "-c", *job.overrides, str(folder)]


def run_one(tmp_path, code, timeout_s=None, *, prune=False):
    """Run Python code as a job; returns how it ended."""
    processes = Processes(Python(), timeout_s)
    processes.start(Job("job", (code,)), tmp_path / "job")
    if prune:
        processes.prune("job")
    while not (ended := processes.ended(1.0)):
        pass
    assert not processes.running
    ((name, found),) = ended
    assert name == "job"
    return found


def test_a_job_without_a_run_is_judged_by_its_exit_and_its_own_last_line(tmp_path):
    for code, wanted in (
        ("pass", Outcome("finished")),
        ("1 / 0", Outcome("failed", "bug", "ZeroDivisionError: division by zero")),
        ("exit(3)", Outcome("failed", "bug", "exit code 3")),
        ("print('error: no'); print('x'); exit(2)", Outcome("failed", "config", "no")),
        ("exit(1)", Outcome("failed", "bug", "exit code 1")),
        (
            "import os; os.kill(os.getpid(), 9)",
            Outcome("killed", "infrastructure", "ended by signal 9"),
        ),
    ):
        assert run_one(tmp_path, code) == wanted


IGNORE = "import signal, time; signal.signal({}, signal.SIG_IGN); time.sleep(999)"


@pytest.mark.parametrize("code", ["import time; time.sleep(999)", IGNORE.format(15)])
def test_a_job_that_takes_too_long_is_stopped(tmp_path, monkeypatch, code):
    monkeypatch.setattr(signals, "PARENT_PATIENCE_S", 0.3)
    found = run_one(tmp_path, code, timeout_s=0.5)
    assert found == Outcome("failed", "timeout", "stopped after 0.5 s")


def test_a_run_that_took_too_long_has_failed_for_good(tmp_path):
    code = (
        "import sys; from so101rl.runs.run_dir import RunDir\n"
        "run = RunDir.create(sys.argv[1], cfg={'seed': 0}, command='x')\n"
        "with run.lifecycle(): import time; time.sleep(999)"
    )
    found = run_one(tmp_path, code, timeout_s=4)
    assert found == Outcome("failed", "timeout", "stopped after 4 s")
    later = run_outcome(tmp_path / "job")
    assert (later.status, later.kind, later.is_final) == ("failed", "timeout", True)


def test_a_job_that_ignores_that_it_is_pruned_is_killed(tmp_path, monkeypatch):
    monkeypatch.setattr("so101rl.sweeps.processes.PRUNE_S", 0.3)
    found = run_one(tmp_path, IGNORE.format(10), prune=True)
    assert found.reason.startswith("ended by signal")


def test_an_old_run_is_not_the_result_of_a_process_that_was_refused(tmp_path):
    folder = tmp_path / "job"
    RunDir.create(folder, cfg={"seed": 0}, command="x").finish("finished")
    before = FolderState.of(folder)
    (tmp_path / "job.log").write_text("error: it is taken\n")
    refused = Outcome("failed", "config", "it is taken")
    assert process_outcome(folder, 2, before) == refused
    # A full memory or disk is no fault of the settings: the run is resumed.
    RunDir.open(folder).finish("failed", MemoryError("too little"))
    found = process_outcome(folder, 2, before)
    assert (found.status, found.kind) == ("failed", "infrastructure")
    assert not found.is_final


def test_a_run_whose_process_is_gone_was_killed(tmp_path):
    code = (
        "import os, sys; from so101rl.runs.run_dir import RunDir\n"
        "RunDir.create(sys.argv[1], cfg={'seed': 0}, command='x'); os._exit(0)"
    )
    found = run_one(tmp_path, code)
    assert (found.status, found.kind) == ("killed", "infrastructure")
    assert not found.is_final


# ---- a job and its sweep ----

FOLLOW = (
    "import signal, sys, time\nfrom so101rl.runs import signals\n"
    "signals.PARENT_PATIENCE_S = 0.3\n"
    "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])\n"
    "signals.follow_parent(); print('ready', flush=True); time.sleep(999)"
)


def follower(code):
    """A process that follows this one, and the pipe's end that it follows."""
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", code],
        env=os.environ | {signals.PARENT_PIPE: str(reading)},
        pass_fds=[reading],
        stdout=subprocess.PIPE,
    )
    os.close(reading)
    return process, writing


def test_a_job_that_ignores_signals_does_not_outlive_its_sweep():
    process, writing = follower(FOLLOW)
    assert process.stdout.readline() == b"ready\n"
    assert process.poll() is None
    os.close(writing)
    assert process.wait(60) == -signal.SIGKILL


def test_a_job_whose_sweep_is_gone_does_not_begin():
    process, writing = follower(
        "from so101rl.runs import signals; signals.follow_parent(); print(1)"
    )
    os.close(writing)
    assert process.wait(60) == -signal.SIGTERM
    assert process.stdout.read() == b""


def test_the_processes_of_a_job_do_not_follow_its_sweep(monkeypatch):
    reading, writing = os.pipe()
    monkeypatch.setenv(signals.PARENT_PIPE, str(reading))
    monkeypatch.setattr(signals, "_wait_for_parent", os.close)
    signals.follow_parent()
    assert signals.PARENT_PIPE not in os.environ
    os.close(writing)


# ---- when to give up ----

BUG = Outcome("failed", "bug", "ValueError: 3 of 4.5e-3")
FULL = Outcome("failed", "infrastructure", "OSError: full")
OTHERS = [
    Outcome("finished"),
    Outcome("killed", "infrastructure", "ended by signal 9"),
    Outcome("failed", "diverged", "the reward"),
    Outcome("failed", "timeout", "stopped after 5 s"),
]


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
    assert is_broken(BUG, other, BUG)  # the numbers differ from job to job
    assert is_broken(FULL, FULL, FULL)
    assert not is_broken(BUG, BUG)
    for between in OTHERS:
        assert not is_broken(BUG, BUG, between, BUG)
        assert not is_broken(*[between] * 5)
    kinds = [Outcome("failed", "bug", f"{name}Error") for name in "ABC"]
    assert not is_broken(*itertools.chain(*[kinds] * 3))

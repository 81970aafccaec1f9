"""A job's process: how its end is judged, when it is stopped, and whom it follows."""

import contextlib
import os
import signal
import subprocess
import sys
from types import SimpleNamespace
from unittest.mock import Mock

import pytest

from so101rl.runs import signals
from so101rl.runs.run_dir import RunDir
from so101rl.sweeps.job import Job
from so101rl.sweeps.launchers import LauncherJobs
from so101rl.sweeps.outcome import (
    Breaker,
    BrokenSweep,
    FolderState,
    Outcome,
    process_outcome,
    run_outcome,
)
from so101rl.sweeps.processes import Processes, Program

GONE = Outcome("killed", "infrastructure", "ended by signal 9")


def run_one(tmp_path, code, timeout_s=None, *, prune=False):
    """Run Python code as a job; returns how it ended."""
    command = [sys.executable, "-c", code, str(tmp_path / "job")]
    program = SimpleNamespace(command=lambda job, folder: command)
    processes = Processes(program, timeout_s)
    processes.start(Job("job", ()), tmp_path / "job")
    if prune:
        processes.prune("job")
    while not (ended := processes.ended(1.0)):
        pass
    assert not processes.running and len(ended) == 1
    return dict(ended)["job"]


def test_a_job_without_a_run_is_judged_by_its_exit_and_its_own_last_line(tmp_path):
    for code, wanted in (
        ("pass", Outcome("finished")),
        ("1 / 0", Outcome("failed", "bug", "ZeroDivisionError: division by zero")),
        ("exit(3)", Outcome("failed", "bug", "exit code 3")),
        ("print('error: no'); print('x'); exit(2)", Outcome("failed", "config", "no")),
        ("import os; os.kill(os.getpid(), 9)", GONE),
    ):
        assert run_one(tmp_path, code) == wanted


def test_a_job_that_ignores_that_it_took_too_long_or_is_pruned_is_killed(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(signals, "PARENT_PATIENCE_S", 0.3)
    monkeypatch.setattr("so101rl.sweeps.processes.PRUNE_S", 0.3)
    deaf = "import signal, time; signal.signal({}, signal.SIG_IGN); time.sleep(999)"
    found = run_one(tmp_path, deaf.format(15), timeout_s=0.5)
    assert found == Outcome("failed", "timeout", "stopped after 0.5 s")
    found = run_one(tmp_path, deaf.format(10), prune=True)
    assert found.reason.startswith("ended by signal")


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


def test_an_old_run_is_not_the_result_of_a_process_that_was_refused(tmp_path):
    folder = tmp_path / "job"
    RunDir.create(folder, cfg={"seed": 0}, command="x").finish("finished")
    before = FolderState.of(folder)
    (tmp_path / "job.log").write_text("error: it is taken\n")
    found = process_outcome(folder, 2, before)
    assert found == Outcome("failed", "config", "it is taken")
    # A full memory or disk is no fault of the settings: the run is resumed.
    RunDir.open(folder).finish("failed", MemoryError("too little"))
    found = process_outcome(folder, 2, before)
    assert (found.kind, found.is_final) == ("infrastructure", False)


def test_a_launcher_gets_all_jobs_at_once_and_stopped_ones_as_resumed(tmp_path):
    stopped = RunDir.create(tmp_path / "old", cfg={"seed": 0}, command="x")
    stopped.finish("failed", MemoryError("too little"))
    launcher = Mock()
    launcher.launch.side_effect = lambda *_, **__: stopped.finish("finished")
    jobs = LauncherJobs(launcher, Program((), tmp_path, ("a=1",)))
    for name in ("old", "new"):
        jobs.start(Job(name, ("b=2",)), tmp_path / name)
    no_run = Outcome("failed", "bug", "the launcher ended without a run")
    assert jobs.ended(1.0) == [("old", Outcome("finished")), ("new", no_run)]
    assert jobs.ended(1.0) == []
    resume = ["a=1", "job=resume", f"run='{tmp_path / 'old'}'"]
    new = ["a=1", "b=2", "part_of={}", "hydra.sweep.subdir='new'"]
    (call,) = launcher.launch.call_args_list
    assert call.args == ([[*resume, "hydra.sweep.subdir='old'"], new],)


FOLLOW = (
    "import os, signal, time\nfrom so101rl.runs import signals\n"
    "signals.PARENT_PATIENCE_S = 0.3\n{}\n"
    "signals.follow_parent(); print(signals.PARENT_PIPE in os.environ, flush=True)\n"
    "time.sleep(999)"
)
BLOCK = "signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])"


@pytest.mark.parametrize(
    ("before", "number", "printed"),
    [(BLOCK, signal.SIGKILL, b"False\n"), ("", signal.SIGTERM, b"")],
)
def test_a_job_ends_with_its_sweep_and_does_not_begin_after_it(before, number, printed):
    reading, writing = os.pipe()
    process = subprocess.Popen(
        [sys.executable, "-c", FOLLOW.format(before)],
        env=os.environ | {signals.PARENT_PIPE: str(reading)},
        pass_fds=[reading],
        stdout=subprocess.PIPE,
    )
    os.close(reading)
    if before:  # it follows, its own processes will not, and it is deaf
        assert process.stdout.readline() == printed
        assert process.poll() is None
    os.close(writing)
    assert process.wait(60) == -number
    assert before or process.stdout.read() == printed


def is_broken(*ends):
    breaker = Breaker()
    with contextlib.suppress(BrokenSweep):
        for end in ends:
            breaker.check(end)
        return False
    return True


def test_three_equal_failures_in_a_row_are_enough():
    bug = Outcome("failed", "bug", "ValueError: 3 of 4.5e-3")
    other = Outcome("failed", "bug", "ValueError: 17 of -2.0")
    full = Outcome("failed", "infrastructure", "OSError: full")
    assert is_broken(bug, other, bug)  # the numbers differ from job to job
    assert is_broken(full, full, full)
    kinds = [Outcome("failed", kind, "oh") for kind in ("diverged", "timeout")]
    for between in (Outcome("finished"), GONE, *kinds):
        assert not is_broken(bug, bug, between, bug)
        assert not is_broken(*[between] * 5)
    assert not is_broken(*[bug, bug, Outcome("failed", "bug", "KeyError")] * 3)

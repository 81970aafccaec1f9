"""Trackers mirror runs and sweeps exactly once, and never harm them."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf
from run_dirs import SWEEP, Recorder, begun, create, defined, scores

from so101rl.runs.run_dir import RunDir
from so101rl.runs.sweep_dir import SweepDir
from so101rl.tracking import Mirror, TrackerError, base, follow, make_mirror
from so101rl.tracking.base import followed
from so101rl.tracking.delivery import deliver
from so101rl.tracking.tensorboard import TensorboardTracker

TESTS = Path(__file__).resolve().parents[1]
CONF = TESTS.parent / "conf" / "tracking"


@pytest.fixture
def run(tmp_path):
    return create(tmp_path / "run")


def status(folder):
    return RunDir.open(folder).info["status"]


def recorders(path, **more):
    file = {"_target_": "pathlib.Path", "_args_": [str(path)]}
    own = {"_target_": "run_dirs.Recorder", "path": file, **more}
    return OmegaConf.create({"one": own})


@pytest.mark.parametrize("call", ["start", "push", "finish finished"])
def test_a_failing_tracker_warns_once_and_the_run_goes_on(run, tmp_path, capfd, call):
    broken, one = Recorder(tmp_path / "broken", fails=call), Recorder(tmp_path / "one")
    mirror = Mirror({"broken": broken, "one": one}, every_s=0.01)
    with mirror.follow(run), run.lifecycle():
        one.wait_for("push")
        if call == "push":
            broken.wait_for("push")
        assert not [call for call in one.calls if call.startswith("finish")]
    (warning,) = capfd.readouterr().err.splitlines()
    assert "broken stopped at" in warning and "server down" in warning
    assert warning.endswith(f"python main.py job=sync run={run.path}")
    assert (one.calls[0], one.calls[-1]) == ("start", "finish finished")
    assert (broken.calls[-1], status(run.path)) == (call, "finished")
    assert deliver(run, recorders(tmp_path / "one")) == "one already has it"


def test_a_tracker_without_a_process_or_that_hangs_costs_next_to_nothing(
    run, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr(base, "PATIENCE_S", 0.1)
    stuck = Recorder(tmp_path / "stuck", hangs="start")
    mirror = Mirror({"stuck": stuck})
    with mirror.follow(run):
        stuck.wait_for("start")
    assert "did not catch up; deliver it later: python main.py job=sync" in caplog.text
    (worker,) = mirror._workers
    assert worker._process.poll() == -signal.SIGKILL
    monkeypatch.setattr(base.sys, "executable", "/bin/false")
    big = Recorder(Path("x" * 200_000))  # more than a pipe holds
    with Mirror({"dead": big}).follow(run):
        pass
    assert "dead ended with exit code 1" in caplog.text
    monkeypatch.setattr(base.sys, "executable", "/no/such/python")
    with Mirror({"dead": big}).follow(run), run.lifecycle():
        pass
    assert "dead could not be started" in caplog.text
    assert status(run.path) == "finished"


@pytest.mark.parametrize(
    ("end", "error"),
    [("os.killpg(0, signal.SIGINT); signal.pause()", "KeyboardInterrupt"),
     ("os.kill(os.getpid(), signal.SIGKILL)", "ProcessGone")],
    ids=["Ctrl+C in a terminal", "kill -9"],
)  # fmt: skip
def test_a_tracker_outlives_the_run_and_delivers_how_it_ended(tmp_path, end, error):
    program = f"""
import os, pathlib, signal, sys
sys.path.insert(0, {str(TESTS)!r})
from run_dirs import Recorder, create
from so101rl.tracking import Mirror
folder = pathlib.Path({str(tmp_path)!r})
run, one = create(folder / "run"), Recorder(folder / "one")
with Mirror({{"one": one}}).follow(run), run.lifecycle():
    one.wait_for("start")
    {end}
"""
    command = [sys.executable, "-c", program]
    subprocess.run(command, start_new_session=True, capture_output=True, check=False)
    Recorder(tmp_path / "one").wait_for("finish killed")
    assert RunDir.open(tmp_path / "run").info["error"]["class"] == error


def test_the_program_of_a_tracker_follows_until_its_input_ends(
    run, tmp_path, monkeypatch, caplog
):
    monkeypatch.setattr(follow, "LOCK_PATIENCE_S", 0.1)
    one, two = Recorder(tmp_path / "one"), Recorder(tmp_path / "two")
    with open("/dev/null") as ended:
        monkeypatch.setattr(follow.sys, "stdin", ended)
        follow.follow("one", one, run, 0.01)
        assert one.calls == ["start", "finish running"]
        run._lock.free()
        follow.follow("two", two, run, 0.01)
        assert two.calls == ["start", "finish killed"]
        broken = Recorder(tmp_path / "three", fails="start")
        follow.follow("three", broken, begun(tmp_path / "sweep"), 0.01)
    assert caplog.text.strip().endswith("deliver it later: python main.py job=sync")


def test_options_build_and_combine():
    for names in ([], ["mlflow"], ["mlflow", "tensorboard"]):
        nodes = [OmegaConf.load(CONF / f"{name}.yaml") for name in ("none", *names)]
        cfg = OmegaConf.create({"tracking": OmegaConf.merge(*nodes)})
        made = make_mirror(cfg.tracking)
        assert [worker._name for worker in made._workers] == names


def test_trackers_and_the_jobs_on_runs_import_nothing_heavy():
    program = (
        "import sys, so101rl.runs.run_dir\n"
        "print([name for name in ('numpy', 'omegaconf') if name in sys.modules])\n"
        "import so101rl.jobs.runs, so101rl.tracking.mlflow\n"
        "import so101rl.tracking.tensorboard, so101rl.jobs.explain\n"
        "heavy = ('torch', 'mlflow', 'mujoco', 'matplotlib', 'scipy', 'tensorboard')\n"
        "print([name for name in (*heavy, 'pandas') if name in sys.modules])"
    )
    done = subprocess.check_output([sys.executable, "-c", program], text=True)
    assert done == "[]\n[]\n"


def test_tensorboard_has_metrics_and_results_or_says_what_it_needs(run, monkeypatch):
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "torch.utils.tensorboard", None)
        with pytest.raises(TrackerError, match="pip install tensorboard"):
            TensorboardTracker().start(run)
    module = "tensorboard.backend.event_processing.event_accumulator"
    accumulator = pytest.importorskip(module)
    run.log(64, {"a": 0.5})
    run.write_evaluation({"policies": {"base": scores(40)}})
    for _ in range(2):  # delivered again, everything is there once
        tracker = TensorboardTracker()
        tracker.start(run)
        tracker.finish(run)
    events = accumulator.EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    assert [(e.step, e.value) for e in events.Scalars("a")] == [(64, 0.5)]
    assert events.Scalars("base/success_rate")[0].value == pytest.approx(0.4)


def test_a_run_is_delivered_once_and_again_only_if_it_has_changed(run, tmp_path):
    trackers = recorders(tmp_path / "one")
    assert deliver(run, trackers) == "one gets it later: the run is running"
    run.finish("killed")
    failing = recorders(tmp_path / "one", fails="finish killed")
    assert deliver(run, failing) == "one failed (server down)"
    assert deliver(run, trackers) == "one has received it"
    assert deliver(run, trackers) == "one already has it"
    with run.locked():
        run.reopen(step=0, metrics=0, resume="exact")
    run.finish("finished")
    assert deliver(run, trackers) == "one has received it"
    assert Recorder(tmp_path / "one").calls[-1] == "finish finished"
    assert deliver(run, OmegaConf.create()) == "no tracker is chosen"


def test_a_tracker_without_sweeps_gets_none(tmp_path):
    sweep = defined(tmp_path / "sweep")
    chosen = OmegaConf.create({"trackers": recorders(tmp_path / "one")})
    with followed(sweep, chosen, **SWEEP):
        pass
    assert SweepDir.open(sweep.path).info["status"] == "finished"
    assert deliver(sweep, chosen.trackers) == "one does not record sweeps"
    assert Recorder(tmp_path / "one").calls == []

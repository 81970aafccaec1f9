"""Trackers mirror the run directory exactly, and cannot hurt a run."""

import contextlib
import json
import multiprocessing
import signal
import sqlite3
import subprocess
import sys
import threading
import time

import pytest
from conftest import ROOT, config_of
from hydra.utils import instantiate
from omegaconf import OmegaConf

from so101rl.config.schema import NEUTRAL_KEYS, settings
from so101rl.figures.style import GROUP_COLOURS
from so101rl.runs.run_dir import RunDir
from so101rl.runs.summary import run_summary
from so101rl.runs.sweep_dir import SweepDir
from so101rl.tracking import Mirror, Tracker, TrackerError, make_mirror
from so101rl.tracking.base import followed
from so101rl.tracking.links import links
from so101rl.tracking.mlflow import MlflowTracker
from so101rl.tracking.mlflow_store import KIND

CONF = ROOT / "conf" / "tracking"
STARTED = "2026-11-21T12:00:00.000+00:00"
GROUPS = {"env": "paper_push", "base_policy": "jacobian", "algo": "ppo"}
SCORES = {
    "success_rate": 0.4,
    "wilson_95": [0.31, 0.5],
    "n_episodes": 100,
    "mean_time_to_success_s": None,
    "failures": {"none": 40, "jammed": 60},
}


def create(path, part_of=None, **more):
    cfg = {
        "part_of": part_of,
        "seed": 3,
        "residual": {"alpha": [0.5] * 6},
        "base_policy": {"_target_": "so101rl.base_policies.zero.Zero", "gain": 2},
        "tracking": {"uri": str(path)},
        "run": str(path),
        "long": "x" * 7000,
    }
    command = "main.py seed=3"
    return RunDir.create(path, cfg=cfg, command=command, groups=GROUPS, **more)


def tracker(store):
    return MlflowTracker(uri=f"sqlite:///{store}", experiment="so101rl/{env}")


def fill(run, lines=3):
    """Write what a finished run has."""
    for step in range(64, 64 * (lines + 1), 64):
        run.log(step, {"eval/success_rate": step / 1000}, {"time/fps": 1.0})
    run.write_evaluation({"policies": {"base": SCORES}})
    run.file("figures/summary.png").write_bytes(b"png")


class Recorder(Tracker):
    """Writes its calls to a file; fails or hangs where it is told to."""

    def __init__(self, path, fails=None, hangs=None):
        self.path, self.fails, self.hangs = path, fails, hangs

    @property
    def calls(self):
        return self.path.read_text().splitlines() if self.path.exists() else []

    def _call(self, name):
        with self.path.open("a") as file:
            file.write(f"{name}\n")
        if self.hangs == name:
            threading.Event().wait(60)
        if self.fails == name:
            raise ConnectionError("server down")

    def start(self, run):
        self._call("start")

    def push(self, run):
        self._call("push")

    def finish(self, run):
        self._call(f"finish {RunDir.open(run.path).info['status']}")


@pytest.fixture
def run(tmp_path):
    return create(tmp_path / "run")


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    """A store whose folder needs quoting in a URI, used by every test here."""
    return tmp_path_factory.mktemp("a store") / "mlflow.db"


@pytest.fixture(scope="module")
def mirrored(store, tmp_path_factory):
    """A finished run, and what MLflow says about it."""
    run = create(tmp_path_factory.mktemp("runs") / "run")
    mirror = Mirror({"mlflow": tracker(store)})
    with mirror.follow(run), run.lifecycle():
        fill(run)
    return run, recorded(store, run)


def test_an_experiment_that_somebody_made_opens_on_its_runs_too(mirrored, store, run):
    made = client(store).create_experiment("theirs", tags={"theirs": "kept"})
    MlflowTracker(uri=f"sqlite:///{store}", experiment="theirs").start(run)
    tags = client(store).get_experiment(made).tags
    assert tags.items() >= {"theirs": "kept", **KIND}.items()


def client(store):
    from mlflow import MlflowClient

    return MlflowClient(f"sqlite:///{store}")


def recorded(store, run):
    experiment = client(store).get_experiment_by_name("so101rl/paper_push")
    found = client(store).search_runs(
        [experiment.experiment_id], f"tags.uid = '{run.info['uid']}'"
    )
    assert len(found) == 1
    return found[0]


def wait_until_recorded(store, run):
    """A run that is stopped does not wait for its trackers; the test has to."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(AssertionError, AttributeError):
            found = recorded(store, run)
            if found.info.status != "RUNNING":
                return found
        time.sleep(0.2)
    return recorded(store, run)


def test_mlflow_holds_what_the_run_directory_holds(mirrored, store):
    run, found = mirrored
    history = client(store).get_metric_history(found.info.run_id, "eval/success_rate")
    assert [(m.step, m.value) for m in history] == [
        (64, 0.064),
        (128, 0.128),
        (192, 0.192),
    ]
    assert found.info.status == "FINISHED"
    assert found.info.run_name == run.info["name"]
    assert found.data.metrics["base/success_rate"] == 0.4
    assert found.data.metrics["base/failures/jammed"] == 60
    assert found.data.metrics["time/fps"] == 1.0
    assert "base/mean_time_to_success_s" not in found.data.metrics


def test_results_have_no_step_and_so_are_drawn_as_bars(mirrored, store):
    _, found = mirrored
    (metric,) = client(store).get_metric_history(found.info.run_id, "base/success_rate")
    assert metric.step == 0


def test_a_note_says_what_came_of_a_run(mirrored):
    run, found = mirrored
    assert found.data.tags["mlflow.note.content"] == run_summary(RunDir.open(run.path))


def test_mlflow_params_and_tags(mirrored):
    run, found = mirrored
    assert found.data.params["residual.alpha"] == str([0.5] * 6)
    assert len(found.data.params["long"]) == 6000
    assert found.data.params["seed"] == "3"
    assert found.data.params.items() >= GROUPS.items()
    if run.info["git"]:
        assert found.data.tags["commit"] == run.info["git"]["commit"]


def test_parameters_are_what_runs_may_differ_in(mirrored, tmp_path):
    run, found = mirrored
    assert found.data.params["base_policy.gain"] == "2"
    for key in found.data.params:
        assert not key.startswith(("tracking", "job", "run")), key
        assert "._" not in key
    assert str(run.path) not in found.data.params.values()


def test_a_warm_start_is_a_parameter_by_name(store, tmp_path):
    run = create(tmp_path / "run", init_from={"name": "calm-otter"})
    tracker(store).start(run)
    assert recorded(store, run).data.params["init_from"] == "calm-otter"


def test_what_is_no_parameter_is_a_key_of_the_config():
    keys = settings(config_of())
    for key in NEUTRAL_KEYS:
        assert any(f"{known}.".startswith(f"{key}.") for known in keys), key


def test_mlflow_files_lie_next_to_the_store(mirrored, store):
    _, found = mirrored
    listed = client(store).list_artifacts(found.info.run_id)
    assert {"run.json", "evaluation.json", "figures", ".hydra"} <= {
        item.path for item in listed
    }
    assert list(store.parent.glob("mlruns/*/*/figures/summary.png"))


def test_links_lead_to_the_experiments_that_runs_have_made(mirrored, store):
    _, found = mirrored
    line, *_ = links(store, "http://127.0.0.1:5000")
    number = found.info.experiment_id
    assert line.startswith("so101rl/paper_push: http://127.0.0.1:5000/#/experiments/")
    assert f"/{number}/runs?" in line
    assert links(store.with_name("absent.db"), "x") == []


def test_neighbours_have_different_colours(store, tmp_path):
    for number in range(len(GROUP_COLOURS) + 1):
        run = create(tmp_path / str(number))
        MlflowTracker(uri=f"sqlite:///{store}", experiment="colours").start(run)
    experiment = client(store).get_experiment_by_name("colours")
    runs = client(store).search_runs([experiment.experiment_id])
    newest, *others, oldest = (run.data.tags["mlflow.runColor"] for run in runs)
    assert sorted([newest, *others]) == sorted(GROUP_COLOURS)
    assert newest == oldest


def test_mirroring_twice_adds_nothing(mirrored, store):
    run, found = mirrored
    again = tracker(store)
    again.start(run)
    again.push(run)
    again.finish(run)
    history = client(store).get_metric_history(found.info.run_id, "eval/success_rate")
    assert len(history) == 3
    twice = recorded(store, run)
    assert twice.info.status == "FINISHED"
    assert twice.data.tags == found.data.tags


@pytest.mark.parametrize(
    ("raised", "status"),
    [(ValueError("boom"), "FAILED"), (KeyboardInterrupt, "KILLED")],
)
def test_mlflow_status_is_truthful(store, run, raised, status):
    mirror = Mirror({"mlflow": tracker(store)})
    end = pytest.raises((ValueError, KeyboardInterrupt))
    with end, mirror.follow(run), run.lifecycle():
        raise raised
    found = wait_until_recorded(store, run)
    assert found.info.status == status
    assert found.data.tags["error"].startswith(run.info["error"]["class"])


def test_long_logs_go_in_batches(store, run):
    for step in range(1, 301):
        run.log(step, {f"reward/{i}": i for i in range(5)})
    mirror = Mirror({"mlflow": tracker(store)})
    with mirror.follow(run), run.lifecycle():
        pass
    found = recorded(store, run)
    history = client(store).get_metric_history(found.info.run_id, "reward/4")
    assert len(history) == 300


def test_unknown_group_in_the_experiment_name_is_explained(run, store):
    wrong = MlflowTracker(uri=f"sqlite:///{store}", experiment="x/{enw}")
    with pytest.raises(TrackerError, match=r"'enw'.*\{env\}"):
        wrong.start(run)


def _start_at_once(store, path, gate):
    gate.wait()
    one = create(path, part_of={"sweep": "tiny"})
    with Mirror({"mlflow": tracker(store)}).follow(one), one.lifecycle():
        fill(one)


@pytest.mark.parametrize("count", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_a_sweep_and_its_jobs_open_a_fresh_store_at_once(tmp_path, count):
    context = multiprocessing.get_context("spawn")
    gate, store = context.Event(), tmp_path / "m.db"
    paths = [tmp_path / f"run{i}" for i in range(count)]
    workers = [
        context.Process(target=_start_at_once, args=(store, path, gate))
        for path in paths
    ]
    settled = {"what": {}, "command": "main.py -m", "git": None, "started": STARTED}
    (tmp_path / "sweep.json").write_text(json.dumps(settled))
    for worker in workers:
        worker.start()
    gate.set()
    chosen = OmegaConf.load(CONF / "mlflow.yaml")
    chosen.uri = f"sqlite:///{store}"
    root = OmegaConf.create({"tracking": chosen})
    with followed(
        SweepDir.open(tmp_path), root.tracking, name="tiny", groups=GROUPS, group="arm"
    ):
        for worker in workers:
            worker.join(120)
    runs = [recorded(store, RunDir.open(path)) for path in paths]
    parent = recorded(store, SweepDir.open(tmp_path))
    assert {run.info.status for run in (parent, *runs)} == {"FINISHED"}
    above = {run.data.tags["mlflow.parentRunId"] for run in runs}
    assert above == {parent.info.run_id}
    with sqlite3.connect(store) as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)


def wait_for(recorder, call):
    """Let the run go on until a tracker was called."""
    deadline = time.monotonic() + 60
    while call not in recorder.calls:
        assert time.monotonic() < deadline, f"no {call} in {recorder.calls}"
        time.sleep(0.01)


def test_all_trackers_see_the_settled_status(run, tmp_path):
    one, two = Recorder(tmp_path / "one"), Recorder(tmp_path / "two")
    with Mirror({"one": one, "two": two}).follow(run), run.lifecycle():
        pass
    assert one.calls[-1] == two.calls[-1] == "finish finished"
    assert one.calls[0] == "start"


def test_a_tracker_is_fed_while_the_run_goes_on(run, tmp_path):
    one = Recorder(tmp_path / "one")
    with Mirror({"one": one}, every_s=0.01).follow(run), run.lifecycle():
        wait_for(one, "push")
        assert not [call for call in one.calls if call.startswith("finish")]


@pytest.mark.parametrize("call", ["start", "push", "finish finished"])
def test_a_failing_tracker_warns_once_and_the_run_goes_on(run, tmp_path, capfd, call):
    broken = Recorder(tmp_path / "broken", fails=call)
    healthy = Recorder(tmp_path / "healthy")
    mirror = Mirror({"broken": broken, "healthy": healthy}, every_s=0.01)
    with mirror.follow(run), run.lifecycle():
        wait_for(healthy, "push")
        if call == "push":
            wait_for(broken, "push")
    (warning,) = capfd.readouterr().err.splitlines()
    assert "broken" in warning and "server down" in warning
    assert healthy.calls[-1] == "finish finished"
    assert broken.calls[-1] == call
    assert RunDir.open(run.path).info["status"] == "finished"


def test_a_tracker_whose_process_dies_at_once_costs_nothing(
    run, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr("so101rl.tracking.base.sys.executable", "/bin/false")
    dead = Recorder(tmp_path / "dead" / ("x" * 200_000))  # more than a pipe holds
    with Mirror({"dead": dead}).follow(run), run.lifecycle():
        pass
    assert "dead ended with exit code 1" in caplog.text
    assert RunDir.open(run.path).info["status"] == "finished"


def test_a_tracker_that_cannot_be_started_costs_nothing(run, caplog, monkeypatch):
    monkeypatch.setattr("so101rl.tracking.base.sys.executable", "/no/such/python")
    with Mirror({"absent": object()}).follow(run), run.lifecycle():
        pass
    assert "absent could not be started" in caplog.text
    assert RunDir.open(run.path).info["status"] == "finished"


def test_a_hanging_tracker_delays_the_end_only_so_long(
    run, tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr("so101rl.tracking.base.PATIENCE_S", 0.1)
    stuck = Recorder(tmp_path / "stuck", hangs="start")
    mirror = Mirror({"stuck": stuck})
    with mirror.follow(run), run.lifecycle():
        wait_for(stuck, "start")
    assert run.info["status"] == "finished"
    assert "did not catch up" in caplog.text
    (worker,) = mirror._workers
    assert worker._process.poll() == -signal.SIGKILL


@pytest.mark.parametrize("boots", [True, False])
def test_ctrl_c_in_a_terminal_leaves_the_tracker_to_deliver(tmp_path, boots):
    program = f"""
import os, pathlib, signal, sys
sys.path[:0] = [{str(ROOT / "tests")!r}, {str(ROOT / "tests/tracking")!r}]
import test_tracking as t
folder = pathlib.Path({str(tmp_path)!r})
run, one = t.create(folder / "run"), t.Recorder(folder / "one")
with t.Mirror({{"one": one}}).follow(run), run.lifecycle():
    if not {boots}:
        t.wait_for(one, "start")
    os.killpg(0, signal.SIGINT)
    signal.pause()
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        start_new_session=True,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert Recorder(tmp_path / "one").calls[-1] == "finish killed", done.stderr


def test_a_tracker_ends_with_a_run_that_was_shot(tmp_path):
    program = f"""
import os, pathlib, signal, sys
sys.path[:0] = [{str(ROOT / "tests")!r}, {str(ROOT / "tests/tracking")!r}]
import test_tracking as t
folder = pathlib.Path({str(tmp_path)!r})
run, one = t.create(folder / "run"), t.Recorder(folder / "one")
with t.Mirror({{"one": one}}).follow(run), run.lifecycle():
    t.wait_for(one, "start")
    os.kill(os.getpid(), signal.SIGKILL)
"""
    subprocess.run([sys.executable, "-c", program], check=False, timeout=120)
    wait_for(Recorder(tmp_path / "one"), "finish killed")
    assert RunDir.open(tmp_path / "run").info["error"]["class"] == "ProcessGone"


def test_unreachable_server_costs_nothing(run, capfd, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    down = MlflowTracker(uri="http://127.0.0.1:9", experiment="x")
    with Mirror({"mlflow": down}).follow(run), run.lifecycle():
        fill(run)
    assert "mlflow stopped at start" in capfd.readouterr().err
    assert run.info["status"] == "finished"


def test_tensorboard_writes_event_files(run):
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator"
    )
    from so101rl.tracking.tensorboard import TensorboardTracker

    with Mirror({"tb": TensorboardTracker()}).follow(run), run.lifecycle():
        fill(run)
    events = accumulator.EventAccumulator(str(run.path / "tensorboard"))
    events.Reload()
    scalars = events.Scalars("eval/success_rate")
    assert [event.step for event in scalars] == [64, 128, 192]
    assert events.Scalars("base/success_rate")[0].value == pytest.approx(0.4)


def test_missing_tensorboard_is_named(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    tracker = instantiate(OmegaConf.load(CONF / "tensorboard.yaml").trackers)
    (tensorboard,) = tracker.values()
    with pytest.raises(TrackerError, match="pip install tensorboard"):
        tensorboard.start(run)


@pytest.mark.parametrize("options", [["mlflow"], ["none"], ["mlflow", "tensorboard"]])
def test_options_build_and_combine(options):
    nodes = [OmegaConf.load(CONF / f"{option}.yaml") for option in options]
    cfg = OmegaConf.create({"tracking": OmegaConf.merge(*nodes)})
    mirror = make_mirror(cfg.tracking)
    expected = [option for option in options if option != "none"]
    assert [worker._name for worker in mirror._workers] == expected


def test_import_needs_no_tracker():
    program = (
        "import sys, so101rl.tracking, so101rl.tracking.mlflow\n"
        "import so101rl.tracking.tensorboard\n"
        "print([m for m in ('mlflow', 'torch', 'tensorboard') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"

"""Trackers mirror the run directory exactly, and cannot hurt a run."""

import logging
import multiprocessing
import sqlite3
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from so101rl.rundir import RunDir
from so101rl.tracking import Mirror, Tracker, TrackerError, make_mirror
from so101rl.tracking.mlflow import MlflowTracker

CONF = Path(__file__).parents[1] / "conf" / "tracking"
GROUPS = {"env": "paper_push", "base_policy": "jacobian", "algo": "ppo"}
SCORES = {
    "success_rate": 0.4,
    "wilson_95": [0.31, 0.5],
    "n_episodes": 100,
    "mean_time_to_success_s": None,
    "failures": {"none": 40, "jammed": 60},
}


def create(path):
    cfg = {"seed": 3, "residual": {"alpha": [0.5] * 6}, "long": "x" * 7000}
    return RunDir.create(path, cfg=cfg, command="main.py seed=3", groups=GROUPS)


def tracker(store):
    return MlflowTracker(uri=f"sqlite:///{store}", experiment="so101rl/{env}")


def fill(run, lines=3):
    """Write what a finished run has."""
    for step in range(64, 64 * (lines + 1), 64):
        run.log(step, {"eval/success_rate": step / 1000}, {"time/fps": 1.0})
    run.write_evaluation({"policies": {"base": SCORES}})
    run.file("figures/summary.png").write_bytes(b"png")


class Recorder(Tracker):
    """Remembers its calls; fails or hangs where it is told to."""

    def __init__(self, fails=None, hangs=None):
        self.calls, self.fails, self.hangs = [], fails, hangs

    def _call(self, name):
        self.calls.append(name)
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
        mirror.push(run)
    return run, recorded(store, run)


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


def test_mlflow_params_and_tags(mirrored):
    run, found = mirrored
    assert found.data.params["residual.alpha"] == str([0.5] * 6)
    assert len(found.data.params["long"]) == 6000
    assert found.data.tags["env"] == "paper_push"
    assert found.data.tags["seed"] == "3"
    if run.info["git"]:
        assert found.data.tags["commit"] == run.info["git"]["commit"]


def test_mlflow_files_lie_next_to_the_store(mirrored, store):
    _, found = mirrored
    listed = client(store).list_artifacts(found.info.run_id)
    assert {"run.json", "evaluation.json", "figures", ".hydra"} <= {
        item.path for item in listed
    }
    assert list(store.parent.glob("mlruns/*/*/figures/summary.png"))


def test_mirroring_twice_adds_nothing(mirrored, store):
    run, found = mirrored
    again = tracker(store)
    again.start(run)
    again.push(run)
    again.finish(run)
    history = client(store).get_metric_history(found.info.run_id, "eval/success_rate")
    assert len(history) == 3
    assert recorded(store, run).info.status == "FINISHED"


@pytest.mark.parametrize(
    ("raised", "status"),
    [(ValueError("boom"), "FAILED"), (KeyboardInterrupt, "KILLED")],
)
def test_mlflow_status_is_truthful(store, run, raised, status):
    mirror = Mirror({"mlflow": tracker(store)})
    end = pytest.raises((ValueError, KeyboardInterrupt))
    with end, mirror.follow(run), run.lifecycle():
        raise raised
    found = recorded(store, run)
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
    one = create(path)
    with Mirror({"mlflow": tracker(store)}).follow(one), one.lifecycle():
        fill(one)


@pytest.mark.parametrize("count", [3, pytest.param(8, marks=pytest.mark.slow)])
def test_many_processes_open_a_fresh_store(tmp_path, count):
    context = multiprocessing.get_context("spawn")
    gate = context.Event()
    paths = [tmp_path / f"run{i}" for i in range(count)]
    workers = [
        context.Process(target=_start_at_once, args=(tmp_path / "m.db", path, gate))
        for path in paths
    ]
    for worker in workers:
        worker.start()
    gate.set()
    for worker in workers:
        worker.join(120)
    statuses = [
        recorded(tmp_path / "m.db", RunDir.open(path)).info.status for path in paths
    ]
    assert statuses == ["FINISHED"] * count
    with sqlite3.connect(tmp_path / "m.db") as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)


def test_all_trackers_see_the_settled_status(run):
    one, two = Recorder(), Recorder()
    mirror = Mirror({"one": one, "two": two})
    with mirror.follow(run), run.lifecycle():
        mirror.push(run)
    assert one.calls[-1] == two.calls[-1] == "finish finished"
    assert one.calls[0] == "start"


@pytest.mark.parametrize("call", ["start", "push", "finish finished"])
def test_a_failing_tracker_warns_once_and_the_run_goes_on(run, caplog, call):
    healthy = Recorder()
    mirror = Mirror({"broken": Recorder(fails=call), "healthy": healthy})
    with caplog.at_level(logging.WARNING), mirror.follow(run), run.lifecycle():
        for _ in range(3):
            mirror.push(run)
            time.sleep(0.01)
    warnings = [record.message for record in caplog.records]
    assert len(warnings) == 1
    assert "broken" in warnings[0] and "server down" in warnings[0]
    assert healthy.calls[-1] == "finish finished"
    assert RunDir.open(run.path).info["status"] == "finished"


def test_a_hanging_tracker_delays_the_end_only_so_long(run, caplog, monkeypatch):
    monkeypatch.setattr("so101rl.tracking.base.PATIENCE_S", 0.1)
    begin = time.monotonic()
    mirror = Mirror({"stuck": Recorder(hangs="start")})
    with mirror.follow(run), run.lifecycle():
        mirror.push(run)
    assert time.monotonic() - begin < 5
    assert "did not catch up" in caplog.text


def test_slow_start_does_not_delay_the_run(run, monkeypatch):
    monkeypatch.setattr("so101rl.tracking.base.PATIENCE_S", 0.1)
    mirror = Mirror({"stuck": Recorder(hangs="start")})
    begin = time.monotonic()
    with mirror.follow(run):
        assert time.monotonic() - begin < 0.05


def test_unreachable_server_costs_nothing(run, caplog, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    down = MlflowTracker(uri="http://127.0.0.1:9", experiment="x")
    with Mirror({"mlflow": down}).follow(run), run.lifecycle():
        fill(run)
    assert "mlflow stopped at start" in caplog.text
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


def test_missing_tensorboard_is_named(run, monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)
    mirror = make_mirror(OmegaConf.load(CONF / "tensorboard.yaml"))
    with mirror.follow(run), run.lifecycle():
        pass
    assert "pip install tensorboard" in caplog.text


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

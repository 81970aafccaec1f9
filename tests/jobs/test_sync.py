"""Whatever happens to a tracking server, a run loses nothing and repeats nothing."""

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from omegaconf import OmegaConf
from run_dirs import create

from so101rl.runs.run_dir import RunDir
from so101rl.tracking import base, make_mirror
from so101rl.tracking.delivery import deliver

LINES = 30


class Server:
    """A real `mlflow server` on a port of its own, over a store that stays."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri, self._folder = f"http://127.0.0.1:{self.port}", folder
        self._process = None

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1"]
        command += ["--port", str(self.port), "--workers", "1"]
        command += ["--backend-store-uri", f"sqlite:///{self._folder}/server.db"]
        command += ["--artifacts-destination", f"{self._folder}/files"]
        self._process = subprocess.Popen(
            command,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,  # one signal for all its processes
            cwd=self._folder,
        )
        end = time.monotonic() + 180
        while time.monotonic() < end:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=1):
                    return
            except OSError:
                time.sleep(0.2)
        raise AssertionError("the server did not start")

    def signal(self, number):
        os.killpg(self._process.pid, number)

    def stop(self):
        if self._process is not None:
            self.signal(signal.SIGCONT)
            self.signal(signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # the machine may be busy
    found = Server(tmp_path)
    yield found
    found.stop()


def tracking(uri):
    node = {"_target_": "so101rl.tracking.mlflow.MlflowTracker", "uri": uri}
    return OmegaConf.create({"trackers": {"mlflow": {**node, "experiment": "x"}}})


def train(run, uri, after=None):
    """A run of LINES lines; in its middle `after` is called."""
    begin = time.monotonic()
    with make_mirror(tracking(uri)).follow(run), run.lifecycle():
        assert time.monotonic() - begin < 2
        for step in range(LINES):
            if step == LINES // 2 and after is not None:
                after()
            run.log(step, {"a": float(step), "b": -float(step)})
    assert run.info["status"] == "finished"


def wait_until_known(uri, run):
    end = time.monotonic() + 120
    while time.monotonic() < end:
        if found(uri, run):
            return
        time.sleep(0.2)
    raise AssertionError("the run did not reach the server")


def found(uri, run):
    from mlflow import MlflowClient

    experiment = MlflowClient(uri).get_experiment_by_name("x")
    if experiment is None:
        return []
    uid = run.info["uid"]
    return MlflowClient(uri).search_runs(
        [experiment.experiment_id], f"tags.uid = '{uid}'"
    )


def check_it_is_there_once(uri, run):
    from mlflow import MlflowClient

    (mirrored,) = found(uri, run)
    assert mirrored.info.status == RunDir.open(run.path).info["status"].upper()
    for name, sign in (("a", 1), ("b", -1)):
        history = MlflowClient(uri).get_metric_history(mirrored.info.run_id, name)
        got = sorted((metric.step, metric.value) for metric in history)
        assert got == [(step, sign * step) for step in range(LINES)]


def outages(server, run):
    """What may happen to a server, each as what to do before and in the middle."""

    def kill():
        wait_until_known(server.uri, run)
        server.stop()

    def freeze():
        wait_until_known(server.uri, run)
        server.signal(signal.SIGSTOP)

    return {
        "down all the time": (lambda: None, None),
        "stops in the middle": (server.start, kill),
        "freezes in the middle": (server.start, freeze),
    }


@pytest.mark.parametrize(
    "outage",
    [
        "down all the time",
        pytest.param("stops in the middle", marks=pytest.mark.slow),
        "freezes in the middle",
    ],
)
def test_an_outage_costs_nothing_and_sync_delivers(
    outage, server, tmp_path, monkeypatch, capfd, caplog
):
    monkeypatch.setattr(base, "PATIENCE_S", 5.0)
    run = create(tmp_path / "run")
    before, middle = outages(server, run)[outage]
    before()
    train(run, server.uri, middle)
    said = capfd.readouterr().err + caplog.text  # by the tracker, or for it
    assert "job=sync" in said
    if outage != "freezes in the middle":
        assert "mlflow failed" in deliver(run, tracking(server.uri).trackers)
    server.stop()
    server.start()
    assert deliver(run, tracking(server.uri).trackers) == "mlflow has it"
    check_it_is_there_once(server.uri, run)
    assert deliver(run, tracking(server.uri).trackers) == "mlflow had it"


def test_a_server_that_answers_500_costs_nothing(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")

    class Broken(BaseHTTPRequestHandler):
        def answer(self):
            self.send_response(500)
            self.end_headers()

        do_GET = do_POST = answer

        def log_message(self, *args):
            pass

    with HTTPServer(("127.0.0.1", 0), Broken) as broken:
        threading.Thread(target=broken.serve_forever, daemon=True).start()
        run, uri = create(tmp_path / "run"), f"http://127.0.0.1:{broken.server_port}"
        train(run, uri)
        assert "mlflow stopped at start" in capfd.readouterr().err
        assert "mlflow failed" in deliver(run, tracking(uri).trackers)
        broken.shutdown()


# ---- sync alone ----


@pytest.fixture
def store(tmp_path):
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


def test_what_a_run_delivered_itself_is_not_delivered_again(tmp_path, store):
    run = create(tmp_path / "run")
    train(run, store)
    assert deliver(run, tracking(store).trackers) == "mlflow had it"
    check_it_is_there_once(store, run)
    # Another store is another tracker.
    other = f"sqlite:///{tmp_path / 'other.db'}"
    assert deliver(run, tracking(other).trackers) == "mlflow has it"
    check_it_is_there_once(other, run)


def test_a_receipt_is_for_the_run_as_it_was(tmp_path, store):
    run = create(tmp_path / "run")
    train(run, store)
    with run.locked():
        run.reopen(step=LINES - 1, metrics=run.log_size(), resume="exact")
    run.finish("killed", KeyboardInterrupt())
    assert deliver(run, tracking(store).trackers) == "mlflow has it"
    check_it_is_there_once(store, run)
    tags = found(store, run)[0].data.tags
    assert "stopped" in tags["error"] and "Killed" in tags["mlflow.note.content"]
    with run.locked():
        run.reopen(step=LINES - 1, metrics=run.log_size(), resume="exact")
    run.finish("finished")
    assert deliver(run, tracking(store).trackers) == "mlflow has it"
    check_it_is_there_once(store, run)
    tags = found(store, run)[0].data.tags
    assert "error" not in tags and "Finished" in tags["mlflow.note.content"]


def test_a_run_whose_process_is_gone_is_delivered_as_killed(tmp_path, store):
    run = create(tmp_path / "run")
    for step in range(LINES):
        run.log(step, {"a": float(step), "b": -float(step)})
    assert deliver(RunDir.open(run.path), tracking(store).trackers) == (
        "mlflow has to wait: the run is running"
    )
    run._lock.free()
    assert deliver(RunDir.open(run.path), tracking(store).trackers) == "mlflow has it"
    assert json.loads((run.path / "run.json").read_text())["status"] == "killed"
    check_it_is_there_once(store, run)


def test_every_run_is_found_and_failures_are_counted(run_main, tmp_path):
    for name in ("one", "two"):
        train(create(tmp_path / "outputs" / name), f"sqlite:///{tmp_path}/a.db")
    store = f"tracking.uri=sqlite:///{tmp_path}/b.db"
    code, said, _ = run_main("job=sync", "tracking=mlflow", store)
    assert code == 0
    assert said.out.count("mlflow has it") == 2
    code, said, _ = run_main("job=sync", "tracking=mlflow", store)
    assert said.out.count("mlflow had it") == 2
    nowhere = f"tracking.uri=sqlite:///{tmp_path}/a.db/b.db"
    code, said, _ = run_main("job=sync", "tracking=mlflow", nowhere)
    assert code == 2
    assert "2 of 2 runs could not be delivered" in said.err

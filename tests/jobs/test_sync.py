"""Whatever happens to a real MLflow server, a run loses nothing and repeats nothing."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.request

from mlflow import MlflowClient
from omegaconf import OmegaConf
from run_dirs import create

from so101rl.tracking import base, make_mirror
from so101rl.tracking.delivery import deliver

LINES = 30


def wait(condition, what):
    end = time.monotonic() + 180
    while not condition():
        assert time.monotonic() < end, what
        time.sleep(0.2)


class Server:
    """A real `mlflow server` on a port of its own, over a store that stays."""

    def __init__(self, folder):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.uri, self._folder = f"http://127.0.0.1:{self.port}", folder
        self.start()

    def start(self):
        command = [sys.executable, "-m", "mlflow", "server", "--workers", "1"]
        command += ["--port", str(self.port), "--host", "127.0.0.1"]
        command += ["--backend-store-uri", f"sqlite:///{self._folder}/server.db"]
        command += ["--artifacts-destination", f"{self._folder}/files"]
        own = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        own |= {"start_new_session": True, "cwd": self._folder}
        self._process = subprocess.Popen(command, **own)
        wait(self.answers, "the server did not start")

    def answers(self):
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f"{self.uri}/health", timeout=1).close()
            return True

    def stop(self):
        os.killpg(self._process.pid, signal.SIGKILL)  # all its processes
        self._process.wait()

    def found(self, run):
        client = MlflowClient(self.uri)
        known = [one.experiment_id for one in client.search_experiments()]
        return client.search_runs(known, f"tags.uid = '{run.info['uid']}'")


def test_an_outage_costs_nothing_and_sync_delivers(
    tmp_path, monkeypatch, capfd, caplog
):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "60")  # the machine may be busy
    monkeypatch.setattr(base, "PATIENCE_S", 5.0)
    with contextlib.ExitStack() as stack:
        server = Server(tmp_path)
        stack.callback(server.stop)
        node = {"_target_": "so101rl.tracking.mlflow.MlflowTracker", "uri": server.uri}
        chosen = OmegaConf.create({"trackers": {"mlflow": {**node, "experiment": "x"}}})
        run = create(tmp_path / "run")
        with make_mirror(chosen).follow(run), run.lifecycle():
            for step in range(LINES):
                if step == LINES // 2:
                    wait(lambda: server.found(run), "the run did not reach the server")
                    server.stop()
                run.log(step, {"a": float(step), "b": -float(step)})
        assert run.info["status"] == "finished"
        assert "job=sync" in capfd.readouterr().err + caplog.text
        assert "mlflow failed" in deliver(run, chosen.trackers)
        server.start()
        assert deliver(run, chosen.trackers) == "mlflow has received it"
        (mirrored,) = server.found(run)
        assert mirrored.info.status == "FINISHED"
        client, number = MlflowClient(server.uri), mirrored.info.run_id
        for name, sign in (("a", 1), ("b", -1)):
            history = client.get_metric_history(number, name)
            got = sorted((metric.step, metric.value) for metric in history)
            assert got == [(step, sign * step) for step in range(LINES)]
        assert deliver(run, chosen.trackers) == "mlflow already has it"

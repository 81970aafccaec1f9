"""Run and sweep directories without a training, and a tracker that records its calls.

Imports nothing heavy: every process of a tracker in the tests imports this file.
"""

import threading
import time

from so101rl.files import to_json
from so101rl.runs.episodes_csv import AFTER, BEFORE
from so101rl.runs.run_dir import RunDir
from so101rl.runs.sweep_dir import SweepDir
from so101rl.statistics import wilson
from so101rl.tracking import Tracker

# Of `paper_push`.
COLUMNS = (*BEFORE, "final_distance_m", "final_yaw_error_rad", *AFTER)
CONFIG = {"seed": 3, "env": {"dt": 0.5}, "twice": "${env.dt}"}
GROUPS = {"env": "paper_push", "base_policy": "jacobian", "algo": "ppo"}
SWEEP = {"name": "tiny", "groups": GROUPS, "group": "arm"}
WHAT = {"search residual.alpha": "0.2 to 1", "seeds": [7, 8]}


def create(path, **changes):
    values = {"cfg": CONFIG, "command": "main.py seed=3", "groups": GROUPS}
    return RunDir.create(path, **{**values, **changes})


def episode(**changes):
    return {**dict.fromkeys(COLUMNS, 0), **changes}


def scores(solved, n=100, **failures):
    interval = list(wilson(solved, n))
    found = {"success_rate": solved / n, "wilson_95": interval, "n_episodes": n}
    return found | {"failures": failures}


def defined(path, what=WHAT):
    """A sweep whose folder says what it is, and which has not begun."""
    path.mkdir(parents=True, exist_ok=True)
    first = {"command": "main.py -m sweep=tiny", "git": None}
    first["started"] = "2026-11-21T12:00:00.000+00:00"
    (path / "sweep.json").write_text(to_json({**first, "what": what}))
    return SweepDir.open(path)


def begun(path, what=WHAT):
    sweep = defined(path, what)
    sweep.begin(**SWEEP)
    return sweep


class Recorder(Tracker):
    """Writes its calls to a file; fails or hangs in the calls that are named."""

    def __init__(self, path, fails=None, hangs=None):
        self.path, self.fails, self.hangs = path, fails, hangs

    @property
    def calls(self):
        return self.path.read_text().splitlines() if self.path.exists() else []

    def wait_for(self, call):
        end = time.monotonic() + 60
        while call not in self.calls:
            assert time.monotonic() < end, f"no {call} in {self.calls}"
            time.sleep(0.01)

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
        self._call(f"finish {type(run).open(run.path).info['status']}")

"""Sweeps of `fake_main.py`: in this process, or as a process that can be shot."""

import os
import subprocess
import sys
import time
from pathlib import Path

import fake_main
import pytest
from conftest import CONF, Answer

from so101rl import cli
from so101rl.runs.run_dir import RunDir

FAST = ["tracking=none", "total_timesteps=100", "evaluation.every=10"]


class Lab:
    """Runs sweeps in the working directory `home`, each into its `folder`."""

    def __init__(self, home, monkeypatch, capsys):
        self.home, self.folder = home, home / "sweep"
        self._monkeypatch, self._capsys = monkeypatch, capsys
        monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
        monkeypatch.chdir(home)

    def _words(self, *typed, conf=CONF):
        name = str(self.folder).replace("\\", "\\\\").replace("'", "\\'")
        return ["-cp", str(conf), "-m", *FAST, f"hydra.sweep.dir='{name}'", *typed]

    def run(self, *typed, conf=CONF):
        """Run a sweep; returns what it left behind."""
        argv = ["fake_main.py", *self._words(*typed, conf=conf)]
        self._monkeypatch.setattr(sys, "argv", argv)
        try:
            code = cli.main(fake_main.main)
        except SystemExit as stop:
            code = stop.code
        return Answer(code, *self._capsys.readouterr(), [])

    def start(self, *typed):
        """Start a sweep as a process; its output goes to `said`."""
        command = [sys.executable, fake_main.__file__, *self._words(*typed)]
        with (self.home / "said").open("ab") as said:
            options = {"cwd": self.home, "start_new_session": True}
            return subprocess.Popen(command, stdout=said, stderr=said, **options)

    def run_of(self, name):
        return RunDir.open(self.folder / name)

    def runs(self):
        """Folders of all runs, by name."""
        # os.walk passes over a folder that is renamed while it looks.
        return sorted(
            str(Path(path).relative_to(self.folder))
            for path, _, files in os.walk(self.folder)
            if "run.json" in files
        )


@pytest.fixture
def lab(tmp_path, monkeypatch, capsys):
    return Lab(tmp_path, monkeypatch, capsys)


def wait_until(fact):
    end = time.monotonic() + 60
    while not fact():
        assert time.monotonic() < end, "it never happened"
        time.sleep(0.05)


def children(pid):
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(number) for number in text.split()]


def is_alive(pid):
    try:
        return ") Z " not in Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False

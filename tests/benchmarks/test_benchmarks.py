"""Both sides of a comparison do the same work; the programs run. Never: how fast."""

import json
import math
import subprocess
import sys
from importlib import import_module

import pytest
from conftest import ROOT

from benchmarks import algorithms, memory, peer, run
from benchmarks.learners import SAME
from benchmarks.trajectories import largest_difference

MIB = 2**20
ALL = ["stepping", "rival", "ppo", "sac", "overhead", "saving"]
RESULTS = ROOT / "benchmarks" / "results"
TABLES = {path.stem for path in RESULTS.glob("*.md")} - {"race", "table"}


@pytest.mark.parametrize("randomization", ["none", "hard"])
def test_the_rival_goes_through_the_same_states(randomization):
    found = largest_difference(randomization, steps=150)
    assert found["steps"] == 150 and found["done"]
    assert max(found["qpos"], found["reward"]) < SAME
    assert found["observation"] < 1e-6  # float32


@pytest.mark.skipif(not memory.available(), reason="reads Linux's /proc")
def test_memory_of_child_processes_is_counted():
    others = memory.descendants_pss()
    # A grandchild holds the memory, like a worker of a forking server.
    holds = "b = bytearray(b'1') * 2**26; print('ready', flush=True); input()"
    code = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {holds!r}])"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as child:
        assert child.stdout.readline() == b"ready\n"
        found = memory.descendants_pss() - others
        child.communicate(b"\n")
    assert 60 * MIB < found < 120 * MIB


def test_a_missing_peer_is_named(monkeypatch, tmp_path, capsys):
    monkeypatch.delenv(peer.VARIABLE, raising=False)
    monkeypatch.setattr(peer, "DEFAULT_PYTHON", tmp_path / "python")
    run.main(["--quick", "--only", "peer", "--out", str(tmp_path)])
    assert "skipped: needs so101-nexus" in capsys.readouterr().out


@pytest.mark.parametrize(
    "names", [ALL[:1], pytest.param(ALL, marks=pytest.mark.slow)], ids=["one", "all"]
)
def test_the_measurements_run(names, tmp_path):
    run.main(["--quick", "--out", str(tmp_path), "--only", *names])
    for name in names:
        rows = json.loads((tmp_path / f"{name}.json").read_text())["rows"]
        assert rows and all(math.isfinite(row["median"]) for row in rows)
    assert "| environment / bare physics" in (tmp_path / "table.md").read_text()


@pytest.mark.parametrize("name", sorted(TABLES))
def test_a_recorded_table_shows_the_recorded_numbers(name):
    content = json.loads((RESULTS / f"{name}.json").read_text())
    table = import_module(f"benchmarks.{name}").table(content)
    assert table == (RESULTS / f"{name}.md").read_text()


def test_a_recording_continues_with_the_same_settings_alone(monkeypatch, tmp_path):
    def train(algorithm, seed, settings):
        trained.append(seed)
        if seed == 9:
            raise KeyboardInterrupt
        found = {"algorithm": algorithm, "seed": seed, "base": 0.7, "residual": 0.8}
        found |= {"wall_clock_s": 60.0, "env_steps_per_s": 1000.0, "dirty": False}
        return found | {"commit": "01234567", "learner": [algorithm]}

    def record(*seeds):
        options = ["--quick", "--jobs", "1", "--out", str(tmp_path), "--only", "ppo"]
        algorithms.main([*options, "--seeds", *seeds])

    trained = []
    monkeypatch.setattr(algorithms, "trained", train)
    monkeypatch.setattr(algorithms, "today", lambda name, _: [name])
    with pytest.raises(KeyboardInterrupt):
        record("0", "9", "1")
    trained.clear()
    record("0", "1", "2")
    assert trained == [1, 2]
    monkeypatch.setitem(algorithms.SHORT, "total_timesteps", 512)
    with pytest.raises(SystemExit, match="other settings"):
        record("0")

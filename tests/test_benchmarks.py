"""The measurements run, and what they compare is the same; never how fast it is."""

import json
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from benchmarks.learners import SAME
from benchmarks.trajectories import largest_difference

NAMES = ("stepping", "rival", "ppo", "sac")


@pytest.mark.parametrize("randomization", ["none", "default"])
def test_the_rival_goes_through_the_same_states(randomization):
    found = largest_difference(randomization, steps=150)
    assert found["steps"] == 150
    assert found["done"]
    assert found["qpos"] < SAME
    assert found["reward"] < SAME
    assert found["observation"] < 1e-6  # float32


def test_the_measurements_run(tmp_path):
    script = ROOT / "benchmarks" / "run.py"
    done = subprocess.run(
        [sys.executable, script, "--quick", "--out", tmp_path, "--only", *NAMES],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in NAMES:
        content = json.loads((tmp_path / f"{name}.json").read_text())
        assert content["machine"]["versions"]["mujoco"]
        assert all(row["median"] > 0 for row in content["rows"])
    assert "| environment / bare physics" in (tmp_path / "table.md").read_text()
    assert (tmp_path / "speed.png").stat().st_size > 10_000

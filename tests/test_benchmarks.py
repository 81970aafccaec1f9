"""The measurements run, and what they compare is the same; never how fast it is."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks.learners import SAME, asynchronous_rivals, rivals
from benchmarks.measure import Effort, Residuals
from benchmarks.trajectories import largest_difference
from so101rl.composition import compose

NAMES = ("stepping", "rival", "ppo", "sac")


@pytest.mark.parametrize("randomization", ["none", "default"])
def test_the_rival_goes_through_the_same_states(randomization):
    found = largest_difference(randomization, steps=150)
    assert found["steps"] == 150
    assert found["done"]
    assert found["qpos"] < SAME
    assert found["reward"] < SAME
    assert found["observation"] < 1e-6  # float32


def test_gymnasiums_workers_do_what_sb3s_do():
    # Episodes of 10 steps: autoresets must fall into the same step on both sides.
    cfg = compose(["tracking=none", "env.max_episode_steps=10"])
    effort = Effort(quick=True)
    loop, processes = rivals(cfg, DummyVecEnv, effort), asynchronous_rivals(cfg, effort)
    loop.seed(0)
    np.testing.assert_array_equal(loop.reset(), processes.reset(seed=0)[0])
    residuals, ends = Residuals(loop.num_envs, 0.5), 0
    for _ in range(25):
        action = residuals()
        obs, reward, done, _ = loop.step(action)
        theirs, their_reward, terminated, truncated, _ = processes.step(action)
        np.testing.assert_array_equal(obs, theirs)
        np.testing.assert_allclose(reward, their_reward, rtol=1e-6)  # float32 in SB3
        np.testing.assert_array_equal(done, terminated | truncated)
        ends += done.sum()
    loop.close()
    processes.close()
    assert ends == 2 * loop.num_envs


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

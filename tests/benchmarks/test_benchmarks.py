"""The measurements run, and what they compare is the same; never how fast it is."""

import json
import math
import mmap
import os
import subprocess
import sys

import numpy as np
import pytest
from conftest import ROOT
from stable_baselines3.common.vec_env import DummyVecEnv

from benchmarks import algorithms, memory, peer, run, warm_start
from benchmarks.learners import SAME, asynchronous_rivals, rivals
from benchmarks.measure import Effort, Residuals
from benchmarks.trajectories import largest_difference
from so101rl.config.compose import compose

STEPPING = ["stepping"]
ALL = [*STEPPING, "rival", "ppo", "sac", "overhead", "saving"]
ALL += ["memory"] if memory.available() else []
MIB = 2**20


@pytest.mark.parametrize("randomization", ["none", "default", "hard"])
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


@pytest.mark.skipif(not memory.available(), reason="reads Linux's /proc")
def test_memory_of_this_and_of_other_processes_is_counted():
    before, others = memory.resident(), memory.descendants_pss()
    kept = np.frombuffer(mmap.mmap(-1, 64 * MIB), np.uint8)  # never a reused block
    kept[:] = 1
    assert memory.resident() - before > 60 * MIB
    # The one that holds the memory is a grandchild, like a worker of a forking server.
    holds = "b = bytearray(b'1') * 2**26; print('ready', flush=True); input()"
    starts = (
        f"import subprocess, sys; subprocess.run([sys.executable, '-c', {holds!r}])"
    )
    command = [sys.executable, "-c", starts]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout.readline() == "ready\n"
        found = memory.descendants_pss() - others
        child.communicate("\n")
    assert 60 * MIB < found < 120 * MIB
    assert len(kept) == 64 * MIB


def test_without_the_peer_its_measurement_says_how_to_get_it(
    monkeypatch, tmp_path, capsys
):
    monkeypatch.delenv(peer.VARIABLE, raising=False)
    monkeypatch.setattr(peer, "USUAL_PLACE", tmp_path / "python")
    run.main(["--quick", "--only", "peer", "--out", str(tmp_path)])
    (line,) = (x for x in capsys.readouterr().out.splitlines() if "skipped" in x)
    assert "make peer" in line
    assert not (tmp_path / "peer.json").exists()


def test_an_interpreter_without_the_peer_is_reported():
    with pytest.raises(peer.PeerError, match="so101-nexus"):
        peer.measure(Effort(quick=True), sys.executable)
    with pytest.raises(peer.PeerError, match="cannot start"):
        peer.measure(Effort(quick=True), "/no/such/python")


def test_the_peer_gets_at_most_half_of_the_free_memory():
    clock = peer.Clock(4, 50, (1, 8, 64))
    assert peer._fitting(clock, model_bytes=1) == (1, 8, 64)
    if memory.available():
        assert peer._fitting(clock, model_bytes=10**15) == (1,)


@pytest.mark.slow
@pytest.mark.skipif(peer.interpreter() is None, reason=peer.HOW)
def test_the_peer_goes_through_the_same_states_on_our_batch():
    result = peer.measure(Effort(quick=True, repeats=2, seconds=0.02))
    assert all(min(row.values) > 0 for row in result.rows if "steps/s" in row.unit)
    apart = result.extra["4 x 5 ms"]["replay_apart"]
    assert all(found["after_1_step"] < peer.SAME for found in apart.values())


@pytest.mark.parametrize(
    "names",
    [STEPPING, pytest.param(ALL, marks=pytest.mark.slow)],
    ids=["stepping", "all"],
)
def test_the_measurements_run(names, tmp_path):
    script = ROOT / "benchmarks" / "run.py"
    done = subprocess.run(
        [sys.executable, script, "--quick", "--out", tmp_path, "--only", *names],
        env=os.environ | {"CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    for name in names:
        content = json.loads((tmp_path / f"{name}.json").read_text())
        assert content["machine"]["versions"]["mujoco"]
        assert content["rows"]  # differences of times may be below 0 on a busy machine
        assert all(math.isfinite(row["median"]) for row in content["rows"])
    assert "| environment / bare physics" in (tmp_path / "table.md").read_text()
    if names == ALL:  # the figure shows all of them
        assert (tmp_path / "speed.png").stat().st_size > 10_000


# ---- the table of algorithms ----


def recorded(algorithm, seed, residual, base=0.7):
    """What `algorithms.trained` would return after nothing."""
    return {
        "algorithm": algorithm,
        "seed": seed,
        "base": base,
        "residual": residual,
        "wall_clock_s": 60.0 * (seed + 1),
        "env_steps_per_s": 1000.0,
        "commit": "0123456789",
        "dirty": False,
        "learner": {"name": algorithm},
    }


@pytest.fixture
def recording(monkeypatch, tmp_path):
    """Record with these words; returns what was trained for it."""
    asked = []

    def trained(algorithm, seed, settings):
        if seed == 9:
            raise KeyboardInterrupt
        asked.append((algorithm, seed))
        return recorded(algorithm, seed, 0.8 + 0.05 * seed)

    def record(*words):
        asked.clear()
        words = ["--quick", "--jobs", "1", "--out", str(tmp_path), *words]
        algorithms.main(words)
        return sorted(asked)

    monkeypatch.setattr(algorithms, "trained", trained)
    monkeypatch.setattr(algorithms, "today", lambda name, _: {"name": name})
    return record


def test_an_interrupted_recording_goes_on(recording, tmp_path):
    with pytest.raises(KeyboardInterrupt):
        recording("--only", "ppo", "trpo", "--seeds", "0", "9", "1")
    runs = json.loads((tmp_path / "algorithms.json").read_text())["runs"]
    assert [(run["algorithm"], run["seed"]) for run in runs] == [
        ("ppo", 0),
        ("trpo", 0),
    ]
    words = ("--only", "ppo", "trpo", "--seeds", "0", "1")
    assert recording(*words) == [("ppo", 1), ("trpo", 1)]
    assert recording(*words) == []


def test_what_has_other_settings_by_now_is_recorded_again(recording, monkeypatch):
    words = ("--only", "ppo", "trpo", "--seeds", "0")
    recording(*words)
    today = {"ppo": {"name": "ppo"}, "trpo": {"name": "trpo", "gamma": 0.9}}
    monkeypatch.setattr(algorithms, "today", lambda name, _: today[name])
    assert recording(*words) == [("trpo", 0)]


def test_two_budgets_do_not_share_a_table(recording, monkeypatch):
    recording("--only", "ppo", "--seeds", "0")
    monkeypatch.setitem(algorithms.SHORT, "total_timesteps", 512)
    with pytest.raises(SystemExit, match="other settings"):
        recording("--only", "ppo", "--seeds", "0")


def test_the_table_of_algorithms_has_the_best_first(recording, tmp_path):
    recording("--only", "ppo", "--seeds", "0", "1", "2")
    path = tmp_path / "algorithms.json"
    result = json.loads(path.read_text())
    result["runs"] += [recorded("sac", seed, 0.95) for seed in range(3)]
    lines = [line for line in algorithms.table(result).splitlines() if "|" in line]
    base, sac, ppo = lines[2:]
    assert base.startswith("| base alone | 70.0 [")
    assert "| sac | 95.0 [" in sac
    assert " W | 95 to 95 | 1.0 to 3.0 | 1,000 | PRELIMINARY, n=3 |" in sac
    # Student's t for 3 seed means of 80, 85 and 90 %: 4.3027 * 5 / sqrt(3) = 12.4
    assert "| ppo | 85.0 [72.6, 97.4] | 80 to 90 |" in ppo


def test_one_base_has_one_success_per_seed(recording, tmp_path):
    recording("--only", "ppo", "--seeds", "0")
    result = json.loads((tmp_path / "algorithms.json").read_text())
    result["runs"].append(recorded("sac", 0, 0.9, base=0.6))
    with pytest.raises(SystemExit, match="do not belong together"):
        algorithms.table(result)


@pytest.mark.slow
def test_an_algorithm_is_trained_and_judged_by_the_program():
    run = algorithms.trained("trpo", 3, algorithms.SHORT)
    assert recorded("trpo", 3, 0).keys() <= run.keys()
    assert run["env_steps"] >= algorithms.SHORT["total_timesteps"]
    assert run["select"][0][0] == 0
    assert run["learner"] == algorithms.today("trpo", algorithms.SHORT)
    assert run["learner"]["_target_"] == "sb3_contrib.TRPO"


def test_the_table_of_warm_starts_has_a_line_per_seed():
    rates = {"base": 0.3, "residual": 0.4}
    rows = [{"seed": n, "zero": rates, "warm": {"residual": 0.7}} for n in (0, 1)]
    result = {"source": rates, "steps": (200, 100), "rows": rows}
    text = warm_start.table({**result, "machine": {"commit": None, "dirty": True}})
    assert "| 1 | 30 | 40 | 70 |" in text
    assert "PRELIMINARY, n=2. Commit unknown + changes." in text

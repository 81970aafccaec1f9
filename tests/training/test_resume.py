"""A run that was interrupted ends as one that was not."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
import torch
from conftest import PPO_KEYS, ROOT, SHORT, config_of, make_env
from interrupting import outcome
from learners import TINY, tiny
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise

from so101rl.build import build_algo, build_env
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.files import read_jsonl
from so101rl.policies import checkpoint
from so101rl.runs.run_dir import RunDir
from so101rl.training import learner_state

POINTS = [5, 13, 22, 30]  # vector steps, of 32, after which a run is shot
# One is enough for those whose way through a checkpoint is another's, too: it falls
# into the second episode of 20 steps, the checkpoint before it into the first.
ONE, TRIED_ONCE = [22], ("tqc", "crossq", "trpo", "recurrent_ppo")


# The others keep what these three keep: on policy, off policy, with a memory.
FAST = ("ppo", "sac", "recurrent_ppo")
ALGOS = [
    *FAST,
    *(pytest.param(a, marks=pytest.mark.slow) for a in TINY if a not in FAST),
]


@pytest.mark.parametrize("algo", ALGOS)
def test_an_interrupted_run_ends_as_an_uninterrupted_one(algo, run_main, shoot):
    code, _, whole = run_main(*tiny(algo), name="whole")
    assert code == 0
    assert b'"train/n_updates"' in (whole / "metrics.jsonl").read_bytes()
    for point in ONE if algo in TRIED_ONCE else POINTS:
        name = f"shot-{point}"
        shoot(point, *tiny(algo), name=name)
        code, said, _ = run_main("job=resume", f"run={name}")
        assert code == 0, said.err
        # Checkpoints are due every 32 env steps; so long is a rollout of PPO's, too.
        went_on = "going on from step-" if point > 9 else "starting again from step 0"
        assert went_on in said.out
        assert outcome(whole.parent / name) == outcome(whole)
        info = RunDir.open(name).info
        assert info["status"] == "finished"
        assert [again["after"] for again in info["resumed"]] == ["killed"]


def test_a_run_can_be_shot_again_and_again(run_main, shoot, monkeypatch):
    _, _, whole = run_main(*PPO_KEYS, name="whole")
    shoot(12, *PPO_KEYS, name="shot")
    for point in (4, 13):
        shoot(point, "job=resume", "run=shot", name="shot")
    assert run_main("job=resume", "run=shot")[0] == 0
    assert outcome(whole.parent / "shot") == outcome(whole)
    steps = [again["step"] for again in RunDir.open("shot").info["resumed"]]
    assert steps == [32, 32, 64]


def test_a_finished_run_is_left_alone(run_main):
    _, _, path = run_main(*PPO_KEYS)
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    code, said, _ = run_main("job=resume", "run=run")
    assert code == 0
    assert "finished: nothing to do" in said.out
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before


def test_the_beginning_is_gone_back_to_if_nothing_is_whole(run_main, shoot):
    _, _, whole = run_main(*PPO_KEYS, name="whole")
    shoot(30, *PPO_KEYS, name="shot")
    folder = whole.parent / "shot" / "checkpoints"
    for path in checkpoint.steps(folder):
        shorten(path / "training.pt")
    # What is damaged must not count as one of those to keep.
    shoot(14, "job=resume", "run=shot", name="shot")
    assert [path.name for path in checkpoint.steps(folder)] == ["step-32"]
    code, said, _ = run_main("job=resume", "run=shot")
    assert code == 0
    assert "going on from step-32" in said.out
    assert outcome(whole.parent / "shot") == outcome(whole)


def test_another_processor_is_approximate(run_main, shoot):
    shoot(12, *PPO_KEYS, name="run")
    path = RunDir.open("run").path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "cpu": "Z80"}))
    code, said, _ = run_main("job=resume", "run=run")
    assert code == 0
    assert "resuming is approximate: it began on Z80" in said.out
    assert RunDir.open("run").info["resume"] == "approximate: it began on Z80"


def test_latest_may_be_a_run_without_a_policy(run_main, shoot):
    run_main(*PPO_KEYS, name="outputs/old")
    shoot(1, *PPO_KEYS, name="outputs/new")
    new = RunDir.open("outputs/new")
    shutil.rmtree(new.checkpoints)
    code, said, _ = run_main("job=resume", "run=latest")
    assert code == 0
    assert str(new.path) in said.out
    assert "starting again from step 0" in said.out


def test_a_repeated_line_keeps_its_clock(run_main, shoot):
    """Or a tracker that has the line already would get it twice."""
    shoot(24, *PPO_KEYS, name="run")
    path = RunDir.open("run").path
    before = read_jsonl(path / "timings.jsonl")[0]
    assert run_main("job=resume", "run=run")[0] == 0
    after = read_jsonl(path / "timings.jsonl")[0]
    assert after[: len(before)] == before
    assert len(after) > len(before)


# ---- damage ----


def shorten(path):
    path.write_bytes(path.read_bytes()[:-10])


def flip(path):
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["training.pt", "checkpoint.json"])
@pytest.mark.parametrize("damage", [shorten, flip, os.unlink])
def test_a_damaged_checkpoint_is_passed_over(name, damage, run_main, shoot):
    _, _, whole = run_main(*PPO_KEYS, name="whole")
    shoot(28, *PPO_KEYS, name="shot")
    newest, before = checkpoint.steps(whole.parent / "shot" / "checkpoints")
    damage(newest / name)
    code, said, _ = run_main("job=resume", "run=shot")
    assert code == 0
    assert f"passed over: checkpoint {newest}" in said.out
    assert f"going on from {before.name}" in said.out
    assert outcome(whole.parent / "shot") == outcome(whole)


def test_a_save_that_was_shot_between_its_two_renames_is_recovered(tmp_path):
    cfg = config_of(*PPO_KEYS, "n_threads=1")
    model = build_algo(cfg, SB3VecEnv(build_env(cfg, 2), [0, 1]))
    best = tmp_path / "best"
    checkpoint.save(model, best, step=1)
    os.replace(best, tmp_path / ".best.old")
    (tmp_path / ".best.123.tmp").mkdir()
    assert checkpoint.load(model, best) == 1
    checkpoint.repair_interrupted_saves(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    assert checkpoint.load(model, best) == 1


# ---- refusals ----


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["n_envs=8"], "n_envs: 4 -> 8"),
        (["algo.gamma=0.9"], "algo.gamma: 0.98 -> 0.9"),
        (["torch_threads=2"], "torch_threads: 1 -> 2"),
        (["total_timesteps=256"], "total_timesteps: 128 -> 256"),
        (["algo=sac"], "algo._target_: stable_baselines3.PPO -> so101rl"),
    ],
)
def test_a_changed_config_is_shown_and_refused(typed, message, run_main, shoot):
    shoot(12, *PPO_KEYS, name="run")
    code, said, path = run_main("job=resume", "run=run", *typed)
    assert code == 2
    assert message in said.err
    assert RunDir.open(path).info["status"] == "killed"


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("code_sha256", "0", "code: it was that of commit"),
        ("versions", {"torch": "1.0"}, "torch: 1.0 -> "),
    ],
)
def test_changed_code_is_shown_and_refused(key, value, message, run_main, shoot):
    shoot(12, *PPO_KEYS, name="run")
    path = RunDir.open("run").path / "run.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), key: value}))
    code, said, _ = run_main("job=resume", "run=run")
    assert code == 2
    assert message in said.err


def test_what_changes_no_byte_may_change(run_main, shoot):
    _, _, whole = run_main(*PPO_KEYS, name="whole")
    shoot(12, *PPO_KEYS, name="shot")
    assert run_main("job=resume", "run=shot", "n_threads=3")[0] == 0
    assert outcome(whole.parent / "shot") == outcome(whole)


def test_resume_needs_a_run(run_main):
    code, said, _ = run_main("job=resume")
    assert code == 2
    assert "run=RUN_DIR" in said.err


def test_a_run_that_is_running_is_left_alone(run_main, shoot):
    shoot(12, *PPO_KEYS, name="run")
    run = RunDir.open("run")
    run._take_lock()
    saving = run.checkpoints / ".step-64.1.tmp"
    saving.mkdir()
    code, said, _ = run_main("job=resume", "run=run")
    assert code == 2
    assert "a process is running this run" in said.err
    assert RunDir.open("run").info["status"] == "running"
    assert saving.exists()


@pytest.mark.parametrize(
    ("algo", "typed", "reason"),
    [
        *((algo, [], None) for algo in TINY),
        ("ppo", ["+algo.use_sde=true"], "state-dependent exploration"),
    ],
)
def test_where_it_cannot_be_exact_is_known(algo, typed, reason):
    cfg = config_of(*tiny(algo), *typed, "n_threads=1")
    model = build_algo(cfg, SB3VecEnv(build_env(cfg, 2), [0, 1]))
    found = learner_state.inexact_reason(model)
    assert (found or "").startswith(reason or "")
    assert (found is None) == (reason is None)


def test_noise_with_a_memory_is_not_exact():
    cfg = config_of("algo=td3", "n_threads=1")
    model = build_algo(cfg, SB3VecEnv(build_env(cfg, 2), [0, 1]))
    model.action_noise = OrnsteinUhlenbeckActionNoise(np.zeros(6), np.ones(6))
    assert "state" in learner_state.inexact_reason(model)


# ---- the environment alone ----


@pytest.mark.parametrize("base", ["zero", "jacobian", "hybrid"])
@pytest.mark.parametrize("randomization", ["none", "default", "hard"])
def test_an_environment_goes_on_to_the_bit(base, randomization, tmp_path):
    typed = [f"base_policy={base}", f"randomization={randomization}"]
    typed.append("env.max_episode_steps=30")
    first, second = make_env(*typed, n=4), make_env(*typed, n=4, threads=2)
    first.reset(seed=3)
    actions = np.random.default_rng(0).normal(size=(90, 4, 6))
    for action in actions[:40]:
        first.step(action)
    path = tmp_path / "state.pt"
    torch.save(checkpoint._tensors(first.state_dict()), path)
    second.load_state_dict(checkpoint.arrays(torch.load(path, weights_only=True)))
    for action in actions[40:]:
        for ours, theirs in zip(first.step(action), second.step(action), strict=True):
            if isinstance(ours, np.ndarray):
                np.testing.assert_array_equal(ours, theirs)
    np.testing.assert_array_equal(
        first.env.hardware._batch.state, second.env.hardware._batch.state
    )


# ---- signals ----


def start(tmp_path, *typed):
    """A training in a process of its own, past its first line of metrics."""
    command = [sys.executable, str(ROOT / "main.py"), *SHORT, *PPO_KEYS]
    command += ["total_timesteps=1000000", f"hydra.run.dir={tmp_path}/run", *typed]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    deadline = time.monotonic() + 120
    while not read_jsonl(tmp_path / "run" / "metrics.jsonl")[0][2:]:
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return process


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)]
)
def test_a_signal_leaves_a_checkpoint_of_that_moment(number, code, tmp_path):
    process = start(tmp_path, "checkpoint_every=10000000")
    process.send_signal(number)
    assert process.wait(10) == code
    run = RunDir.open(tmp_path / "run")
    assert run.info["status"] == "killed"
    (path,) = checkpoint.steps(run.checkpoints)
    assert checkpoint.load_training(path)[0] >= run.metrics()[-1]["step"]


def test_a_shot_run_is_settled_by_the_next_who_asks(tmp_path):
    process = start(tmp_path)
    run = RunDir.open(tmp_path / "run")
    assert not run.update_status()
    process.kill()
    process.wait()
    assert RunDir.open(tmp_path / "run").info["status"] == "running"
    assert run.update_status()
    info = RunDir.open(tmp_path / "run").info
    assert info["status"] == "killed"
    assert info["error"]["kind"] == "infrastructure"
    assert not run.update_status()

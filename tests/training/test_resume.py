"""A run that was interrupted ends as one that was not."""

import os
import shutil

import numpy as np
import pytest
from conftest import PPO_KEYS, config_of
from finished import edit_json, finished_run, interrupted, outcome
from learners import TINY, tiny
from stable_baselines3.common.noise import OrnsteinUhlenbeckActionNoise
from untrained import learner

from so101rl.files import read_jsonl
from so101rl.jobs.resume import load_newest_checkpoint
from so101rl.policies import checkpoint
from so101rl.runs.run_dir import RunDir
from so101rl.training import learner_state

# The others keep what these three keep: on policy, off policy, recurrent.
FAST = {"ppo": (32, 64, 96), "sac": (32, 96), "recurrent_ppo": (64,)}
SLOW = [pytest.param(algo, marks=pytest.mark.slow) for algo in TINY if algo not in FAST]


@pytest.mark.parametrize("algo", [*FAST, *SLOW])
def test_an_interrupted_run_ends_as_an_uninterrupted_one(algo, run_main, tmp_path):
    whole = finished_run(algo)
    assert b'"train/n_updates"' in (whole / "metrics.jsonl").read_bytes()
    for step in FAST.get(algo, (64,)):
        path = interrupted(whole, tmp_path / str(step), step)
        code, said, _ = run_main("job=resume", f"run={path}", "n_threads=2")
        assert code == 0, said.err
        assert f"going on from step-{step}" in said.out
        assert outcome(path) == outcome(whole)
        info = RunDir.open(path).info
        assert (info["status"], info["resume"]) == ("finished", "exact")
        assert [again["after"] for again in info["resumed"]] == ["killed"]


def test_a_run_can_be_killed_again_and_again(run_main, shoot, tmp_path):
    shoot(12, *tiny("ppo"), "keep_checkpoints=9", name="shot")
    before = read_jsonl(tmp_path / "shot" / "timings.jsonl")[0]
    for point in (4, 13):
        shoot(point, "job=resume", "run=shot", name="shot")
    assert run_main("job=resume", "run=shot")[0] == 0
    assert outcome(tmp_path / "shot") == outcome(finished_run())
    steps = [again["step"] for again in RunDir.open("shot").info["resumed"]]
    assert steps == [32, 32, 64]
    after = read_jsonl(tmp_path / "shot" / "timings.jsonl")[0]
    assert after[: len(before)] == before  # or a tracker would get lines twice
    assert len(after) > len(before)


def test_without_a_whole_checkpoint_the_latest_run_starts_again(run_main, tmp_path):
    """On another processor, which is said."""
    (tmp_path / "outputs").mkdir()
    path = interrupted(finished_run(), tmp_path / "outputs" / "run", 32)
    shorten(path / "checkpoints" / "step-32" / "training.pt")
    shutil.rmtree(path / "checkpoints" / "best", ignore_errors=True)
    edit_json(path / "run.json", cpu="Z80")
    code, said, _ = run_main("job=resume", "run=latest")
    assert code == 0
    assert f"passed over: checkpoint {path}/checkpoints/step-32" in said.out
    assert "starting again from step 0" in said.out
    assert "resuming is approximate: it began on Z80" in said.out
    assert outcome(path) == outcome(finished_run())
    assert RunDir.open(path).info["resume"] == "approximate: it began on Z80"


def shorten(path):
    path.write_bytes(path.read_bytes()[:-10])


@pytest.mark.parametrize("name", ["training.pt", "checkpoint.json"])
@pytest.mark.parametrize("damage", [shorten, os.unlink])
def test_a_damaged_checkpoint_is_passed_over(name, damage, tmp_path, capsys):
    source = finished_run() / "checkpoints"
    for saved in ("step-32", "step-64"):
        shutil.copytree(source / saved, tmp_path / saved)
    damage(tmp_path / "step-64" / name)
    step, state = load_newest_checkpoint(tmp_path)
    assert (step, state["learner"]["counters"]["num_timesteps"]) == (32, 32)
    assert f"passed over: checkpoint {tmp_path / 'step-64'}" in capsys.readouterr().out
    assert [path.name for path in tmp_path.iterdir()] == ["step-32"]  # counts as kept


def test_a_save_that_was_killed_between_its_two_renames_is_repaired(tmp_path):
    model = learner(config_of(*PPO_KEYS, "n_threads=1"))
    best = tmp_path / "best"
    checkpoint.save(model, best, step=1)
    os.replace(best, tmp_path / ".best.old")
    (tmp_path / ".best.123.tmp").mkdir()
    assert checkpoint.load(model, best) == 1
    checkpoint.repair_interrupted_saves(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["best"]
    assert checkpoint.load(model, best) == 1


CHANGES = [
    (["n_envs=8"], {}, "n_envs: 4 -> 8"),
    ([], {"code_sha256": "0"}, "code: it was that of commit"),
    ([], {"versions": {"torch": "1.0"}}, "torch: 1.0 -> "),
]


@pytest.mark.parametrize(("typed", "info", "message"), CHANGES)
def test_changed_config_and_code_are_refused(typed, info, message, run_main, tmp_path):
    path = interrupted(finished_run(), tmp_path / "run", 32)
    edit_json(path / "run.json", **info)
    code, said, _ = run_main("job=resume", f"run={path}", *typed)
    assert code == 2
    assert message in said.err
    info = RunDir.open(path).info
    assert (info["status"], info["error"]["kind"]) == ("killed", "infrastructure")


def test_a_finished_or_running_run_is_not_touched(run_main, tmp_path):
    path = finished_run()
    before = {p: p.stat().st_mtime_ns for p in path.rglob("*")}
    code, said, _ = run_main("job=resume", f"run={path}")
    assert (code, "finished: nothing to do" in said.out) == (0, True)
    assert {p: p.stat().st_mtime_ns for p in path.rglob("*")} == before
    run = RunDir.open(interrupted(path, tmp_path / "run", 32))
    run._take_lock()
    saving = run.checkpoints / ".step-64.1.tmp"
    saving.mkdir()
    code, said, _ = run_main("job=resume", f"run={run.path}")
    assert (code, "a process is running this run" in said.err) == (2, True)
    assert RunDir.open(run.path).info["status"] == "running"
    assert saving.exists()


def test_learners_that_cannot_resume_exactly_are_known():
    cfg = config_of(*tiny("ppo"), "+algo.use_sde=true", "n_threads=1")
    assert learner_state.inexact_reason(learner(cfg)).startswith("state-dependent")
    model = learner(config_of(*tiny("td3"), "n_threads=1"))
    assert learner_state.inexact_reason(model) is None
    model.action_noise = OrnsteinUhlenbeckActionNoise(np.zeros(6), np.ones(6))
    assert "has a state" in learner_state.inexact_reason(model)

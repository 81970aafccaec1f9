"""Training runs as small as they can be, through the command line of `main.py`."""

import json
import shutil
import signal
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from conftest import PPO_KEYS, make_env
from finished import finished_run
from learners import TINY
from stable_baselines3 import PPO

from so101rl.evaluation import evaluate
from so101rl.evaluation.rollout import run_episodes
from so101rl.policies import checkpoint
from so101rl.policies.policy import NoResidual
from so101rl.runs.run_dir import RunDir
from so101rl.seeds import episode_seeds
from so101rl.training import callbacks


@pytest.fixture(scope="module")
def trained():
    return RunDir.open(finished_run())


@pytest.fixture
def copied(trained, tmp_path):
    return RunDir.open(shutil.copytree(trained.path, tmp_path / "copied"))


def test_artefacts_and_metrics_are_there(trained):
    files = {path.name for path in trained.path.iterdir() if path.is_file()}
    assert files >= {
        *("run.json", "provenance.json", "metrics.jsonl", "timings.jsonl"),
        *("evaluation.json", "episodes.csv", "best_model.zip", "final_model.zip"),
    }
    assert not [*trained.path.rglob("*.tmp"), *trained.path.glob("interrupted*")]
    assert (trained.info["status"], trained.info["error"]) == ("finished", None)
    steps = {}
    for line in trained.metrics():
        for name in line:
            steps.setdefault(name, []).append(line["step"])
    names = "success_rate ep_rew_mean ep_len_mean alpha clipped distance_m reach loss"
    assert {*names.split()} <= {name.rpartition("/")[2] for name in steps}
    assert not [name for name in steps if name.startswith("time/")]
    assert steps["residual/l2"] == [32, 64, 96, 128]
    assert steps["eval/success_rate"] == [0, 64, 128]
    assert steps["step"] == sorted(steps["step"])


def test_base_and_residual_are_evaluated_on_the_same_episodes(trained):
    evaluation, rows = trained.evaluation(), trained.episodes()
    assert evaluation["env"] == trained.info["groups"]["env"] == "paper_push"
    seeds = episode_seeds(0, "report", 3)
    role = {"role": "report", "root": 0, "first": seeds[0], "n": 3}
    for score in evaluation["policies"].values():
        assert (score["n_episodes"], score["seeds"]) == (3, role)
        failed = 3 - round(3 * score["success_rate"])
        assert sum(score["failures"].values()) == failed
    assert evaluation["policies"]["base"]["mean_residual_l2"] == 0
    assert [row["policy"] for row in rows] == ["base"] * 3 + ["residual"] * 3
    assert [row["seed"] for row in rows] == seeds * 2
    assert all(row["length"] <= 20 for row in rows)


@pytest.mark.parametrize("algo", TINY)
def test_a_run_can_be_evaluated_again_with_the_same_result(algo, run_main, tmp_path):
    run = RunDir.open(shutil.copytree(finished_run(algo), tmp_path / "copied"))
    assert max(line.get("train/n_updates", 0) for line in run.metrics())
    assert any(row["mean_residual_l2"] for row in run.episodes())
    assert run_main("job=evaluate", f"run={run.path}")[0] == 0
    assert run.evaluations()[0].episodes() == run.episodes()


def test_an_exported_zip_can_be_evaluated_if_it_is_trusted(copied, run_main):
    typed = ["job=evaluate", f"run={copied.path}", "evaluation.n_episodes=1"]
    typed.append(f"checkpoint={copied.path / 'best_model.zip'}")
    code, said, _ = run_main(*typed)
    assert code == 2
    assert "trust=true" in said.err
    assert run_main(*typed, "trust=true")[0] == 0
    assert len(copied.evaluations()[-1].episodes()) == 2
    assert copied.evaluation()["n_episodes"] == 3  # the run's own stays


@pytest.mark.parametrize(("typed", "same"), [("n_threads=3", True), ("seed=1", False)])
def test_metrics_are_a_function_of_config_and_seed(trained, run_main, typed, same):
    code, _, path = run_main(*PPO_KEYS, typed)
    assert code == 0
    kept = {folder.name for folder in (path / "checkpoints").iterdir()}
    assert kept == {"best", "final", "step-64", "step-96"}  # keep_checkpoints=2
    text = (path / "metrics.jsonl").read_bytes()
    assert (text == (trained.path / "metrics.jsonl").read_bytes()) == same


def test_a_schedule_of_alpha_is_followed_by_training_and_evaluation(
    run_main, monkeypatch
):
    alphas = []

    def watched(env, policy, seeds, referee):
        alphas.append(env.alpha[0])
        return run_episodes(env, policy, seeds)

    monkeypatch.setattr(evaluate, "run_episodes", watched)
    alpha = "residual.alpha={start: 0.5, end: 1.0, steps: 64}"
    code, _, path = run_main(*PPO_KEYS, alpha, "base_policy=zero")
    assert code == 0
    lines = RunDir.open(path).metrics()
    logged = [line["residual/alpha"] for line in lines if "residual/alpha" in line]
    assert logged == [0.75, 1.0, 1.0, 1.0]
    meta = json.loads((path / "checkpoints/best/checkpoint.json").read_text())
    assert run_main("job=evaluate", f"run={path}")[0] == 0
    assert alphas == [{0: 0.5, 64: 1.0, 128: 1.0}[meta["step"]]] * 4


def end_at(step, end, callback, monkeypatch):
    """Let a callback call `end` once `step` is reached."""

    def ending(self, fire=callback.fire):
        fire(self)
        if self.num_timesteps >= step:
            end()

    monkeypatch.setattr(callback, "fire", ending)


@pytest.mark.parametrize("end", [signal.SIGTERM, None])
def test_whatever_ends_a_training_its_model_is_saved(end, run_main, monkeypatch):
    stop = partial(signal.raise_signal, end) if end else lambda: 1 / 0
    end_at(64, stop, callbacks.LogCallback, monkeypatch)
    if end:
        code, said, _ = run_main(*PPO_KEYS, "checkpoint_every=1000")
        assert (code, "Traceback" in said.err) == (143, False)
        (saved,) = checkpoint.steps(RunDir.open("run").checkpoints)
        assert checkpoint.load_training(saved)[0] == 64
    else:
        with pytest.raises(ZeroDivisionError):
            run_main(*PPO_KEYS)
    run = RunDir.open("run")
    wanted = ("killed", "stopped") if end else ("failed", "bug")
    assert (run.info["status"], run.info["error"]["kind"]) == wanted
    assert PPO.load(run.path / "interrupted_model.zip").num_timesteps == 64
    assert not (run.path / "final_model.zip").exists()


def test_the_end_is_logged_and_saved_before_it_is_scored(run_main, monkeypatch):
    interrupt = partial(signal.raise_signal, signal.SIGINT)
    end_at(128, interrupt, callbacks.EvalCallback, monkeypatch)
    code, _, path = run_main(*PPO_KEYS, "evaluation.every=1000", "log_every=100")
    assert code == 130
    run = RunDir.open(path)
    assert run.info["status"] == "killed"
    assert [ln["step"] for ln in run.metrics() if "residual/l2" in ln] == [100, 128]
    assert PPO.load(path / "final_model.zip").num_timesteps == 128


@pytest.mark.parametrize(
    ("shares", "ends"), [((0.2, 0.5, 0.9), 64), ((0.5, 0.2, 0.2), 4)]
)
def test_training_ends_once_enough_episodes_are_solved(
    run_main, monkeypatch, shares, ends
):
    def scored(env, policy, seeds):
        episodes = run_episodes(env, policy, seeds) * 5
        solved = round(10 * next(left))
        return [replace(e, is_success=i < solved) for i, e in enumerate(episodes)]

    left = iter(shares)
    monkeypatch.setattr(callbacks, "run_episodes", scored)
    code, _, path = run_main(*PPO_KEYS, "evaluation.stop_at=0.5")
    assert code == 0
    run = RunDir.open(path)
    assert run.info["status"] == "finished"
    assert run.metrics()[-1]["step"] == ends
    assert PPO.load(path / "final_model.zip").num_timesteps == ends


def test_episodes_do_not_depend_on_how_many_run_at_once():
    seeds, typed = episode_seeds(0, "report", 5), ["env.max_episode_steps=60"]
    for name in ("qpos", "qvel", "object_position", "object_yaw"):  # no noise
        typed += [
            f"randomization.terms.noise_{name}.{end}=0" for end in ("low", "high")
        ]
    one, *others = (
        run_episodes(make_env(*typed, n=n), NoResidual(6), seeds) for n in (1, 2, 7)
    )
    assert [episode.seed for episode in one] == seeds
    for other in others:
        for single, again in zip(one, other, strict=True):
            for name in ("total_reward", "length", "failure", "qpos"):
                np.testing.assert_equal(getattr(again, name), getattr(single, name))


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_a_device_that_is_not_there_is_refused_for_training_alone(copied, run_main):
    code, said, _ = run_main(*PPO_KEYS, "algo.device=cuda", name="none")
    assert code == 2
    assert said.err.startswith("error: algo.device=cuda: expected cpu")
    config = copied.path / ".hydra" / "config.yaml"  # as of a machine that had one
    config.write_text(config.read_text().replace("device: cpu", "device: cuda"))
    code, said, _ = run_main("job=evaluate", f"run={copied.path}")
    assert code == 0, said.err

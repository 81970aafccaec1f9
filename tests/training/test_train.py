"""Training runs as small as they can be, through the command line of `main.py`."""

import csv
import json
import os
import signal
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import CONF, PPO_KEYS, SHORT, make_env
from learners import TINY, tiny
from stable_baselines3 import PPO

from so101rl import cli
from so101rl.build import build_algo, build_env
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.evaluation import evaluate
from so101rl.evaluation.rollout import run_episodes
from so101rl.policies import checkpoint
from so101rl.policies.policy import NoResidual
from so101rl.runs.episodes_csv import COLUMNS
from so101rl.runs.run_dir import RunDir
from so101rl.seeds import episode_seeds
from so101rl.training import callbacks

POLICY_FIELDS = {
    "success_rate",
    "wilson_95",
    "n_episodes",
    "mean_return",
    "mean_final_distance_m",
    "mean_time_to_success_s",
    "mean_residual_l2",
    "failures",
    "seeds",
}


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """One finished run."""
    path = tmp_path_factory.mktemp("trained")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(path)
        patch.setenv("HYDRA_FULL_ERROR", "1")
        patch.setattr(
            sys,
            "argv",
            ["main.py", "-cp", CONF, *SHORT, *PPO_KEYS, "hydra.run.dir=run"],
        )
        assert cli.main() == 0
    return RunDir.open(path / "run")


def rows(path):
    with open(path / "episodes.csv", newline="") as file:
        return list(csv.DictReader(file))


# ---- what a run leaves behind ----


def test_every_artefact_is_there(trained):
    for name in (
        ".hydra/config.yaml",
        "run.json",
        "metrics.jsonl",
        "timings.jsonl",
        "evaluation.json",
        "episodes.csv",
        "best_model.zip",
        "final_model.zip",
        "checkpoints/best/policy.pt",
        "checkpoints/final/checkpoint.json",
    ):
        assert (trained.path / name).is_file(), name
    left = {path.name for path in trained.path.iterdir()}
    assert "interrupted_model.zip" not in left
    assert not [name for name in left if name.endswith(".tmp")]


def test_the_run_says_that_it_finished(trained):
    info = trained.info
    assert (info["status"], info["error"], info["seed"]) == ("finished", None, 0)
    assert info["groups"]["env"] == "paper_push"
    assert info["groups"]["base_policy"] == "jacobian"
    assert info["ended"] >= info["started"]
    assert info["wall_clock_s"] > 0


def test_only_the_last_checkpoints_are_kept(trained):
    steps = {path.name for path in (trained.path / "checkpoints").iterdir()}
    assert steps == {"best", "final", "step-64", "step-96"}


def test_metrics_have_their_names_and_steps(trained):
    lines = trained.metrics()
    names = set().union(*lines)
    assert names >= {
        "rollout/success_rate", "rollout/ep_rew_mean", "rollout/ep_len_mean",
        "eval/success_rate", "eval/mean_reward", "residual/l2", "residual/alpha",
        "residual/clipped", "task/distance_m", "reward/reach", "reward/residual",
        "train/loss", "train/value_loss",
    }  # fmt: skip
    assert not [name for name in names if name.startswith("time/")]
    logged = [line["step"] for line in lines if "residual/l2" in line]
    assert logged == [32, 64, 96, 128]
    judged = [line["step"] for line in lines if "eval/success_rate" in line]
    assert judged == [0, 64, 128]
    assert [line["step"] for line in lines] == sorted(line["step"] for line in lines)


def test_evaluation_has_every_field_for_base_and_residual(trained):
    evaluation = trained.evaluation()
    assert set(evaluation["policies"]) == {"base", "residual"}
    assert evaluation["env"] == "paper_push"
    for policy in evaluation["policies"].values():
        assert set(policy) == POLICY_FIELDS
        assert policy["n_episodes"] == 3
        low, high = policy["wilson_95"]
        assert 0 <= low <= policy["success_rate"] <= high <= 1
        solved = round(3 * policy["success_rate"])
        assert sum(policy["failures"].values()) == 3 - solved
        assert policy["seeds"] == {
            "role": "report",
            "root": 0,
            "first": episode_seeds(0, "report", 1)[0],
            "n": 3,
        }
    assert evaluation["policies"]["base"]["mean_residual_l2"] == 0


def test_base_and_residual_play_the_same_episodes(trained):
    lines = rows(trained.path)
    assert list(lines[0]) == list(COLUMNS)
    assert [line["policy"] for line in lines] == ["base"] * 3 + ["residual"] * 3
    seeds = [int(line["seed"]) for line in lines]
    assert seeds[:3] == seeds[3:] == episode_seeds(0, "report", 3)
    assert all(int(line["length"]) <= 20 for line in lines)


def test_what_is_reloaded_predicts_the_same(trained):
    cfg = trained.config()
    model = build_algo(cfg, SB3VecEnv(build_env(cfg, cfg.n_envs)))
    for ours, zipped in (("best", "best_model"), ("final", "final_model")):
        checkpoint.load(model, trained.path / "checkpoints" / ours)
        other = PPO.load(trained.path / f"{zipped}.zip")
        obs = np.random.default_rng(0).normal(size=(9, *model.observation_space.shape))
        np.testing.assert_array_equal(
            model.predict(obs.astype(np.float32), deterministic=True)[0],
            other.predict(obs.astype(np.float32), deterministic=True)[0],
        )


def test_a_run_can_be_evaluated_again_with_the_same_result(trained, run_main):
    code, _, _ = run_main("job=evaluate", f"run={trained.path}")
    assert code == 0
    again = trained.path / "evaluations" / "1"
    assert rows(again) == rows(trained.path)
    code, _, _ = run_main(
        "job=evaluate", f"run={trained.path}", "evaluation.n_episodes=1"
    )
    assert code == 0
    assert len(rows(trained.path / "evaluations" / "2")) == 2
    assert trained.evaluation()["n_episodes"] == 3  # the run's own stays


def test_an_exported_zip_can_be_evaluated_if_it_is_trusted(trained, run_main):
    zipped = f"checkpoint={trained.path / 'best_model.zip'}"
    code, said, _ = run_main("job=evaluate", f"run={trained.path}", zipped)
    assert code == 2
    assert "trust=true" in said.err
    code, _, _ = run_main("job=evaluate", f"run={trained.path}", zipped, "trust=true")
    assert code == 0


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["checkpoint=nowhere"], "nowhere"),
        (["checkpoint=nowhere.zip", "trust=true"], "no such file"),
        (["algo.policy_kwargs.net_arch=[9]"], "another policy"),
        (["env/observation=paper25"], "another policy"),
        (["checkpoint={best}", "trust=true", "env/observation=paper25"], "observation"),
    ],
)
def test_a_checkpoint_that_does_not_fit_is_named(trained, run_main, typed, message):
    best = str(trained.path / "best_model.zip")
    typed = [word.replace("{best}", best) for word in typed]
    code, said, _ = run_main("job=evaluate", f"run={trained.path}", *typed)
    assert code == 2
    assert message in said.err
    assert len(said.err.splitlines()) <= 4


# ---- the same again ----


@pytest.mark.parametrize(
    ("typed", "same"),
    [
        (["n_threads=1"], True),
        (["n_threads=3"], True),
        (["log_every=32", "evaluation.n_episodes=1"], True),
        (["seed=1"], False),
    ],
)
def test_metrics_are_a_function_of_config_and_seed(trained, run_main, typed, same):
    code, _, path = run_main(*PPO_KEYS, *typed)
    assert code == 0
    text = (path / "metrics.jsonl").read_bytes()
    assert (text == (trained.path / "metrics.jsonl").read_bytes()) == same


@pytest.mark.parametrize("algo", sorted(TINY.keys() - {"ppo"}))
def test_every_other_algorithm_trains_and_loads(run_main, algo):
    """That it repeats itself is part of what test_resume shows."""
    code, _, path = run_main(*tiny(algo), "residual.zero_init=false")
    assert code == 0
    assert max(line.get("train/n_updates", 0) for line in RunDir.open(path).metrics())
    played = rows(path)
    assert all(float(line["mean_residual_l2"]) > 0 for line in played[3:])
    assert run_main("job=evaluate", f"run={path}")[0] == 0
    assert rows(path / "evaluations" / "1") == played


def test_a_schedule_of_alpha_is_followed_and_logged(run_main):
    alpha = "residual.alpha={start: 0.0, end: 1.0, steps: 64}"
    code, _, path = run_main(*PPO_KEYS, alpha, "base_policy=zero")
    assert code == 0
    logged = {
        line["step"]: line["residual/alpha"]
        for line in RunDir.open(path).metrics()
        if "residual/alpha" in line
    }
    assert logged == {32: 0.5, 64: 1.0, 96: 1.0, 128: 1.0}


def test_a_policy_is_evaluated_at_the_alpha_it_was_chosen_with(run_main, monkeypatch):
    alphas = []

    def watched(env, policy, seeds):
        alphas.append(env.alpha[0])
        return run_episodes(env, policy, seeds)

    monkeypatch.setattr(evaluate, "run_episodes", watched)
    alpha = "residual.alpha={start: 0.0, end: 1.0, steps: 256}"
    code, _, path = run_main(*PPO_KEYS, alpha)
    assert code == 0
    best = path / "checkpoints" / "best" / "checkpoint.json"
    step = json.loads(best.read_text())["step"]
    assert alphas == [step / 256] * 2
    run_main("job=evaluate", f"run={path}")
    assert alphas == [step / 256] * 4


# ---- what goes wrong ----


def stop_at(step, error):
    """A `LogCallback.fire` that raises `error` once `step` is reached."""
    fire = callbacks.LogCallback.fire

    def stopping(self):
        fire(self)
        if self.num_timesteps >= step:
            raise error

    return stopping


def test_ctrl_c_saves_the_model_and_says_killed(run_main, monkeypatch):
    monkeypatch.setattr(callbacks.LogCallback, "fire", stop_at(64, KeyboardInterrupt()))
    code, said, path = run_main(*PPO_KEYS)
    assert code == 130
    assert json.loads((path / "run.json").read_text())["status"] == "killed"
    assert PPO.load(path / "interrupted_model.zip").num_timesteps == 64
    assert not (path / "final_model.zip").exists()
    assert "Traceback" not in said.err


def test_a_terminated_run_is_saved_too(run_main, monkeypatch):
    def terminate(self):
        os.kill(os.getpid(), signal.SIGTERM)

    monkeypatch.setattr(callbacks.CheckpointCallback, "fire", terminate)
    code, _, path = run_main(*PPO_KEYS)
    assert code == 143
    assert RunDir.open(path).info["status"] == "killed"
    assert (path / "interrupted_model.zip").is_file()


def test_what_was_learned_is_saved_before_it_is_judged(run_main, monkeypatch):
    judge = callbacks.EvalCallback.fire

    def stop(self):
        judge(self)
        if self.num_timesteps == 128:
            raise KeyboardInterrupt

    monkeypatch.setattr(callbacks.EvalCallback, "fire", stop)
    code, _, path = run_main(*PPO_KEYS, "evaluation.every=1000")
    assert code == 130
    assert RunDir.open(path).info["status"] == "killed"
    assert PPO.load(path / "final_model.zip").num_timesteps == 128


def test_the_last_part_of_an_interval_is_logged(run_main):
    code, _, path = run_main(*PPO_KEYS, "log_every=100")
    assert code == 0
    lines = RunDir.open(path).metrics()
    assert [ln["step"] for ln in lines if "residual/l2" in ln] == [100, 128]


def test_a_bug_fails_the_run_and_saves_the_model(run_main, monkeypatch):
    monkeypatch.setattr(
        callbacks.LogCallback, "fire", stop_at(64, ZeroDivisionError("bug"))
    )
    with pytest.raises(ZeroDivisionError):
        run_main(*PPO_KEYS)
    info = RunDir.open("run").info
    assert info["status"] == "failed"
    assert info["error"] == {
        "kind": "bug",
        "class": "ZeroDivisionError",
        "message": "bug",
    }
    assert PPO.load("run/interrupted_model.zip").num_timesteps == 64


def test_a_base_policy_that_returns_nan_stops_the_run_with_its_name(
    run_main, monkeypatch
):
    from so101rl.base_policies.jacobian import Jacobian

    act, calls = Jacobian.act, []

    def breaking(self, obs, ids):
        calls.append(1)
        return act(self, obs, ids) * (np.nan if len(calls) > 60 else 1)

    monkeypatch.setattr(Jacobian, "act", breaking)
    code, said, path = run_main(*PPO_KEYS)
    assert code == 2
    assert said.err.startswith("error: the action of base policy Jacobian")
    assert len(said.err.splitlines()) <= 3
    info = json.loads((path / "run.json").read_text())
    assert info["status"] == "failed"
    assert "Jacobian" in info["error"]["message"]


def test_a_directory_that_cannot_be_made_is_named(run_main, tmp_path):
    (tmp_path / "taken").write_text("a file")
    code, said, _ = run_main("hydra.run.dir=taken/run")
    assert code == 2
    assert "taken" in said.err
    assert len(said.err.splitlines()) <= 2


def test_a_directory_that_holds_a_run_is_left_alone(trained, run_main):
    before = (trained.path / "run.json").read_bytes()
    code, said, _ = run_main(*PPO_KEYS, f"hydra.run.dir={trained.path}")
    assert code == 2
    assert "already holds a run" in said.err
    assert (trained.path / "run.json").read_bytes() == before


# ---- enough is enough ----


@pytest.mark.parametrize(
    ("shares", "ends"),
    [((0.2, 0.5, 0.9), 64), ((0.5, 0.2, 0.2), 4), ((0.2, 0.4, 0.4), 128)],
)
def test_training_ends_once_enough_episodes_are_solved(
    run_main, monkeypatch, shares, ends
):
    def scored(env, policy, seeds):
        episodes = run_episodes(env, policy, seeds) * 5
        solved = round(10 * next(left))
        for i, episode in enumerate(episodes):
            episodes[i] = replace(episode, is_success=i < solved)
        return episodes

    left = iter(shares)
    monkeypatch.setattr(callbacks, "run_episodes", scored)
    code, _, path = run_main(*PPO_KEYS, "evaluation.stop_at=0.5")
    assert code == 0
    run = RunDir.open(path)
    assert run.info["status"] == "finished"
    assert run.metrics()[-1]["step"] == ends
    assert PPO.load(path / "final_model.zip").num_timesteps == ends
    assert run.evaluation()["policies"]["residual"]["n_episodes"] == 3
    assert not (path / "interrupted_model.zip").exists()


# ---- episodes ----


@pytest.mark.parametrize("n", [2, 5, 7])
def test_episodes_do_not_depend_on_how_many_run_at_once(n):
    silent = [
        f"randomization.terms.noise_{name}.{end}=0"
        for name in ("qpos", "qvel", "object_position", "object_yaw")
        for end in ("low", "high")
    ]
    seeds = episode_seeds(0, "report", 5)
    env = make_env(*silent, "env.max_episode_steps=60", n=n)
    alone = make_env(*silent, "env.max_episode_steps=60", n=1)
    together = run_episodes(env, NoResidual(), seeds)
    assert [episode.seed for episode in together] == seeds
    for seed, episode in zip(seeds, together, strict=True):
        (single,) = run_episodes(alone, NoResidual(), [seed])
        assert single.total_reward == episode.total_reward
        assert single.length == episode.length == len(episode.qpos)
        assert single.failure == episode.failure
        np.testing.assert_array_equal(single.qpos, episode.qpos)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is such a device")
def test_a_device_that_is_not_there_is_refused_for_training_alone(run_main):
    code, said, _ = run_main(*PPO_KEYS, "algo.device=cuda", name="none")
    assert code == 2
    assert said.err.startswith("error: algo.device=cuda: expected cpu")
    code, _, path = run_main(*PPO_KEYS)
    assert code == 0
    config = path / ".hydra" / "config.yaml"  # as of a machine that had one
    config.write_text(config.read_text().replace("device: cpu", "device: cuda"))
    code, said, _ = run_main("job=evaluate", f"run={path}")
    assert code == 0, said.err

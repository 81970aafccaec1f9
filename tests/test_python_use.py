"""`so101rl.load`, the Gymnasium ids, and what docs/python.md shows."""

import json
import os
import re
import runpy
import shutil
import subprocess
import sys

import gymnasium as gym
import numpy as np
import pytest
from conftest import ROOT, config_of
from finished import finished_run
from learners import tiny
from stable_baselines3 import PPO
from untrained import untrained

import so101rl
from so101rl.errors import So101Error
from so101rl.runs.episodes_csv import COLUMNS

pytestmark = pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    """A finished run, `latest` in the directory that it is in."""
    alpha = "residual.alpha={start: 0.5, end: 1.0, steps: 64}"
    home = tmp_path_factory.mktemp("python")
    return shutil.copytree(finished_run("ppo", alpha), home / "outputs" / "run")


@pytest.fixture(scope="module")
def policy(trained):
    return so101rl.load(trained)


@pytest.fixture
def in_home(trained, monkeypatch):
    """Work in the directory where `latest` is that run."""
    monkeypatch.chdir(trained.parents[1])
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.delenv("SO101RL_RUN", raising=False)


def observations(policy, n=9):
    size = policy.make_env(1).single_observation_space.shape[0]
    return np.random.default_rng(0).normal(size=(n, size)).astype(np.float32)


IMPORTS = """
import sys
import {first}
print(sorted({{"torch", "mujoco", "pandas", "gymnasium"}} & set(sys.modules)))
import {second}
import gymnasium, so101rl
print("so101rl/PaperPush-v0" in gymnasium.registry, "torch" in sys.modules)
"""


@pytest.mark.parametrize("first", ["so101rl", "gymnasium"])
def test_importing_is_light_and_registers_ids_in_both_orders(first):
    second = {"so101rl": "gymnasium", "gymnasium": "so101rl"}[first]
    command = [sys.executable, "-c", IMPORTS.format(first=first, second=second)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    heavy = [] if first == "so101rl" else ["gymnasium"]
    assert done.stdout == f"{heavy}\nTrue False\n"


def test_act_is_the_exported_zip_without_exploration(policy, trained):
    obs = observations(policy)
    model = PPO.load(trained / "best_model.zip")
    wanted = model.predict(obs, deterministic=True)[0]
    np.testing.assert_array_equal(policy.act(obs), wanted)
    np.testing.assert_array_equal(policy.act(obs[3]), policy.act(obs[3:4])[0])
    np.testing.assert_array_equal(policy.act(obs.astype(float)), wanted)
    assert policy.act(obs[:0]).shape == (0, 6)
    final = so101rl.load(trained, checkpoint="final")
    wanted = PPO.load(trained / "final_model.zip").predict(obs, deterministic=True)[0]
    np.testing.assert_array_equal(final.act(obs), wanted)
    assert "final policy, of env step 128" in repr(final)


def test_an_episode_played_again_is_the_recorded_one(policy):
    before = policy.episodes
    before = before[before.policy == "residual"].reset_index(drop=True)
    again = policy.play(before.seed)
    assert list(again.columns) == list(COLUMNS)
    assert again.to_csv() == before.to_csv()
    assert (again.dtypes == before.dtypes).all()  # also if not one was solved
    other = policy.play(before.seed, overrides=["randomization=hard"])
    assert other.to_csv() != before.to_csv()


def test_environments_have_the_authority_of_the_policys_step(policy):
    env, weak = policy.make_env(3), policy.make_env(3, overrides=["residual.alpha=0.1"])
    np.testing.assert_allclose(env.alpha, 0.5 + 0.5 * min(policy.step / 64, 1))
    np.testing.assert_allclose(policy.alpha, env.alpha)
    np.testing.assert_allclose(weak.alpha, 0.1)
    assert (env.num_envs, env.env.max_episode_steps) == (3, 20)
    # Authority changes the effect of a residual, not the residual; Gymnasium's own
    # environments are the same ones.
    words = {"base_policy": "jacobian", "overrides": ["n_threads=1"]}
    vector = gym.make_vec("so101rl/PaperPush-v0", num_envs=3, **words)
    seeds = [5, 6, 7]
    obs, *others = [batch.reset(seed=seeds)[0] for batch in (env, weak, vector)]
    for other in others:
        np.testing.assert_array_equal(obs, other)
    assert vector.step(policy.act(obs))[0].shape == obs.shape
    single = gym.make("so101rl/PaperPush-v0", **words)
    assert single.step(policy.act(single.reset(seed=5)[0]))[0].shape == obs[0].shape


WRONG_SHAPES = [
    (lambda obs: obs[:, :5], r"shape \(9, 5\): expected \(42,\) or \(n, 42"),
    (lambda obs: obs[0, 0], r"shape \(\): .* qpos, .*, base_action"),
    (lambda obs: obs[None], r"shape \(1, 9, 42\)"),
    (lambda obs: obs * [[1]] * 8 + [[np.nan]], "obs is not finite in environment 0"),
]


@pytest.mark.parametrize(("change", "message"), WRONG_SHAPES)
def test_wrong_observations_are_refused(change, message, policy):
    with pytest.raises(So101Error, match=message):
        policy.act(change(observations(policy)))


NOT_FOUND = [
    ("nowhere", "best", "run=nowhere: there is no such directory"),
    (".", "best", "not a run directory"),
    ("outputs/run", "finale", "mean final. There are: best, final, step-32"),
    ("outputs/run", "../run", "there is no such folder"),
]


@pytest.mark.parametrize(("run", "checkpoint", "message"), NOT_FOUND)
def test_what_does_not_exist_is_named(run, checkpoint, message, in_home):
    with pytest.raises(So101Error, match=message):
        so101rl.load(run, checkpoint=checkpoint)


def test_a_run_that_was_not_evaluated_says_so_at_any_path(tmp_path):
    path = tmp_path / "it's (a) run, {x}=1"
    untrained(path, config_of("n_threads=1", *tiny("ppo")))
    policy = so101rl.load(path)
    assert policy.path == path
    for name in ("episodes", "evaluation", "trajectories"):
        with pytest.raises(So101Error, match="was not evaluated"):
            getattr(policy, name)


def test_it_says_what_it_is(policy, trained):
    words = ["(finished)", "env=paper_push, base_policy=jacobian, algo=ppo"]
    words += [str(trained), policy.info["name"], f"env step {policy.step}", "alpha 0."]
    assert [word for word in words if word not in repr(policy)] == []


def test_a_recurrent_policy_keeps_its_state_until_reset(tmp_path):
    cfg = config_of("n_threads=1", *tiny("recurrent_ppo"))
    run, model = untrained(tmp_path / "run", cfg)
    policy = so101rl.load(run.path)
    one, two = observations(policy, 6).reshape(2, 3, -1)
    first = policy.act(one)
    state, begin = model.predict(one, deterministic=True)[1], np.zeros(3, bool)
    wanted = model.predict(two, state, begin, deterministic=True)[0]
    np.testing.assert_array_equal(policy.act(two), wanted)
    assert np.abs(policy.act(one) - first).min(axis=1).max() > 0  # it remembers
    policy.reset([1])
    again = policy.act(one)
    np.testing.assert_allclose(again[1], first[1], atol=1e-6)
    assert np.abs(again[[0, 2]] - first[[0, 2]]).max() > 0
    with pytest.raises(So101Error, match="remembers 3 episodes, but got 2"):
        policy.act(one[:2])
    policy.reset()
    np.testing.assert_array_equal(policy.act(one), first)


def test_results_are_typed_tables_that_agree(policy, trained):
    episodes = policy.episodes
    assert tuple(episodes.columns) == tuple(COLUMNS)
    kinds = episodes.dtypes.astype(str)
    assert kinds["is_success"] == "bool"
    assert (kinds[["seed", "length", "episode"]] == "int64").all()
    assert (kinds[["return", "time_to_success_s"]] == "float64").all()
    assert not episodes.failure.isna().any()  # "none" is a word here
    assert (episodes.time_to_success_s.isna() == ~episodes.is_success).all()
    for name, score in policy.evaluation["policies"].items():
        own = episodes[episodes.policy == name]
        assert own.is_success.mean() == score["success_rate"]
        assert own["return"].mean() == pytest.approx(score["mean_return"])
        steps = [len(track.distance_m) for track in policy.trajectories[name]]
        assert steps == list(own.length)
    metrics = policy.metrics
    assert metrics.index.name == "step" and metrics.index.is_monotonic_increasing
    assert list(metrics["eval/success_rate"].dropna().index) == [0, 64, 128]
    for line in map(json.loads, (trained / "metrics.jsonl").open()):
        step = line.pop("step")
        assert {name: metrics.loc[step, name] for name in line} == line


# ---- what the documentation shows ----


def test_the_notebook_runs(in_home, trained, capsys):
    runpy.run_path(str(ROOT / "docs" / "notebook.py"), run_name="__main__")
    assert "episodes solved" in capsys.readouterr().out
    assert (trained / "figures" / "notebook.png").stat().st_size > 10_000
    assert (trained / "export" / "policy.ts").is_file()


@pytest.mark.filterwarnings(r"ignore:`torch\.jit:DeprecationWarning")
def test_every_line_of_the_page_runs(in_home):
    page = (ROOT / "docs" / "python.md").read_text()
    snippets = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(snippets) == page.count("```") / 2 > 5
    space: dict = {}
    for snippet in snippets:
        exec(snippet, space)
    assert space["residual"].shape == space["action"].shape == (4, 6)
    assert os.path.isfile(space["file"])

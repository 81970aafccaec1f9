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
from run_dirs import COLUMNS
from stable_baselines3 import PPO
from untrained import untrained

import so101rl
from so101rl.errors import So101Error

pytestmark = pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    alpha = "residual.alpha={start: 0.5, end: 1.0, steps: 64}"
    home = tmp_path_factory.mktemp("python")
    return shutil.copytree(finished_run("ppo", alpha), home / "outputs" / "run")


@pytest.fixture(scope="module")
def policy(trained):
    return so101rl.load(trained)


@pytest.fixture
def in_home(trained, monkeypatch):
    monkeypatch.chdir(trained.parents[1])
    monkeypatch.setenv("MPLBACKEND", "agg")
    monkeypatch.delenv("SO101RL_RUN", raising=False)


def observations(policy, n=9):
    size = policy.make_env(1).single_observation_space.shape[0]
    return np.random.default_rng(0).normal(size=(n, size)).astype(np.float32)


IMPORTS = """
import sys, so101rl
print({"torch", "mujoco", "pandas", "gymnasium"} & set(sys.modules))
import gymnasium
print("so101rl/PaperPush-v0" in gymnasium.registry, "torch" in sys.modules)
"""


def test_importing_is_light_and_registers_ids():
    command = [sys.executable, "-c", IMPORTS]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == "set()\nTrue False\n"


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
    for word in (
        *("(finished)", "env=paper_push, base_policy=jacobian, algo=ppo", "alpha 1"),
        *("final policy, of env step 128", str(trained), policy.info["name"]),
    ):
        assert word in repr(final)


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
    # Authority changes the effect of a residual, not the residual.
    words = {"base_policy": "jacobian", "overrides": ["n_threads=1"]}
    vector = gym.make_vec("so101rl/PaperPush-v0", num_envs=3, **words)
    obs, *others = [batch.reset(seed=[5, 6, 7])[0] for batch in (env, weak, vector)]
    np.testing.assert_array_equal([obs, obs], others)
    assert vector.step(policy.act(obs))[0].shape == obs.shape


def test_wrong_observations_and_what_does_not_exist_are_named(policy, in_home):
    obs = observations(policy)
    for wrong, message in [
        (obs[:, :5], r"shape \(9, 5\): expected \(42,\) or \(n, 42.* base_action"),
        (obs[0, 0], r"shape \(\): "),
        (obs[None], r"shape \(1, 9, 42\)"),
        (obs + np.nan, "obs is not finite in environment 0"),
    ]:
        with pytest.raises(So101Error, match=message):
            policy.act(wrong)
    for run, checkpoint, message in [
        ("nowhere", "best", "run=nowhere: there is no such directory"),
        (".", "best", "not a run directory"),
        ("outputs/run", "finale", "mean final. There are: best, final, step-32"),
        ("outputs/run", "../run", "there is no such folder"),
    ]:
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


def test_a_recurrent_policy_keeps_its_state_until_reset(tmp_path):
    cfg = config_of("n_threads=1", *tiny("recurrent_ppo"))
    run, model = untrained(tmp_path / "run", cfg)
    policy = so101rl.load(run.path)
    one, two = observations(policy, 6).reshape(2, 3, -1)
    first = policy.act(one)
    state, begin = model.predict(one, deterministic=True)[1], np.zeros(3, bool)
    wanted = model.predict(two, state, begin, deterministic=True)[0]
    np.testing.assert_array_equal(policy.act(two), wanted)
    policy.reset([1])
    again = policy.act(one)
    np.testing.assert_allclose(again[1], first[1], atol=1e-6)
    assert np.abs(again[[0, 2]] - first[[0, 2]]).max(axis=1).min() > 0  # remembered
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
    for name, own in episodes.groupby("policy"):
        steps = [len(track) for track in policy.trajectories[name]]
        assert steps == list(own.length)
        score = policy.evaluation["policies"][name]
        assert own.is_success.mean() == score["success_rate"]
    for line in map(json.loads, (trained / "metrics.jsonl").open()):
        row = policy.metrics.loc[line.pop("step")]
        assert {name: row[name] for name in line} == line


@pytest.mark.filterwarnings(r"ignore:`torch\.jit:DeprecationWarning")
def test_the_notebook_and_every_line_of_the_page_run(in_home, trained, capsys):
    runpy.run_path(str(ROOT / "docs" / "notebook.py"), run_name="__main__")
    assert "episodes solved" in capsys.readouterr().out
    assert (trained / "figures" / "notebook.png").stat().st_size > 10_000
    page = (ROOT / "docs" / "python.md").read_text()
    snippets = re.findall(r"^```python\n(.*?)^```", page, re.MULTILINE | re.DOTALL)
    assert len(snippets) == page.count("```") / 2 > 5
    space: dict = {}
    for snippet in snippets:
        exec(snippet, space)
    assert space["residual"].shape == space["action"].shape == (4, 6)
    assert os.path.isfile(space["file"])

"""What the base policies can do, and what they may look at."""

import copy
import re

import numpy as np
import pytest
from conftest import ROOT, config_of, make_env
from hydra.utils import instantiate

from so101rl.evaluation.rollout import run_episodes
from so101rl.policies.policy import NoResidual
from so101rl.seeds import episode_seeds

POLICIES = sorted(path.stem for path in (ROOT / "conf" / "base_policy").glob("*.yaml"))
ALL = np.arange(4)


def build(name):
    cfg = config_of(f"base_policy={name}").base_policy
    return instantiate(cfg, n_envs=4, n_threads=1, _convert_="all")


@pytest.fixture(scope="module")
def obs():
    """Observations of four arms after some steps of the default base policy."""
    env = make_env("randomization=default", n=4)
    for _ in range(20):
        env.step(np.zeros((4, 6)))
    return env.env.obs


@pytest.mark.parametrize("name", POLICIES)
def test_actions_depend_on_its_own_arms_observations_alone(name, obs):
    policy = build(name)
    before = copy.deepcopy(obs)
    actions = policy.act(obs, ALL)
    assert actions.shape == (4, 6)
    assert (np.abs(actions) <= 1).all()
    np.testing.assert_equal(obs, before)
    for ids in ([0, 1, 2, 3], [2], [3, 1], [0, 1, 3]):
        part = {key: obs[key][ids] for key in policy.needs}
        np.testing.assert_array_equal(policy.act(part, np.array(ids)), actions[ids])
    policy.reset(ALL)
    other = build(name)
    other.load_state_dict(policy.state_dict())
    np.testing.assert_array_equal(other.act(obs, ALL), policy.act(obs, ALL))


def test_they_import_neither_simulator_nor_environments():
    for path in (ROOT / "so101rl" / "base_policies").glob("*.py"):
        foreign = r"import mujoco|so101rl\.(hardware|scene|envs)"
        assert not re.search(foreign, path.read_text()), path


def success(name, n, *typed):
    env = make_env(f"base_policy={name}", *typed, n=n)
    episodes = run_episodes(env, NoResidual(), episode_seeds(0, "tune", n))
    return np.mean([episode.is_success for episode in episodes])


def test_jacobian_solves_a_part_of_the_default_starts_and_most_easy_ones():
    start, pose = "env.start_pose=[0.19,-0.09,0.0]", "randomization.terms.start_pose"
    easy = [start, f"{pose}.low=[-0.02,-0.02,-0.05]", f"{pose}.high=[0.02,0.03,0.05]"]
    assert success("jacobian", 8, *easy) > 0.6
    assert success("jacobian", 24) >= 0.3
    assert success("zero", 8, "env.max_episode_steps=60") == 0

"""What the base policies can do, and what they may look at."""

import copy

import numpy as np
import pytest
from conftest import ROOT, config_of, make_env
from hydra.utils import instantiate

from so101rl.evaluation.rollout import run_episodes
from so101rl.policies.policy import NoResidual
from so101rl.robots.so101 import JOINTS
from so101rl.seeds import episode_seeds

POLICIES = sorted(path.stem for path in (ROOT / "conf" / "base_policy").glob("*.yaml"))
ALL = np.arange(4)


def build(name):
    cfg = config_of(f"base_policy={name}").base_policy
    return instantiate(cfg, n_envs=4, n_threads=1, action_names=JOINTS, _convert_="all")


@pytest.fixture(scope="module")
def obs():
    """Observations of four arms after some steps of the default base policy."""
    env = make_env("randomization=default", n=4)
    for _ in range(20):
        env.step(np.zeros((4, 6)))
    return dict(env.env.obs)


@pytest.mark.parametrize("name", POLICIES)
def test_actions_depend_on_its_own_arms_observations_alone(name, obs):
    policy = build(name)
    before = copy.deepcopy(obs)
    actions = policy.act(obs, ALL)
    np.testing.assert_equal(obs, before)
    for ids in ([2], [3, 1]):
        part = {key: obs[key][ids] for key in policy.needs}
        np.testing.assert_array_equal(policy.act(part, np.array(ids)), actions[ids])
    policy.reset(ALL, ALL)
    other = build(name)
    other.load_state_dict(policy.state_dict(ALL), ALL)
    np.testing.assert_array_equal(other.act(obs, ALL), policy.act(obs, ALL))


def test_jacobian_solves_a_part_of_the_default_starts_and_most_easy_ones():
    start, pose = "env.start_pose=[0.19,-0.09,0.0]", "randomization.terms.start_pose"
    easy = [start, f"{pose}.low=[-0.02,-0.02,-0.05]", f"{pose}.high=[0.02,0.03,0.05]"]
    for n, least, typed in ((8, 0.6, easy), (24, 0.3, [])):
        env, seeds = make_env(*typed, n=n), episode_seeds(0, "tune", n)
        solved = [one.is_success for one in run_episodes(env, NoResidual(6), seeds)]
        assert np.mean(solved) > least

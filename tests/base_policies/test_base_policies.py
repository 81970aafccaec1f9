"""What the base policies can do, and what they may look at."""

import numpy as np
import pytest
from conftest import ROOT, make_env
from hydra.utils import instantiate

from so101rl.config.compose import compose
from so101rl.evaluation.rollout import run_episodes
from so101rl.policies.policy import NoResidual
from so101rl.seeds import episode_seeds

POLICIES = sorted(path.stem for path in (ROOT / "conf" / "base_policy").glob("*.yaml"))
ALL = np.arange(4)


def policy_of(name, n=4, *typed):
    cfg = compose([f"base_policy={name}", *typed]).base_policy
    return instantiate(cfg, n_envs=n, n_threads=1, _convert_="all")


@pytest.fixture(scope="module")
def obs():
    """Observations of four arms at different moments of their episodes."""
    env = make_env("randomization=default", n=4)
    env.reset(seed=0)
    env.env.elapsed[:] = [0, 100, 200, 300]
    for _ in range(20):
        env.step(np.zeros((4, 6)))
    return env.env.obs


@pytest.mark.parametrize("name", POLICIES)
def test_it_proposes_an_action_from_what_it_needs_alone(name, obs):
    policy = policy_of(name)
    seen = {key: obs[key] for key in policy.needs}
    action = policy.act(seen, ALL)
    assert action.shape == (4, 6)
    assert (np.abs(action) <= 1).all()
    np.testing.assert_array_equal(policy.act(obs, ALL), action)


@pytest.mark.parametrize("name", POLICIES)
def test_the_same_observation_gives_the_same_action(name, obs):
    policy = policy_of(name)
    seen = {key: obs[key].copy() for key in policy.needs}
    first, second = policy.act(seen, ALL), policy.act(seen, ALL)
    np.testing.assert_array_equal(first, second)
    for key, value in seen.items():
        np.testing.assert_array_equal(value, obs[key])  # it changes nothing
    np.testing.assert_array_equal(policy_of(name).act(seen, ALL), first)


@pytest.mark.parametrize("name", POLICIES)
def test_arms_do_not_influence_each_other(name, obs):
    policy = policy_of(name)
    whole = policy.act({key: obs[key] for key in policy.needs}, ALL)
    for ids in ([2], [3, 1], [0, 1, 3]):
        part = {key: obs[key][ids] for key in policy.needs}
        np.testing.assert_array_equal(policy.act(part, np.array(ids)), whole[ids])


@pytest.mark.parametrize("name", POLICIES)
def test_it_never_touches_the_simulator(name, obs):
    """It is built from the config alone, and whatever it keeps is its own."""
    policy = policy_of(name)
    seen, found, left = set(), [], [policy]
    while left:
        thing = left.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        found.append(type(thing).__module__ + "." + type(thing).__name__)
        if isinstance(thing, dict):
            left += thing.values()
        elif isinstance(thing, list | tuple | set | frozenset):
            left += thing
        elif type(thing).__module__.startswith("so101rl"):
            left += vars(thing).values()
    assert not [name for name in found if name.startswith("so101rl.hardware")]
    assert not [name for name in found if name.startswith("so101rl.envs")]


@pytest.mark.parametrize("name", POLICIES)
def test_what_it_remembers_can_be_stored(name, obs):
    policy = policy_of(name)
    policy.act({key: obs[key] for key in policy.needs}, ALL)
    policy.reset(ALL)
    other = policy_of(name)
    other.load_state_dict(policy.state_dict())


def success(name, n, *typed):
    env = make_env(f"base_policy={name}", *typed, n=n)
    return np.mean([e.is_success for e in run_episodes(env, NoResidual(), SEEDS[:n])])


SEEDS = episode_seeds(0, "tune", 32)


def test_jacobian_solves_easy_starts():
    starts = [[0.19, -0.09, 0.0], [0.17, -0.06, 0.05], [0.21, -0.1, -0.05]]
    solved = [
        success("jacobian", 1, "randomization=none", f"env.start_pose={start}")
        for start in starts
    ]
    assert np.mean(solved) > 0.6


def test_jacobian_solves_a_part_of_the_default_starts():
    assert success("jacobian", 32) >= 0.3


def test_staying_put_solves_nothing():
    assert success("zero", 32, "env.max_episode_steps=60") == 0

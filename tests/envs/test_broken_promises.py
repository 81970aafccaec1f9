"""Tasks, arms, base policies and learners that break the promise of their seam."""

import numpy as np
import pytest
import toys
from conftest import SHORT, config_of

from so101rl.base_policies.base import BadPolicyError, checked_needs, checked_tells
from so101rl.build import build_task
from so101rl.envs.paper_push import PaperPush
from so101rl.envs.task import TaskError
from so101rl.errors import ConfigError
from so101rl.hardware.base import HardwareError
from so101rl.training.trainer import Trainer

GROUPS = {"arm": {"qpos": 1.0}, "task": {"goal": 0.1}}
REAL = ["packages=[toys]", "hardware._target_=toys.FakeHardware"]


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        (
            "numbers",
            ["gap"],
            r"PaperPush.numbers=\['gap'\]: expected a tuple of Number",
        ),
        ("failures", {"none": "?"}, "failures=none: expected no class none"),
        ("reward_terms", lambda _: {}, r"reward_terms\(\) returns nothing: expected"),
        ("metrics", lambda _: None, r"metrics\(\) returns NoneType: expected a dict"),
        ("metrics", lambda _: {"distance_m": 0.1}, "distance_m of float: expected"),
        (
            "success",
            lambda _: np.zeros(1),
            r"returns float64 \(1,\): expected bool \(1,",
        ),
        ("features", lambda _, obs: {"qpos": obs["qpos"]}, "returns qpos: expected"),
        ("features", lambda *_: {"one": np.ones(3)}, r"one of shape \(3,\): expected"),
    ],
)
def test_a_task_that_tells_something_wrong_is_named(name, value, message, monkeypatch):
    monkeypatch.setattr(PaperPush, name, value)
    with pytest.raises(Exception, match=message) as error:
        build_task(config_of("randomization=none"), 1)
    assert isinstance(error.value.__cause__, TaskError)


def test_features_may_be_read_only_or_a_tasks_own(monkeypatch):
    own = np.array([[1.0], [2.0]])
    features = PaperPush.features

    def added(self, obs):
        n = len(obs["qpos"])
        fixed = np.broadcast_to(np.ones(1), (n, 1))
        return {**features(self, obs), "fixed": fixed, "own": own[:n]}

    monkeypatch.setattr(PaperPush, "features", added)
    env = build_task(config_of("randomization=none", "env.max_episode_steps=3"), 2)
    env.reset(seed=0)
    env.elapsed[1] = 2
    obs, *_, info = env.step(np.zeros((2, 6)))
    assert info["_final_obs"].tolist() == [False, True]
    assert (obs["fixed"].tolist(), own.tolist()) == ([[1.0]] * 2, [[1.0], [2.0]])


@pytest.mark.parametrize(
    ("owner", "name", "value", "message"),
    [
        (
            "FakeArm",
            "read",
            lambda arm: (arm.qpos[0], arm.qpos),
            r"arm.read\(\) returns",
        ),
        (None, "Guard", lambda arm, **_: arm, "arm=FakeArm: expected a Guard"),
    ],
)
def test_an_arm_that_breaks_its_promise_is_named(
    owner, name, value, message, monkeypatch
):
    monkeypatch.setattr(getattr(toys, owner) if owner else toys, name, value)
    with pytest.raises(Exception, match=message) as error:
        build_task(config_of(*REAL), 1).reset(seed=0)
    assert isinstance(error.value.__cause__ or error.value, HardwareError)


@pytest.mark.parametrize(
    ("typed", "observation", "message"),
    [
        ("algo=ppo", GROUPS, "MlpPolicy: expected MultiInputPolicy, because env.obs"),
        ("algo=recurrent_ppo", GROUPS, "MlpLstmPolicy: expected MultiInputLstmPolicy"),
        ("algo=crossq", GROUPS, "sb3_contrib.CrossQ has no such policy"),
        (
            "algo.policy=MultiInputPolicy",
            {"qpos": 1},
            "Policy: expected MlpPolicy, bec",
        ),
    ],
)
def test_a_policy_that_does_not_fit_the_observation_is_named(
    typed, observation, message
):
    cfg = config_of(*SHORT, typed)
    cfg.env.observation = observation
    with pytest.raises(ConfigError, match=message):
        Trainer(cfg)  # which exists before the run directory


@pytest.mark.parametrize(
    ("told", "message"),
    [
        (None, r"Steps.tells\(\) returns NoneType: expected a dict"),
        ({"phase": [0.1, 0.2]}, r"phase of shape \(2,\): expected \(2, d\)"),
        ({"phase": [[0.1], None]}, "returns phase=.*: expected an array of numbers"),
    ],
)
def test_a_base_policy_that_tells_something_wrong_is_named(told, message):
    policy = toys.Steps(n_envs=2, n_threads=1, action_names=("one",))
    ids = np.arange(2)
    policy.tells = lambda _: {"phase": [[1], [2]]}
    assert checked_tells(policy, ids)["phase"].tolist() == [[1.0], [2.0]]
    policy.tells = lambda _: told
    with pytest.raises(BadPolicyError, match=message):
        checked_tells(policy, ids)
    policy.needs = ["qpos"]
    assert checked_needs(policy) == {"qpos"}
    policy.needs = "qpos"
    with pytest.raises(BadPolicyError, match=r"Steps.needs='qpos': expected names"):
        checked_needs(policy)

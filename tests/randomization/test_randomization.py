"""What differs from episode to episode, and that it never drifts."""

from functools import partial

import numpy as np
import pytest
from conftest import make_env

from so101rl.arrays import norm
from so101rl.errors import ConfigError
from so101rl.hardware.base import Quantity
from so101rl.randomization.base import Randomization
from so101rl.randomization.scale import Scale
from so101rl.randomization.shift import Shift

DERIVED = ["body_mass", "body_inertia", "body_invweight0", "dof_invweight0", "dof_M0"]
FIELDS = [*DERIVED, "dof_damping", "dof_frictionloss", "actuator_gainprm"]
FIELDS += ["actuator_biasprm", "actuator_delay", "pair_friction"]


def make(randomization, *typed, n=2):
    typed = [f"randomization={randomization}", "base_policy=zero", *typed]
    return make_env(*typed, n=n).env


def drawn(env):
    """Everything of the worlds of `env` that may have been drawn, by name."""
    models = [env.hardware._batch.get_model(i) for i in range(env.num_envs)]
    found = {name: [getattr(m, name) for m in models] for name in FIELDS}
    found |= {"noise": env.sensors.noise.std, "start_pose": env._starts}
    found["offset"] = env.hardware._arm.offset
    return {name: np.array(value) for name, value in found.items()}


@pytest.fixture(scope="module")
def hard():
    return make("hard", n=4)


def test_a_term_draws_from_its_whole_range_and_no_further():
    nominal = np.array([1.0, 2.0, 3.0])
    for term, ends, distinct in (
        (Scale(quantity="q", low=0.5, high=2, per_element=True), (0.5, 2), 3),
        (Scale(quantity="q", low=0.5, high=2, per_element=False), (0.5, 2), 1),
        (Shift(quantity="q", low=-0.1, high=[0.1, 0.2, 0.3]), (0.9, 1.1), 3),
    ):
        uniform = np.random.default_rng(0).random((1000, term.size(nominal)))
        low, high = term.ends(nominal)
        assert (low[0], high[0]) == pytest.approx(ends)
        share = (term.draw(nominal, uniform) - low) / (high - low)
        assert 0 <= share.min(axis=0).max() < 0.05
        assert 0.95 < share.max(axis=0).min() <= 1
        assert len(np.unique(share[0].round(9))) == distinct


def test_what_is_read_from_the_worlds_is_what_was_drawn(hard):
    hard.reset(seed=3)
    world, plain = drawn(hard), hard.hardware.model
    gain, damping = world["actuator_gainprm"][:, :, 0], world["dof_damping"]
    np.testing.assert_array_equal(gain, -world["actuator_biasprm"][:, :, 1])
    for factor, low, high in (
        (gain / hard.hardware.actuator.kp, 0.7, 1.4),
        (damping[:, :6] / plain.dof_damping[:6], 0.7, 1.4),
        (world["dof_frictionloss"][:, :6] / plain.dof_frictionloss[:6], 0.3, 2.0),
        (world["body_mass"][:, [plain.body("object").id]] / 0.005, 0.5, 2.0),
    ):
        assert low <= factor.min() < factor.max() <= high
        assert len(np.unique(factor)) == factor.size  # each joint of each env its own
    assert 0 < np.abs(world["offset"]).max() <= 0.03
    # The free object's own joint is not a servo: its damping stays.
    np.testing.assert_array_equal(damping[:, 6:], 0)


def test_a_seed_draws_the_same_once_per_env_and_episode_after_any_resets(hard):
    fresh = make("hard", n=4)
    fresh.reset(seed=[1, 2, 3, 4])
    for ids in 30 * ([0, 2], [1, 3], [0, 1, 2, 3], [3]):
        hard._begin(np.array(ids))
    hard.reset(seed=[4, 3, 2, 1])
    before = drawn(hard)
    turned = {name: value[::-1] for name, value in (before | dict(hard.obs)).items()}
    np.testing.assert_equal(drawn(fresh) | dict(fresh.obs), turned)
    for _ in range(5):
        hard.step(np.zeros((4, 6)))
    np.testing.assert_equal(drawn(hard), before)
    hard._begin(np.array([1, 2]))
    after = drawn(hard)
    for name in ("body_mass", "pair_friction", "start_pose", "offset"):
        changed = (before[name] != after[name]).reshape(4, -1).any(axis=1)
        assert list(changed) == [False, True, True, False], name


def test_a_new_mass_recomputes_what_mujoco_derives_and_no_state():
    env, one = make("none", n=3), np.array([1])
    for _ in range(5):
        env.step(np.full((3, 6), 0.3))
    world, nominal, before = env.hardware, drawn(env), env.hardware.state.copy()
    world.quantities()["object_mass"].write(one, np.array([0.0025]))
    world.set_const(one)
    np.testing.assert_array_equal(world.state, before)
    env.scene.parts["object"].mass = 0.0025
    compiled, got = world._build_spec().compile(), drawn(env)
    assert (got["body_invweight0"][1] != nominal["body_invweight0"][1]).any()
    for name in DERIVED:
        nominal[name][1] = getattr(compiled, name)
        np.testing.assert_allclose(got[name], nominal[name], rtol=1e-9, err_msg=name)


def test_a_delayed_servo_answers_later():
    env = make("none", "env.control_hz=360")
    world, pose = env.hardware, np.tile(env.home_qpos, (2, 1))
    for delay in (0, 1, 12, 36):  # physics steps
        world.quantities()["action_delay"].write(np.array([1]), np.array([delay / 360]))
        world.arm.reset(np.arange(2), pose)
        reacted = []
        for _ in range(40):  # the undelayed twin tells what moves by gravity alone
            world.arm.step(pose + np.array([[0], [0.01]]) * np.eye(6)[0])
            reacted.append(abs(world.qvel[1, 0] - world.qvel[0, 0]) > 1e-9)
        assert reacted.index(True) == delay


def test_a_joint_offset_offsets_what_is_read_and_what_is_obeyed():
    env = make("none")
    offset = np.array([0.0, 0.02, -0.02, 0.03, 0.0, 0.0])
    env.hardware.quantities()["joint_offset"].write(np.array([1]), offset[None])
    env.reset(seed=0)
    true = env.hardware.qpos[:, :6]
    np.testing.assert_allclose(env.hardware.arm.read()[0], [env.home_qpos] * 2)
    np.testing.assert_allclose(true[0] - true[1], offset)
    for _ in range(60):
        env.step(np.zeros((2, 6)))
    np.testing.assert_array_equal(*env.target_qpos)
    np.testing.assert_allclose(*env.hardware.arm.read()[0], atol=0.01)
    np.testing.assert_allclose(true[0] - true[1], offset, atol=0.01)


def test_noise_has_the_configured_deviation():
    env = make("default", n=32)
    env.reset(seed=0)
    errors, names = [], ("qpos", "qvel", "object_pose")
    for _ in range(40):
        env.step(np.zeros((32, 6)))
        truth = np.hstack([*env.hardware.arm.read(), env.poses["object"]])
        errors.append(np.hstack([env.obs[name] for name in names]) - truth)
        np.testing.assert_allclose(norm(env.obs["object_pose"][:, 3:]), 1)
    parts = np.split(np.array(errors), [6, 12, 15], axis=2)[:3]
    assert [part.std() for part in parts] == pytest.approx([0.005, 0.05, 0.001], 0.05)
    assert np.abs(parts[0].mean(axis=(0, 1))).max() < 0.001


OFFSET = partial(Shift, quantity="offset")


@pytest.mark.parametrize(
    ("kind", "low", "high", "message"),
    [
        (OFFSET, [[[0]]], [[[1]]], r"\(1, 6\): expected the shape \(6,\) of offset"),
        (OFFSET, [0, 0], [1, 1], r"not fit .* expected the shape \(6,\) of offset"),
        (OFFSET, 0, 3, "=1 to 4: expected a offset between -1 and 2"),
        (OFFSET, -3, 0, "=-2 to 1: expected a offset between -1 and 2"),
        (partial(Scale, quantity="mass", per_element=True), 0, 1, "low >= 0.001"),
        (OFFSET, 0, np.nan, "high nan"),
        (OFFSET, [0, 2], 1, r"low \[0, 2\], high 1"),
        (OFFSET, [0, 2], [3], r"low \[0, 2\], high \[3\]"),
        (partial(Shift, quantity="gravity"), 0, 1, "=gravity: expected one of offset"),
    ],
)
def test_a_mistake_is_named(kind, low, high, message):
    bounded = Quantity(np.ones(6), lambda ids, values: None, low=-1, high=2)
    with pytest.raises(ConfigError, match=message):
        term = kind(low=low, high=high)
        Randomization(terms={"mine": term}).bind({"offset": bounded})

"""What differs from episode to episode, and that it never drifts."""

import numpy as np
import pytest
from conftest import make_env

from so101rl.config.messages import user_error
from so101rl.errors import ConfigError, So101Error
from so101rl.hardware.base import Quantity
from so101rl.randomization.base import Randomization, Term
from so101rl.randomization.scale import Scale
from so101rl.randomization.shift import Shift
from so101rl.scene.scene import OBJECT

FIELDS = (
    "body_mass",
    "body_inertia",
    "body_invweight0",
    "dof_invweight0",
    "dof_M0",
    "dof_damping",
    "dof_frictionloss",
    "actuator_gainprm",
    "actuator_biasprm",
    "actuator_delay",
    "pair_friction",
)


def make(randomization, n=2):
    """A batch of plain tasks."""
    return make_env(f"randomization={randomization}", "base_policy=zero", n=n).env


def drawn(env):
    """Everything of the worlds of `env` that may have been drawn, by name."""
    found = {
        name: np.stack(
            [
                np.array(getattr(env.hardware._batch.get_model(i), name))
                for i in range(env.num_envs)
            ]
        )
        for name in FIELDS
    }
    found["noise"] = env._noise.std.copy()
    found["start_pose"], found["offset"] = env._starts, env.hardware.arm.offset
    return {name: np.array(value) for name, value in found.items()}


def same(first, second):
    return all(np.array_equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def hard():
    return make("hard", n=4)


def test_a_thousand_resets_do_not_drift():
    """After them, a seed draws what it draws in a fresh environment."""
    env, fresh = make("hard", n=4), make("hard", n=4)
    for _ in range(250):
        env._begin(np.array([0, 2]))
        env._begin(np.array([1, 3]))
        env._begin(np.arange(4))
        env._begin(np.array([3]))
    env.reset(seed=9)
    fresh.reset(seed=9)
    assert same(drawn(env), drawn(fresh))
    np.testing.assert_array_equal(env.hardware.qpos, fresh.hardware.qpos)
    for name, value in env.obs.items():
        np.testing.assert_array_equal(value, fresh.obs[name])


def test_every_draw_stays_within_its_range(hard):
    nominal = make("none", n=1).quantities()
    ranges = {
        term.quantity: (term._low, term._high, isinstance(term, Scale))
        for term in hard.randomization.terms.values()
    }
    written = {name: [] for name in ranges}
    quantities = hard.quantities()
    assert set(ranges) <= set(quantities)
    recording = {
        name: Quantity(value.nominal, lambda ids, v, name=name: written[name].append(v))
        for name, value in quantities.items()
    }
    randomization = Randomization(terms=hard.randomization.terms)
    randomization.bind(recording)
    rngs = [np.random.default_rng(i) for i in range(4)]
    for _ in range(250):
        randomization.apply(np.arange(4), rngs)
    for name, (low, high, scaled) in ranges.items():
        values, centre = np.concatenate(written[name]), nominal[name].nominal
        assert len(values) == 1000
        with np.errstate(divide="ignore"):
            offset = np.log(values / centre) if scaled else values - centre
        assert (offset >= low - 1e-12).all(), name
        assert (offset <= high + 1e-12).all(), name
        if np.any(low < high):  # and it uses all of it
            assert (np.ptp(offset, axis=0) > 0.9 * (high - low)).all(), name


def test_what_is_read_from_the_worlds_is_what_was_drawn(hard):
    hard.reset(seed=3)
    nominal = make("none", n=1)
    world, plain = drawn(hard), nominal.hardware.model
    joints = slice(0, 6)
    gain = world["actuator_gainprm"][:, :, 0]
    np.testing.assert_array_equal(gain, -world["actuator_biasprm"][:, :, 1])
    factors = {
        "kp": gain / plain.actuator_gainprm[:, 0],
        "damping": world["dof_damping"][:, joints] / plain.dof_damping[joints],
        "dry": world["dof_frictionloss"][:, joints] / plain.dof_frictionloss[joints],
    }
    for name, (low, high) in {
        "kp": (0.7, 1.4), "damping": (0.7, 1.4), "dry": (0.3, 2.0)
    }.items():  # fmt: skip
        assert (factors[name] >= low).all()
        assert (factors[name] <= high).all()
        assert len(np.unique(factors[name])) == 24  # each joint of each env its own
    mass = world["body_mass"][:, plain.body(OBJECT).id] / 0.005
    assert ((mass >= 0.5) & (mass <= 2)).all()
    assert len(np.unique(mass)) == 4
    assert np.abs(world["offset"]).max() <= 0.03
    # The free object's own joint is not a servo: its damping stays.
    np.testing.assert_array_equal(world["dof_damping"][:, 6:], 0)


def test_the_same_seed_draws_the_same(hard):
    hard.reset(seed=[1, 2, 3, 4])
    first = drawn(hard)
    hard.reset(seed=[5, 6, 7, 8])
    second = drawn(hard)
    hard.reset(seed=[4, 3, 2, 1])
    third = {name: value[::-1] for name, value in drawn(hard).items()}
    assert not same(first, second)
    assert same(first, third)


def test_there_is_one_draw_per_env_and_episode(hard):
    hard.reset(seed=1)
    before = drawn(hard)
    for _ in range(5):
        hard.step(np.zeros((4, 6)))
    assert same(before, drawn(hard))
    hard._begin(np.array([1, 2]))
    after = drawn(hard)
    for name in ("body_mass", "pair_friction", "start_pose", "offset"):
        changed = [
            not np.array_equal(before[name][i], after[name][i]) for i in range(4)
        ]
        assert changed == [False, True, True, False], name


@pytest.mark.parametrize("factor", [0.5, 2.0])
def test_a_new_mass_recomputes_what_mujoco_derives(factor):
    env = make("none", n=3)
    world = env.hardware
    quantity = world.quantities()["object_mass"]
    assert quantity.derived
    quantity.write(np.array([1]), np.array([0.005 * factor]))
    world.set_const(np.array([1]))
    env.scene.object_mass *= factor
    compiled = world._build_spec().compile()
    got = drawn(env)
    for name in FIELDS[:5]:
        wanted = np.array(getattr(compiled, name))
        np.testing.assert_allclose(got[name][1], wanted, rtol=1e-9, err_msg=name)
        nominal = np.array(getattr(world.model, name))
        np.testing.assert_array_equal(got[name][0], nominal, err_msg=name)
        np.testing.assert_array_equal(got[name][2], nominal, err_msg=name)
    assert not np.array_equal(got["body_invweight0"][1], got["body_invweight0"][0])


def test_set_const_leaves_the_states_alone():
    env = make("none", n=2)
    env.reset(seed=0)
    for _ in range(5):
        env.step(np.full((2, 6), 0.3))
    before = env.hardware._batch.state.copy()
    env.hardware.set_const(np.array([0]))
    np.testing.assert_array_equal(env.hardware._batch.state, before)


def first_reaction(delay):
    """Physics steps until a servo answers a command, with this delay [s]."""
    env = make_env(
        "randomization=none", "base_policy=zero", "env.control_hz=360", n=2
    ).env
    world = env.hardware
    world.quantities()["action_delay"].write(np.array([1]), np.array([delay]))
    env.reset(seed=0)
    ids = np.arange(2)
    pose = np.tile(env.home_qpos, (2, 1))
    world.arm.reset(ids, pose)
    # The undelayed twin tells what moves by gravity alone.
    reacted = []
    for k in range(40):
        world.arm.step(pose + np.array([0.01, 0, 0, 0, 0, 0]) * np.array([[0], [1]]))
        if abs(world.qvel[1, 0] - world.qvel[0, 0]) > 1e-9:
            reacted.append(k)
    return reacted[0]


@pytest.mark.parametrize("steps", [0, 1, 6, 12, 24, 36])
def test_a_delayed_servo_answers_later(steps):
    assert first_reaction(steps / 360) == steps


def test_a_delayed_servo_holds_its_pose_until_the_first_command():
    env = make_env("randomization=none", "base_policy=zero", n=2).env
    env.hardware.quantities()["action_delay"].write(np.array([1]), np.array([0.1]))
    for _ in range(2):  # also after an episode that ended elsewhere
        env.reset(seed=0)
        for _ in range(30):
            env.step(np.zeros((2, 6)))
        qpos = env.hardware.qpos[:, :6]
        np.testing.assert_allclose(qpos[1], qpos[0], atol=1e-6)
        for _ in range(10):
            env.step(np.ones((2, 6)))


def test_a_joint_offset_offsets_what_is_read_and_what_is_obeyed():
    env = make("none", n=2)
    offset = np.array([0.0, 0.02, -0.02, 0.03, 0.0, 0.0])
    env.hardware.quantities()["joint_offset"].write(np.array([1]), offset[None])
    env.reset(seed=0)
    read, _ = env.hardware.arm.read()
    np.testing.assert_allclose(read, np.tile(env.home_qpos, (2, 1)))
    true = env.hardware.qpos[:, :6]
    np.testing.assert_allclose(true[0] - true[1], offset)
    for _ in range(60):
        env.step(np.zeros((2, 6)))
    read, _ = env.hardware.arm.read()
    np.testing.assert_array_equal(env.target_qpos[0], env.target_qpos[1])
    np.testing.assert_allclose(read[0], read[1], atol=0.01)
    np.testing.assert_allclose(true[0] - true[1], offset, atol=0.01)


def test_noise_has_the_deviation_that_was_asked_for():
    typed = ["randomization=default", "base_policy=zero", "env.max_episode_steps=1000"]
    env = make_env(*typed, n=32).env
    env.reset(seed=0)
    seen = {"qpos": [], "qvel": [], "object_pose": []}
    truth = {"qpos": [], "qvel": [], "object_pose": []}
    for _ in range(40):
        env.step(np.zeros((32, 6)))
        qpos, qvel = env.hardware.arm.read()
        for name, value in zip(truth, (qpos, qvel, env.true_pose), strict=True):
            truth[name].append(value.copy())
            seen[name].append(env.obs[name])
    error = {name: np.array(seen[name]) - np.array(truth[name]) for name in seen}
    assert error["qpos"].std() == pytest.approx(0.005, rel=0.05)
    assert error["qvel"].std() == pytest.approx(0.05, rel=0.05)
    assert error["object_pose"][..., :3].std() == pytest.approx(0.001, rel=0.05)
    assert np.abs(error["qpos"].mean(axis=(0, 1))).max() < 0.001
    norms = np.linalg.norm(np.array(seen["object_pose"])[..., 3:], axis=-1)
    np.testing.assert_allclose(norms, 1)


# ---- mistakes ----


class Wrong(Term):
    def draw(self, nominal, uniform):
        return np.zeros((len(uniform), 3))

    def ends(self, nominal):
        return nominal, nominal


def bind(term):
    quantity = Quantity(np.zeros(6), lambda ids, values: None)
    Randomization(terms={"mine": term}).bind({"joint_offset": quantity})


NAN = float("nan")
MISTAKES = {
    "quantity=gravity: expected one of joint_offset": lambda: bind(
        Scale(quantity="gravity", low=1, high=2, per_element=False)
    ),
    r"\(3,\): expected the shape \(6,\) of": lambda: bind(
        Wrong(quantity="joint_offset")
    ),
    r"expected the shape \(6,\) of joint_offset": lambda: bind(
        Shift(quantity="joint_offset", low=[0, 0], high=[1, 1])
    ),
    "low 2, high 1": lambda: Scale(quantity="m", low=2, high=1, per_element=True),
    "low >= 0.001": lambda: Scale(quantity="m", low=0, high=1, per_element=True),
    "low nan": lambda: Scale(quantity="m", low=NAN, high=1, per_element=True),
    "high nan": lambda: Shift(quantity="m", low=0, high=NAN),
    r"low \[0, 2\], high 1": lambda: Shift(quantity="m", low=[0, 2], high=1),
    r"low \[0, 2\], high \[3\]": lambda: Shift(quantity="m", low=[0, 2], high=[3]),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_is_named(message):
    with pytest.raises(ConfigError, match=message) as error:
        MISTAKES[message]()
    assert len(str(error.value).splitlines()) == 1


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("randomization.terms.grip.quantity=friction/finger", "friction/finger_sheet"),
        ("randomization.terms.grip.low=3", "low <= high"),
        ("randomization.terms.start_pose.low=[0,0]", "start_pose"),
        ("randomization.terms.action_delay.high=0.2", "action_delay between 0 and 0.1"),
        (
            "randomization.terms.action_delay.low=-0.01",
            "action_delay between 0 and 0.1",
        ),
    ],
)
def test_a_mistake_in_the_yaml_is_named(typed, message):
    with pytest.raises(Exception) as caught:
        make_env(typed)
    error = user_error(caught.value)
    assert isinstance(error, So101Error)
    assert message in str(error)

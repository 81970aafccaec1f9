"""What differs from episode to episode, and that it never drifts."""

import re

import numpy as np
import pytest
from conftest import make_env
from hydra.errors import InstantiationException

from so101rl.config.messages import user_error
from so101rl.errors import ConfigError
from so101rl.hardware.base import Quantity
from so101rl.randomization.base import Randomization, Term
from so101rl.randomization.scale import Scale
from so101rl.randomization.shift import Shift
from so101rl.scene.scene import OBJECT

DERIVED = ("body_mass", "body_inertia", "body_invweight0", "dof_invweight0", "dof_M0")
FIELDS = (
    *DERIVED,
    "dof_damping",
    "dof_frictionloss",
    "actuator_gainprm",
    "actuator_biasprm",
    "actuator_delay",
    "pair_friction",
)


def make(randomization, *typed, n=2):
    """A batch of plain tasks."""
    return make_env(
        f"randomization={randomization}", "base_policy=zero", *typed, n=n
    ).env


def drawn(env):
    """Everything of the worlds of `env` that may have been drawn, by name."""
    models = [env.hardware._batch.get_model(i) for i in range(env.num_envs)]
    found = {name: [np.array(getattr(m, name)) for m in models] for name in FIELDS}
    found |= {"noise": env._noise.std, "start_pose": env._starts}
    found["offset"] = env.hardware.arm.offset
    return {name: np.array(value) for name, value in found.items()}


def same(first, second):
    return all(np.array_equal(first[name], second[name]) for name in first)


@pytest.fixture(scope="module")
def hard():
    return make("hard", n=4)


def test_hundreds_of_resets_do_not_drift(hard):
    """After them, a seed draws what it draws in a fresh environment."""
    fresh = make("hard", n=4)
    for _ in range(60):
        for ids in ([0, 2], [1, 3], [0, 1, 2, 3], [3]):
            hard._begin(np.array(ids))
    hard.reset(seed=9)
    fresh.reset(seed=9)
    assert same(drawn(hard) | hard.obs, drawn(fresh) | fresh.obs)
    np.testing.assert_array_equal(hard.hardware.qpos, fresh.hardware.qpos)


def test_every_draw_stays_within_its_range_and_uses_it(hard):
    terms = hard.randomization.terms
    written = {term.quantity: [] for term in terms.values()}
    quantities = hard.quantities()
    randomization = Randomization(terms=terms)
    randomization.bind(
        {
            name: Quantity(
                value.nominal, lambda _, v, name=name: written[name].append(v)
            )
            for name, value in quantities.items()
        }
    )
    rngs = [np.random.default_rng(i) for i in range(4)]
    for _ in range(250):
        randomization.apply(np.arange(4), rngs)
    for term in terms.values():
        values = np.concatenate(written[term.quantity])
        nominal, low, high = quantities[term.quantity].nominal, term._low, term._high
        assert len(values) == 1000
        if isinstance(term, Scale):
            offset = np.log(values / nominal)
            ends = nominal * np.exp(low), nominal * np.exp(high)
        else:
            offset, ends = values - nominal, (nominal + low, nominal + high)
        np.testing.assert_allclose(term.ends(nominal), ends)
        assert (offset >= low - 1e-12).all(), term.quantity
        assert (offset <= high + 1e-12).all(), term.quantity
        assert (np.ptp(offset, axis=0) >= 0.9 * (high - low)).all(), term.quantity


def test_what_is_read_from_the_worlds_is_what_was_drawn(hard):
    hard.reset(seed=3)
    world, plain = drawn(hard), hard.hardware._build_spec().compile()
    gain = world["actuator_gainprm"][:, :, 0]
    np.testing.assert_array_equal(gain, -world["actuator_biasprm"][:, :, 1])
    damping, dry = world["dof_damping"], world["dof_frictionloss"]
    for factor, low, high in (
        (gain / plain.actuator_gainprm[:, 0], 0.7, 1.4),
        (damping[:, :6] / plain.dof_damping[:6], 0.7, 1.4),
        (dry[:, :6] / plain.dof_frictionloss[:6], 0.3, 2.0),
    ):
        assert low <= factor.min() < factor.max() <= high
        assert len(np.unique(factor)) == 24  # each joint of each env its own
    mass = world["body_mass"][:, plain.body(OBJECT).id] / 0.005
    assert 0.5 <= mass.min() < mass.max() <= 2
    assert len(np.unique(mass)) == 4
    assert 0 < np.abs(world["offset"]).max() <= 0.03
    # The free object's own joint is not a servo: its damping stays.
    np.testing.assert_array_equal(damping[:, 6:], 0)


def test_a_seed_draws_the_same_once_per_env_and_episode(hard):
    hard.reset(seed=[1, 2, 3, 4])
    first = drawn(hard)
    hard.reset(seed=[4, 3, 2, 1])
    before = drawn(hard)
    assert not same(first, before)
    assert same(first, {name: value[::-1] for name, value in before.items()})
    for _ in range(5):
        hard.step(np.zeros((4, 6)))
    assert same(before, drawn(hard))
    hard._begin(np.array([1, 2]))
    after = drawn(hard)
    for name in ("body_mass", "pair_friction", "start_pose", "offset"):
        changed = (before[name] != after[name]).reshape(4, -1).any(axis=1)
        assert list(changed) == [False, True, True, False], name


def test_a_new_mass_recomputes_what_mujoco_derives_and_no_state():
    env = make("none", n=3)
    for _ in range(5):
        env.step(np.full((3, 6), 0.3))
    world, nominal = env.hardware, drawn(env)
    before = world.state.copy()
    quantity = world.quantities()["object_mass"]
    quantity.write(np.array([1]), np.array([0.0025]))
    world.set_const(np.array([1]))
    np.testing.assert_array_equal(world.state, before)
    env.scene.object_mass = 0.0025
    compiled, got = world._build_spec().compile(), drawn(env)
    assert quantity.derived
    for name in DERIVED:
        wanted = np.array(getattr(compiled, name))
        np.testing.assert_allclose(got[name][1], wanted, rtol=1e-9, err_msg=name)
        np.testing.assert_array_equal(got[name][[0, 2]], nominal[name][[0, 2]])
    assert not np.array_equal(got["body_invweight0"][1], got["body_invweight0"][0])


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
    read, _ = env.hardware.arm.read()
    np.testing.assert_array_equal(env.target_qpos[0], env.target_qpos[1])
    np.testing.assert_allclose(read[0], read[1], atol=0.01)
    np.testing.assert_allclose(true[0] - true[1], offset, atol=0.01)


def test_noise_has_the_configured_deviation():
    env = make("default", n=32)
    env.reset(seed=0)
    errors = {"qpos": [], "qvel": [], "object_pose": []}
    for _ in range(40):
        env.step(np.zeros((32, 6)))
        truth = (*env.hardware.arm.read(), env.true_pose)
        for (name, error), value in zip(errors.items(), truth, strict=True):
            error.append(env.obs[name] - value)
        quaternions = env.obs["object_pose"][:, 3:]
        np.testing.assert_allclose(np.linalg.norm(quaternions, axis=1), 1)
    position = np.array(errors["object_pose"])[..., :3]
    assert np.std(errors["qpos"]) == pytest.approx(0.005, rel=0.05)
    assert np.std(errors["qvel"]) == pytest.approx(0.05, rel=0.05)
    assert position.std() == pytest.approx(0.001, rel=0.05)
    assert np.abs(np.mean(errors["qpos"], axis=(0, 1))).max() < 0.001


# ---- mistakes ----


class Wrong(Term):
    def draw(self, nominal, uniform):
        return np.zeros((len(uniform), 3))

    def ends(self, nominal):
        return nominal, nominal


def bind(term):
    quantity = Quantity(np.zeros(6), lambda ids, values: None, low=-1, high=2)
    Randomization(terms={"mine": term}).bind({"joint_offset": quantity})


NAN = float("nan")
TERM = {"quantity": "joint_offset"}
MISTAKES = {
    "quantity=gravity: expected one of joint_offset": lambda: bind(
        Scale(quantity="gravity", low=1, high=2, per_element=False)
    ),
    r"\(3,\): expected the shape \(6,\) of": lambda: bind(Wrong(**TERM)),
    r"not fit .* expected the shape \(6,\) of joint_offset": lambda: bind(
        Shift(**TERM, low=[0, 0], high=[1, 1])
    ),
    "low 2, high 1": lambda: Scale(**TERM, low=2, high=1, per_element=True),
    "low >= 0.001": lambda: Scale(**TERM, low=0, high=1, per_element=True),
    "low nan": lambda: Scale(**TERM, low=NAN, high=1, per_element=True),
    r"low \[0, 2\], high 1": lambda: Shift(**TERM, low=[0, 2], high=1),
    r"low \[0, 2\], high \[3\]": lambda: Shift(**TERM, low=[0, 2], high=[3]),
    "joint_offset between -1 and 2": lambda: bind(Shift(**TERM, low=0, high=3)),
    "-3 to 0: expected a joint_offset": lambda: bind(Shift(**TERM, low=-3, high=0)),
    "friction/finger_sheet": lambda: make(
        "hard", "randomization.terms.grip.quantity=friction/finger"
    ),
}


@pytest.mark.parametrize("message", MISTAKES)
def test_a_mistake_is_named(message):
    with pytest.raises((ConfigError, InstantiationException)) as caught:
        MISTAKES[message]()
    error = user_error(caught.value)
    assert isinstance(error, ConfigError)
    assert re.search(message, str(error))
    assert len(str(error).splitlines()) == 1

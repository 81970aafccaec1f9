"""The physics that everything rests on: press, drag, hold, and the last safety check.

The finger is led along a line by angles found beforehand, with gravity and the press
fed forward as an offset of the servo targets, so no policy has a part in it.
"""

import mujoco
import numpy as np
import pytest
from conftest import make_env
from reaching import reach

from so101rl.hardware.base import SafetyLimits, UnsafeCommandError
from so101rl.robots import so101
from so101rl.robots.kinematics import Kinematics

SAG = {"official": 0.3, "bam_7v4": 4.0, "bam_12v": 2.0}  # [degrees] at home, at most
START = np.array([0.19, -0.09])  # [m] centre of the sheet
THICK = 0.001  # [m] of the sheet
HZ = 360  # here a control step is one physics step, so that nothing is missed
ONE = np.array([0])


def still(*typed, n=1):
    """A batch of plain tasks in which nothing is random."""
    return make_env("randomization=none", "base_policy=zero", *typed, n=n).env


@pytest.fixture(scope="module", params=SAG)
def task(request):
    """One world per servo model, controlled as fast as it is simulated."""
    made = still(f"hardware.actuator={request.param}", f"env.control_hz={HZ}")
    made.data = mujoco.MjData(made.hardware.model)  # to look at, see `seen`
    return made


@pytest.fixture(scope="module")
def ways():
    """Angles from 20 mm above the sheet's centre down to it and 80 mm along y."""
    line = [[START[0], START[1] + y, THICK] for y in np.linspace(0, 0.08, 20)]
    kinematics, found = Kinematics(n=1), [np.array([-0.4, -0.1, 0.5, 0.9, 0.0, -0.15])]
    for point in [[*START, 0.02], *line]:
        found.append(reach(kinematics, np.array(point), found[-1], 1.35))
    return np.array(found[1:])


def pressed(qpos, kp, force):
    """Targets (k, 6) that hold the arm at `qpos` (k, 6), pressing by `force` [N]."""
    tool = Kinematics(n=len(qpos)).tool(qpos)
    torque = tool.gravity
    torque[:, :5] -= force * tool.jac[:, 2, :5]
    return qpos + torque / kp


def follow(task, targets):
    """Send targets (k, 6) one by one; what can be seen after the last."""
    for target in targets:
        sent = task.hardware.arm.step(target[None])
    return seen(task, sent[0])


def seen(task, ctrl):
    """Heights and positions [m] and contact forces [N] of the world now."""
    world, model, data = task.hardware, task.hardware.model, task.data
    data.qpos[:], data.qvel[:] = world.qpos[0], world.qvel[0]
    data.ctrl[:] = ctrl
    mujoco.mj_forward(model, data)
    names = ("fixed_fingertip", "table", "object")
    finger, table, sheet = (model.geom(name).id for name in names)
    force = dict.fromkeys(names, 0.0)
    for i, contact in enumerate(data.contact):
        pair = {contact.geom1, contact.geom2}
        if finger in pair:
            wrench = np.zeros(6)
            mujoco.mj_contactForce(model, data, i, wrench)
            force[model.geom((pair - {finger}).pop()).name] += wrench[0]
    signs = np.array([[1, 1, -1], [-1, 1, -1], [-1, -1, -1], [1, -1, -1]])
    turned = data.geom_xmat[sheet].reshape(3, 3)
    corners = data.geom_xpos[sheet] + (signs * model.geom_size[sheet]) @ turned.T
    return {
        "finger_height": mujoco.mj_geomDistance(model, data, finger, table, 1, None),
        "tip": data.site("fingertip").xpos.copy(),
        "sheet": world.qpos[0, 6:].copy(),
        "corner_heights": corners[:, 2],
        "on_table": force["table"],
        "on_sheet": force["object"],
    }


def start(task, ways):
    """Put the arm above the sheet, at rest."""
    task.hardware.arm.reset(ONE, ways[:1])
    task.place(ONE, np.array([[*START, 0.0]]))


def press_down(task, ways, force, hold=0.1):
    """Press on the sheet from above; what can be seen after `hold` [s]."""
    kp = task.hardware.actuator.kp
    start(task, ways)
    follow(task, pressed(np.linspace(ways[0], ways[1], HZ // 2), kp, 0.0))
    rise = [pressed(ways[1:2], kp, f)[0] for f in np.linspace(0, force, HZ // 4)]
    return follow(task, [*rise, *rise[-1:] * int(hold * HZ)])


# ---- the sheet ----


def test_a_sheet_that_nobody_touches_stays(task, ways):
    start(task, ways)
    hold = pressed(ways[:1], task.hardware.actuator.kp, 0.0)[0]
    swing = np.array([0.3, 0, 0, 0, 1.0, 0.1])  # pan, roll and jaw: the tip stays high
    settled = follow(task, [hold] * (HZ // 10))["sheet"]
    waves = np.sin(np.arange(2 * HZ) / HZ * 2 * np.pi)
    moved = follow(task, [hold] * (2 * HZ) + list(hold + waves[:, None] * swing))[
        "sheet"
    ]
    assert np.abs(moved - settled)[:3].max() < 1e-5
    assert np.abs(moved - settled)[3:].max() < 1e-4


def test_a_dragged_sheet_comes_along_and_is_not_pierced(task, ways):
    kp, speed = task.hardware.actuator.kp, 0.1  # [m/s]
    press_down(task, ways, 3.0)
    steps, path = int(0.08 / speed * HZ), ways[1:]
    at, each = np.linspace(0, len(path) - 1, steps), np.arange(len(path))
    targets = np.stack([np.interp(at, each, path[:, j]) for j in range(6)], axis=1)
    views = [follow(task, target[None]) for target in pressed(targets, kp, 3.0)]
    tip = views[-1]["tip"] - views[0]["tip"]
    sheet = views[-1]["sheet"][:3] - views[0]["sheet"][:3]
    assert tip[1] > 0.06  # a soft arm lags behind
    assert sheet[1] > 0.85 * tip[1]
    assert abs(sheet[0] - tip[0]) < 0.006
    heights = np.array([view["finger_height"] for view in views])
    assert np.abs(heights - THICK).max() < 0.0003  # neither pierced nor lost
    corners = np.array([view["corner_heights"] for view in views])
    # A sliding sheet hops a little: the solver's friction pushes surfaces apart.
    assert corners.min() > -0.001
    assert corners.max() < 0.0015
    assert np.mean(corners.max(axis=1) < 0.0005) > 0.9


def test_a_pressed_sheet_stays_and_is_left_lying(task, ways):
    kp = task.hardware.actuator.kp
    early = press_down(task, ways, 3.0, hold=0.5)
    late = follow(task, np.repeat(pressed(ways[1:2], kp, 3.0), HZ // 2, axis=0))
    assert np.abs(late["sheet"] - early["sheet"])[:3].max() < 5e-5
    # What little it moved, it moved with the fingertip: a soft arm yields.
    assert np.linalg.norm(late["sheet"][:2] - START) < 0.002
    last = follow(task, pressed(np.linspace(ways[1], ways[0], HZ), kp, 0.0))
    assert last["finger_height"] > 0.01
    assert np.linalg.norm((last["sheet"] - late["sheet"])[:2]) < 5e-4
    for view in (late, last):
        assert view["corner_heights"] == pytest.approx(0, abs=2e-5)


def test_the_press_goes_into_the_table_and_a_share_into_the_sheet(task, ways):
    views = {force: press_down(task, ways, force, hold=0.2) for force in (2, 6)}
    if task.hardware.actuator.kp < 100:  # a stiff servo answers 0.1 mm with newtons
        for force, view in views.items():
            assert view["on_table"] == pytest.approx(force, rel=0.05)
    grown = {name: views[6][name] - views[2][name] for name in ("on_table", "on_sheet")}
    assert grown["on_table"] > 1
    assert 1 / 190 < grown["on_sheet"] / grown["on_table"] < 1 / 110


def test_a_hammering_arm_neither_flips_nor_throws_the_sheet():
    env = make_env("randomization=default", n=16)
    env.reset(seed=0)
    rng, action, poses = np.random.default_rng(0), np.zeros((16, 6)), []
    for _ in range(150):
        action = np.clip(0.9 * action + rng.normal(0, 0.5, (16, 6)), -1, 1)
        env.step(action)
        poses.append(env.env.hardware.object.read())
    height, _, x, y = np.array(poses)[..., 2:6].transpose(2, 0, 1)
    assert np.abs(height).max() < 0.005
    assert np.degrees(2 * np.hypot(x, y)).max() < 5  # tilt of a flat sheet


# ---- the arm ----


@pytest.mark.parametrize("preset", SAG)
def test_the_arm_holds_its_home_and_where_gravity_pulls_most(preset):
    env = still(f"hardware.actuator={preset}")
    stretched = np.array([0.0, 1.34, -1.34, -0.08, 0.0, -0.15])  # straight ahead
    for home, sag in (
        (env.home_qpos.copy(), np.radians(SAG[preset])),
        (stretched, env.leash),
    ):
        env.home_qpos[:] = home
        env.reset(seed=0)
        poses = []
        for _ in range(200):
            env.step(np.zeros((1, 6)))
            poses.append(env.hardware.qpos[0, :6].copy())
        np.testing.assert_array_equal(env.target_qpos[0], home)  # no leash, no drift
        assert np.abs(poses - home).max() < sag
        assert np.abs(poses[-1] - poses[100]).max() < 0.005
    assert np.abs(env.kinematics.tool(home[None]).gravity).max() > 0.85


def test_targets_are_leashed_to_the_measured_angles(ways):
    env = still(f"env.home_qpos={ways[0].tolist()}")
    env.reset(seed=0)
    into_the_table, widest = np.array([[0.0, 1, 0, 0, 0, 0]]), 0.0
    for _ in range(60):
        measured, _ = env.hardware.arm.read()
        env.step(into_the_table)
        widest = max(widest, np.abs(env.target_qpos - measured).max())
    assert widest == pytest.approx(env.leash)


# ---- safety ----

LOW, HIGH = so101.joint_limits()
LIMITS = SafetyLimits(lower=LOW, upper=HIGH, max_step=0.1)


@pytest.mark.parametrize(
    ("target", "previous", "sent"),
    [
        (np.full(6, 0.5), np.zeros(6), np.full(6, 0.1)),  # a step at most
        (np.full(6, 0.05), np.zeros(6), np.full(6, 0.05)),
        (LOW - 1, LOW + 0.05, LOW),  # within the joints
        (HIGH + 1, HIGH - 0.05, HIGH),
    ],
)
def test_a_target_is_clipped_to_a_step_and_to_the_joints(target, previous, sent):
    got = LIMITS.apply(np.tile(target, (2, 1)), np.tile(previous, (2, 1)))
    np.testing.assert_allclose(got, np.tile(sent, (2, 1)))


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_target_that_is_not_finite_is_refused(wrong):
    target = np.zeros((3, 6))
    target[1, 4] = wrong
    with pytest.raises(UnsafeCommandError, match="arm 1 is not finite"):
        LIMITS.apply(target, np.zeros((3, 6)))


def test_the_simulated_arm_obeys_the_limits_and_returns_what_it_sent():
    env = still(n=4)
    env.reset(seed=0)
    arm, rng = env.hardware.arm, np.random.default_rng(0)
    previous = np.tile(env.home_qpos, (4, 1))
    for _ in range(50):
        sent = arm.step(rng.uniform(-4, 4, (4, 6)))
        assert (sent >= LOW).all()
        assert (sent <= HIGH).all()
        assert np.abs(sent - previous).max() <= 4.7 / 30 + 1e-12
        previous = sent
    with pytest.raises(UnsafeCommandError):
        arm.step(np.full((4, 6), np.nan))
    np.testing.assert_array_equal(arm.step(previous), previous)

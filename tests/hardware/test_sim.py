"""The physics that everything rests on: press, drag, hold, and the last safety check.

The finger is led along a line by angles found beforehand, with gravity and the press
fed forward as an offset of the servo targets, so no policy has a part in it.
"""

import mujoco
import numpy as np
import pytest
from conftest import make_env

from so101rl.hardware.base import SafetyLimits, UnsafeCommandError
from so101rl.robots import so101
from so101rl.robots.kinematics import Kinematics, damped_least_squares

PRESETS = ("official", "bam_7v4", "bam_12v")
START = np.array([0.19, -0.09])  # [m] centre of the sheet
THICK = 0.001  # [m] of the sheet
HZ = 360  # here a control step is one physics step, so that nothing is missed
ONE = np.array([0])


@pytest.fixture(scope="module", params=PRESETS)
def task(request):
    """One world per servo model, controlled as fast as it is simulated."""
    made = make_env(
        "randomization=none",
        "base_policy=zero",
        f"hardware.actuator={request.param}",
        f"env.control_hz={HZ}",
        n=1,
    ).env
    made.data = mujoco.MjData(made.hardware.model)  # to look at, see `seen`
    return made


@pytest.fixture(scope="module")
def above():
    """Angles with the fingertip 20 mm above the sheet's centre."""
    return angles(np.array([[*START, 0.02]]))[0]


def angles(points):
    """Joint angles (k, 6) that bring the fingertip to `points` (k, 3)."""
    kinematics, found = Kinematics(n=1), []
    qpos = np.array([[-0.4, -0.1, 0.5, 0.9, 0.0, -0.15]])
    for point in points:
        for _ in range(50):
            tool = kinematics.tool(qpos)
            jac = np.zeros((1, 4, 5))
            jac[:, :3], jac[:, 3, 1:4] = tool.jac[:, :3, :5], 0.1
            pitch = 0.1 * (1.35 - qpos[0, 1:4].sum())
            error = np.array([[*(point - tool.pos[0]), pitch]])
            qpos[:, :5] += np.clip(damped_least_squares(jac, error, 1e-6), -0.2, 0.2)
        found.append(qpos[0].copy())
    return np.array(found)


def pressed(qpos, kp, force):
    """Targets (k, 6) that hold the arm at `qpos` (k, 6), pressing by `force` [N]."""
    kinematics = Kinematics(n=len(qpos))
    torque = kinematics.tool(qpos).gravity
    torque[:, :5] -= force * kinematics.tool(qpos).jac[:, 2, :5]
    return qpos + torque / kp


def start(task, qpos):
    """Lay the sheet down and put the arm at `qpos` (6,)."""
    task.hardware.arm.reset(ONE, qpos[None])
    task.place(ONE, np.array([[*START, 0.0]]))


def follow(task, targets):
    """Send targets (k, 6) one by one; returns what can be seen then."""
    for target in targets:
        sent = task.hardware.arm.step(target[None])
    return seen(task, sent[0])


def watch(task, targets):
    """Send targets (k, 6) one by one; returns what could be seen after each."""
    return [follow(task, target[None]) for target in targets]


def seen(task, ctrl):
    """Heights and positions [m] and contact forces [N] of the world now."""
    world, model = task.hardware, task.hardware.model
    data = task.data
    data.qpos[:], data.qvel[:] = world.qpos[0], world.qvel[0]
    data.ctrl[:] = ctrl
    mujoco.mj_forward(model, data)
    finger, table, sheet = (
        model.geom(name).id for name in ("fixed_fingertip", "table", "object")
    )
    force = dict.fromkeys(["table", "object"], 0.0)
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


def line(first, last, steps):
    """Points (steps, ...) from `first` to `last`."""
    return np.linspace(first, last, steps)


def press_down(task, above, force, hold=0.1):
    """Set the finger down on the sheet; returns what can be seen then."""
    kp = task.hardware.actuator.kp
    start(task, above)
    down = angles(np.array([[*START, THICK]]))[0]
    follow(task, pressed(line(above, down, HZ // 2), kp, 0.0))
    rise = [pressed(down[None], kp, f)[0] for f in line(0, force, HZ // 4)]
    follow(task, rise)
    return follow(task, np.repeat(rise[-1:], int(hold * HZ), axis=0))


# ---- the sheet ----


def test_a_sheet_that_nobody_touches_stays(task, above):
    start(task, above)
    hold = pressed(above[None], task.hardware.actuator.kp, 0.0)[0]
    swing = np.array([0.3, 0, 0, 0, 1.0, 0.1])  # pan, roll and jaw: the tip stays high
    waves = np.sin(np.arange(10 * HZ) / HZ * 2 * np.pi)
    settled = follow(task, np.repeat(hold[None], HZ // 10, axis=0))["sheet"]
    for k, wave in enumerate(waves):
        task.hardware.arm.step((hold + (k > 5 * HZ) * wave * swing)[None])
    moved = task.hardware.qpos[0, 6:] - settled
    assert np.abs(moved[:3]).max() < 1e-5
    assert np.abs(moved[3:]).max() < 1e-4


@pytest.mark.parametrize("speed", [0.05, 0.15])
def test_a_dragged_sheet_comes_along_and_is_not_pierced(task, above, speed):
    length, kp = 0.08, task.hardware.actuator.kp
    press_down(task, above, 3.0)
    path = line([*START, THICK], [START[0], START[1] + length, THICK], 20)
    ways = angles(path)
    steps = int(length / speed * HZ)
    at = line(0, len(ways) - 1, steps)
    targets = [np.interp(at, np.arange(len(ways)), ways[:, j]) for j in range(6)]
    views = watch(task, pressed(np.stack(targets, axis=1), kp, 3.0))
    tip = views[-1]["tip"] - views[0]["tip"]
    sheet = views[-1]["sheet"][:3] - views[0]["sheet"][:3]
    assert tip[1] > 0.06  # a soft arm lags behind
    assert sheet[1] > 0.85 * tip[1]
    assert abs(sheet[0] - tip[0]) < 0.006
    heights = np.array([view["finger_height"] for view in views])
    assert heights.min() > THICK - 0.0003  # not pierced
    assert heights.max() < THICK + 0.0003  # and not lost
    corners = np.array([view["corner_heights"] for view in views])
    # A sliding sheet hops a little: the solver's friction pushes surfaces apart.
    assert corners.min() > -0.001
    assert corners.max() < 0.0015
    assert np.mean(corners.max(axis=1) < 0.0005) > 0.9


def test_pressing_does_not_shift_the_sheet(task, above):
    early, late = (press_down(task, above, 3.0, hold=hold) for hold in (1.0, 2.0))
    assert np.abs(late["sheet"] - early["sheet"])[:3].max() < 5e-5
    # What little it moved, it moved with the fingertip: a soft arm yields.
    assert np.linalg.norm(late["sheet"][:2] - START) < 0.002
    assert late["corner_heights"] == pytest.approx(0, abs=2e-5)


def test_letting_go_leaves_the_sheet(task, above):
    view, kp = press_down(task, above, 3.0), task.hardware.actuator.kp
    down = angles(np.array([[*START, THICK]]))[0]
    last = follow(task, pressed(line(down, above, HZ), kp, 0.0))
    assert last["finger_height"] > 0.01
    assert np.linalg.norm((last["sheet"] - view["sheet"])[:2]) < 5e-4
    assert last["corner_heights"] == pytest.approx(0, abs=2e-5)


def test_the_press_goes_into_the_table_and_a_share_into_the_sheet(task, above):
    views = {force: press_down(task, above, force, hold=0.2) for force in (2, 6)}
    if task.hardware.actuator.kp < 100:  # a stiff servo answers 0.1 mm with newtons
        for force, view in views.items():
            assert view["on_table"] == pytest.approx(force, rel=0.05)
    grown = {name: views[6][name] - views[2][name] for name in ("on_table", "on_sheet")}
    assert grown["on_table"] > 1
    assert 1 / 190 < grown["on_sheet"] / grown["on_table"] < 1 / 110


def test_a_hammering_arm_neither_flips_nor_throws_the_sheet():
    env = make_env("randomization=default", n=16)
    env.reset(seed=0)
    rng, action = np.random.default_rng(0), np.zeros((16, 6))
    for _ in range(150):
        action = np.clip(0.9 * action + rng.normal(0, 0.5, (16, 6)), -1, 1)
        env.step(action)
        pose = env.env.hardware.qpos[:, 6:]
        assert np.abs(pose[:, 2]).max() < 0.005
        tilt = 2 * np.linalg.norm(pose[:, 4:6], axis=1)  # [rad], of a flat sheet
        assert np.degrees(tilt).max() < 5


# ---- the arm ----

SAG = {"official": 0.3, "bam_7v4": 4.0, "bam_12v": 2.0}  # [degrees] at home, at most


@pytest.mark.parametrize("preset", PRESETS)
def test_the_arm_holds_its_home_pose(preset):
    env = make_env("randomization=none", "base_policy=zero",
                   f"hardware.actuator={preset}", n=1).env  # fmt: skip
    env.reset(seed=0)
    poses = []
    for _ in range(300):
        env.step(np.zeros((1, 6)))
        poses.append(env.hardware.qpos[0, :6].copy())
    np.testing.assert_array_equal(
        env.target_qpos[0], env.home_qpos
    )  # no leash, no drift
    sag = np.degrees(np.abs(poses - env.home_qpos))
    assert sag.max() < SAG[preset]
    assert np.degrees(np.abs(poses[-1] - poses[100])).max() < 0.2


@pytest.mark.parametrize("preset", PRESETS)
def test_the_arm_holds_itself_where_gravity_pulls_most(preset):
    stretched = [0.0, 1.34, -1.34, -0.08, 0.0, -0.15]  # straight ahead
    env = make_env("randomization=none", "base_policy=zero",
                   f"hardware.actuator={preset}", f"env.home_qpos={stretched}",
                   n=1).env  # fmt: skip
    torque = np.abs(env.kinematics.tool(env.home_qpos[None]).gravity).max()
    env.reset(seed=0)
    for _ in range(200):
        env.step(np.zeros((1, 6)))
    before = env.hardware.qpos[0, :6].copy()
    for _ in range(100):
        env.step(np.zeros((1, 6)))
    assert torque > 0.85
    assert np.abs(env.hardware.qpos[0, :6] - before).max() < 0.005
    assert np.abs(before - stretched).max() < env.leash


def test_targets_are_leashed_to_the_measured_angles(above):
    env = make_env("randomization=none", "base_policy=zero",
                   f"env.home_qpos={above.tolist()}", n=1).env  # fmt: skip
    env.reset(seed=0)
    into_the_table, widest = np.array([[0.0, 1, 0, 0, 0, 0]]), 0.0
    for _ in range(60):
        measured, _ = env.hardware.arm.read()
        env.step(into_the_table)
        widest = max(widest, np.abs(env.target_qpos - measured).max())
    assert widest == pytest.approx(env.leash)


# ---- safety ----


@pytest.fixture(scope="module")
def limits():
    low, high = so101.joint_limits()
    return SafetyLimits(lower=low, upper=high, max_step=0.1)


def test_a_target_moves_no_further_than_allowed(limits):
    sent = limits.apply(np.full((2, 6), 0.5), np.zeros((2, 6)))
    np.testing.assert_allclose(sent, 0.1)
    assert limits.apply(np.full((2, 6), 0.05), np.zeros((2, 6))) == pytest.approx(0.05)


@pytest.mark.parametrize("side", [-1, 1])
def test_a_target_stays_within_the_joints(limits, side):
    end = limits.upper if side > 0 else limits.lower
    sent = limits.apply(end[None] + side, end[None] - side * 0.05)
    np.testing.assert_array_equal(sent[0], end)


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_a_target_that_is_no_number_is_refused(limits, wrong):
    target = np.zeros((3, 6))
    target[1, 4] = wrong
    with pytest.raises(UnsafeCommandError, match="arm 1"):
        limits.apply(target, np.zeros((3, 6)))


def test_the_simulated_arm_obeys_them_and_says_what_it_sent():
    env = make_env("randomization=none", "base_policy=zero", n=4).env
    env.reset(seed=0)
    arm, rng = env.hardware.arm, np.random.default_rng(0)
    low, high = so101.joint_limits()
    previous = np.tile(env.home_qpos, (4, 1))
    for _ in range(50):
        sent = arm.step(rng.uniform(-4, 4, (4, 6)))
        assert (sent >= low).all()
        assert (sent <= high).all()
        assert np.abs(sent - previous).max() <= 4.7 / 30 + 1e-12
        previous = sent
    with pytest.raises(UnsafeCommandError):
        arm.step(np.full((4, 6), np.nan))
    np.testing.assert_array_equal(arm.step(previous), previous)

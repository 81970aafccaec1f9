"""Physics with no policy in it: press, drag, hold; and the last safety check."""

import mujoco
import numpy as np
import pytest
from conftest import make_env
from reaching import reach

from so101rl.hardware.base import UnsafeCommandError
from so101rl.robots import so101
from so101rl.robots.kinematics import Kinematics

SAG = {"official": 0.3, "bam_7v4": 4.0, "bam_12v": 2.0}  # [degrees] at home, at most
START = np.array([0.19, -0.09])  # [m] centre of the sheet
THICK = 0.001  # [m] of the sheet
HZ = 360  # here a control step is one physics step, so that nothing is missed
CORNERS = np.array([[1, 1, -1], [-1, 1, -1], [-1, -1, -1], [1, -1, -1]])
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
    """Send targets (k, 6) one by one; what can be seen after each."""
    world, model, data, views = task.hardware, task.hardware.model, task.data, []
    names = ("fixed_fingertip", "table", "object")
    finger, table, sheet = (model.geom(name).id for name in names)
    for target in targets:
        world.arm.step(target[None])
        data.qpos[:] = world.qpos[0]
        mujoco.mj_kinematics(model, data)
        turned = data.geom_xmat[sheet].reshape(3, 3)
        corners = data.geom_xpos[sheet] + (CORNERS * model.geom_size[sheet]) @ turned.T
        gap = mujoco.mj_geomDistance(model, data, finger, table, 1, None)
        tip = data.site("fingertip").xpos.copy()
        views.append((gap, tip, world.qpos[0, 6:].copy(), corners[:, 2]))
    return [np.array(each) for each in zip(*views, strict=True)]


def test_a_sheet_stays_until_it_is_dragged_and_where_it_was_left(task, ways):
    kp, above, down, path = task.hardware.actuator.kp, ways[0], ways[1], ways[1:]
    task.hardware.arm.reset(ONE, above[None])
    task.place(ONE, np.array([[*START, 0.0]]))
    # Nobody touches it: pan, roll and jaw swing, the tip stays high.
    waves = np.sin(np.arange(HZ) / HZ * 2 * np.pi)
    swing = waves[:, None] * np.array([0.3, 0, 0, 0, 1.0, 0.1])
    _, _, sheet, _ = follow(task, pressed(above[None], kp, 0.0) + swing)
    assert np.abs(sheet[-1] - sheet[HZ // 10]).max() < 2e-5
    # Pressed on, it stays. What little it moves, it moves with a soft arm's fingertip.
    follow(task, pressed(np.linspace(above, down, HZ // 2), kp, 0.0))
    rise = [pressed(down[None], kp, force)[0] for force in np.linspace(0, 3, HZ // 4)]
    follow(task, rise)
    _, _, sheet, corners = follow(task, rise[-1:] * HZ)
    assert np.abs(sheet[-1] - sheet[HZ // 2])[:3].max() < 5e-5
    assert np.linalg.norm(sheet[-1, :2] - START) < 0.002
    assert corners[-1] == pytest.approx(0, abs=2e-5)
    # Dragged at 0.1 m/s, it comes along and is not pierced.
    at, each = np.linspace(0, len(path) - 1, int(0.8 * HZ)), np.arange(len(path))
    targets = np.stack([np.interp(at, each, path[:, j]) for j in range(6)], axis=1)
    gaps, tips, sheet, corners = follow(task, pressed(targets, kp, 3.0))
    tip, came = tips[-1] - tips[0], sheet[-1] - sheet[0]
    assert tip[1] > 0.06  # a soft arm lags behind
    assert came[1] > 0.85 * tip[1]
    assert abs(came[0] - tip[0]) < 0.006
    assert np.abs(gaps - THICK).max() < 0.0003  # neither pierced nor lost
    # A sliding sheet hops a little: the solver's friction pushes surfaces apart.
    assert corners.min() > -0.001
    assert corners.max() < 0.0015
    assert np.mean(corners.max(axis=1) < 0.0005) > 0.9
    # Let go, it is left lying.
    follow(task, pressed(path[-1:].repeat(HZ // 4, axis=0), kp, 3.0))
    lift = np.linspace(path[-1], path[-1] + (above - down), HZ)
    gaps, _, sheet, corners = follow(task, pressed(lift, kp, 0.0))
    assert gaps[-1] > 0.01
    assert np.linalg.norm((sheet[-1] - sheet[0])[:2]) < 1e-3
    assert corners[-1] == pytest.approx(0, abs=2e-5)


def test_a_hammering_arm_neither_flips_nor_throws_the_sheet():
    env = make_env("randomization=default", n=16)
    env.reset(seed=0)
    rng, action, poses = np.random.default_rng(0), 0, []
    for _ in range(150):
        action = np.clip(0.9 * action + rng.normal(0, 0.5, (16, 6)), -1, 1)
        env.step(action)
        poses.append(env.env.true_pose)
    height, _, x, y = np.array(poses)[..., 2:6].transpose(2, 0, 1)
    assert np.abs(height).max() < 0.005
    assert np.degrees(2 * np.hypot(x, y)).max() < 5  # tilt of a flat sheet


@pytest.mark.parametrize("preset", SAG)
def test_the_arm_holds_its_home_and_where_gravity_pulls_most(preset):
    env = still(f"hardware.actuator={preset}")
    stretched = np.array([0.0, 1.34, -1.34, -0.08, 0.0, -0.15])  # straight ahead
    sag = np.radians(SAG[preset])
    for home, most in ((env.home_qpos.copy(), sag), (stretched, env.leash)):
        env.home_qpos[:] = home
        env.reset(seed=0)
        poses = []
        for _ in range(200):
            env.step(np.zeros((1, 6)))
            poses.append(env.hardware.qpos[0, :6].copy())
        np.testing.assert_array_equal(env.target_qpos[0], home)  # no leash, no drift
        assert np.abs(poses - home).max() < most
        assert np.abs(poses[-1] - poses[100]).max() < 0.005
    assert np.abs(env.kinematics.tool(home[None]).gravity).max() > 0.85


def test_commands_are_limited_to_a_step_and_the_joints_and_refused_if_not_finite():
    world, step, (low, high) = still(n=4).hardware, 4.7 / 30, so101.joint_limits()
    zero, arm = np.zeros(6), world.arm
    arm.reset(np.arange(4), np.array([zero, zero, low + 0.05, high - 0.05]))
    target = np.array([zero + 0.5, zero + 0.05, low - 1, high + 1])
    sent = arm.step(target)
    np.testing.assert_allclose(sent, [zero + step, zero + 0.05, low, high])
    np.testing.assert_array_equal(world._ctrl, sent)
    for wrong in (np.nan, np.inf, -np.inf):
        target[1, 4] = wrong
        with pytest.raises(UnsafeCommandError, match="arm 1 is not finite"):
            arm.step(target)
    np.testing.assert_array_equal(arm.step(sent), sent)

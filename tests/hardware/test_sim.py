"""Physics with no policy in it: press, drag, hold, pinch; the last safety check."""

import mujoco
import numpy as np
import pytest
from conftest import make_env
from reaching import reach

from so101rl.hardware.base import UnsafeCommandError
from so101rl.robots import so101
from so101rl.robots.kinematics import Kinematics

SAG = {"official": 0.3, "bam_7v4": 4.0, "bam_12v": 2.0}  # [degrees] at home, at most
START, THICK = np.array([0.19, -0.09]), 0.001  # [m] centre of the sheet
HZ = 360  # here a control step is one physics step, so that nothing is missed
CORNERS = np.array([[1, 1, -1], [-1, 1, -1], [-1, -1, -1], [1, -1, -1]])
ONE, LEASH = np.array([0]), 0.12
EDGE, OPEN, SHUT = 0.025, 0.5, -0.17  # of a cube [m]; of the moving jaw [rad]


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
    kinematics, found = (
        Kinematics(so101.SO101(), n=1),
        [np.array([-0.4, -0.1, 0.5, 0.9, 0.0, -0.15])],
    )
    for y, z in [(0, 0.02), *((y, THICK) for y in np.linspace(0, 0.08, 20))]:
        point = np.array([START[0], START[1] + y, z])
        found.append(reach(kinematics, point, found[-1], 1.35))
    return np.array(found[1:])


def pressed(qpos, kp, force):
    """Targets (k, 6) that hold the arm at `qpos` (k, 6), pressing by `force` [N]."""
    tool = Kinematics(so101.SO101(), n=len(qpos)).tool(qpos)
    torque = tool.gravity
    torque[:, :5] -= force * tool.jac[:, 2, :5]
    return qpos + torque / kp


def follow(task, targets):
    """Send targets (k, 6) one by one; what can be seen after each."""
    world, model, data, views = task.hardware, task.hardware.model, task.data, []
    finger, table = (model.geom(name).id for name in ("fixed_fingertip", "table"))
    sheet = data.geom("object")
    for target in targets:
        world.arm.step(target[None])
        data.qpos[:] = world.qpos[0]
        mujoco.mj_kinematics(model, data)
        around = (CORNERS * model.geom("object").size) @ sheet.xmat.reshape(3, 3).T
        gap = mujoco.mj_geomDistance(model, data, finger, table, 1, None)
        tip, corners = data.site("fingertip").xpos.copy(), sheet.xpos + around
        views.append((gap, tip, world.qpos[0, 6:].copy(), corners[:, 2]))
    return [np.array(each) for each in zip(*views, strict=True)]


def test_a_sheet_stays_until_it_is_dragged_and_where_it_was_left(task, ways):
    kp, above, down, path = task.hardware.actuator.kp, ways[0], ways[1], ways[1:]
    task.hardware.arm.reset(ONE, above[None])
    task.place(ONE, np.array([[*START, 0.0]]))
    # Nobody touches it: pan, roll and jaw swing, the tip stays high.
    waves = np.sin(np.linspace(0, 2 * np.pi, HZ))
    swing = np.outer(waves, [0.3, 0, 0, 0, 1.0, 0.1])
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
    assert -0.001 < corners.min() < corners.max() < 0.0015
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
    rng, action = np.random.default_rng(0), 0
    for _ in range(150):
        action = np.clip(0.9 * action + rng.normal(0, 0.5, (16, 6)), -1, 1)
        env.step(action)
        height, _, x, y = env.env.poses["object"][:, 2:6].T
        assert np.abs(height).max() < 0.005
        assert np.degrees(2 * np.hypot(x, y)).max() < 5  # tilt of a flat sheet


@pytest.mark.parametrize("preset", SAG)
def test_the_arm_holds_its_home_and_where_gravity_pulls_most(preset):
    env = still(f"hardware.actuator={preset}")
    stretched = np.array([0.0, 1.34, -1.34, -0.08, 0.0, -0.15])  # straight ahead
    sag = np.radians(SAG[preset])
    for home, most in ((env.home_qpos.copy(), sag), (stretched, LEASH)):
        env.home_qpos[:] = home
        env.reset(seed=0)
        steps = (env.step(np.zeros((1, 6))) for _ in range(200))
        poses = [env.hardware.qpos[0, :6].copy() for _ in steps]
        np.testing.assert_array_equal(env.target_qpos[0], home)  # no leash, no drift
        assert np.abs(poses - home).max() < most
        assert np.abs(poses[-1] - poses[100]).max() < 0.005
    assert np.abs(env.kinematics.tool(home[None]).gravity).max() > 0.85


def test_commands_are_limited_to_a_step_and_the_joints_and_refused_if_not_finite():
    world, step, (low, high) = still(n=4).hardware, 4.7 / 30, so101.SO101().limits
    zero, arm = np.zeros(6), world.arm
    arm.reset(np.arange(4), np.array([zero, zero, low + 0.05, high - 0.05]))
    target = np.array([zero + 0.5, zero + 0.05, low - 1, high + 1])
    sent = arm.step(target)
    np.testing.assert_allclose(sent, [zero + step, zero + 0.05, low, high])
    np.testing.assert_array_equal(world._ctrl, sent)
    target[1, 4] = np.nan
    with pytest.raises(UnsafeCommandError, match="arm 1 is not finite"):
        arm.step(target)
    np.testing.assert_array_equal(arm.step(sent), sent)


@pytest.mark.parametrize("preset", SAG)
def test_a_pinched_cube_is_lifted(preset):
    hard = {"friction": 1.0, "spin": 0.004, "margin": 0, "solref": "[0.006,1.0]"}
    hard["solimp"] = "[0.98,0.999,0.0005,0.5,2.0]"
    grips = [f"pairs.{f}_sheet.{k}={hard[k]}" for f in ("finger", "jaw") for k in hard]
    part = "parts.object"
    cube = [f"{part}.size={[EDGE] * 3}", f"{part}.mass=0.02", "iterations=50", *grips]
    scene = [f"env.scene.{word}" for word in cube]
    task = still(f"hardware.actuator={preset}", "env.check_feasibility=false", *scene)
    world = task.hardware
    kinematics = Kinematics(so101.SO101(), n=1, site=so101.GRIPPERFRAME)
    poses = [np.array([0.0, -0.3, 0.6, 1.2, 0.0, OPEN])]
    for point in np.linspace([0.2, 0, EDGE / 2], [0.2, 0, 0.08], 16):
        poses.append(reach(kinematics, point, poses[-1], np.pi / 2))
    down, *lift = poses[1:]
    tip, rot = kinematics.fk(down[None])
    across = rot[0, :, 2]  # from the fixed finger to the moving one
    x, y, _ = tip[0] + (EDGE / 2 + 0.001) * across
    world.arm.reset(ONE, down[None])
    task.place(ONE, np.array([[x, y, np.arctan2(across[1], across[0])]]))
    targets = [[*down[:5], jaw] for jaw in np.linspace(OPEN, SHUT, 20).repeat(2)]
    for pose, steps in [(down, 15), *((pose, 4) for pose in lift), (lift[-1], 45)]:
        targets += [[*pose[:5], SHUT]] * steps
    for target in targets:
        gravity = kinematics.tool(world.arm.read()[0]).gravity
        world.arm.step(target + gravity / world.actuator.kp)
    tip, cube = (
        kinematics.fk(world.arm.read()[0])[0][0],
        world.objects.read()["object"][0, :3],
    )
    assert cube[2] > 0.07  # off the table by more than twice its size
    assert np.linalg.norm(cube - tip) < EDGE  # and still between the fingers

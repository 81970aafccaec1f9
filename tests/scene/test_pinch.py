"""The two fingers can pinch a cube and lift it, as pick-and-place needs."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import config_of
from hydra.utils import instantiate
from reaching import reach

from so101rl.robots import so101
from so101rl.robots.kinematics import Kinematics

EDGE, MASS = 0.025, 0.02  # [m], [kg]
OPEN, SHUT = 0.5, -0.17  # [rad] of the moving jaw
FRICTIONS = {"table": 0.6, "fixed_fingertip": 1.0, "moving_fingertip": 1.0}
CFG = config_of()


@pytest.fixture
def world(request):
    """The scene of `paper_push` with a cube that both fingertips may touch."""
    scene = instantiate(CFG.env.scene, _convert_="all")
    hard = replace(scene.pairs["sheet_table"], spin=0.004)
    pairs = {
        name: replace(hard, geoms=(name, "object"), friction=friction)
        for name, friction in FRICTIONS.items()
    }
    cube = {"object_size": (EDGE,) * 3, "object_mass": MASS, "iterations": 50}
    build = instantiate(CFG.hardware, actuator=request.param, _convert_="all")
    sizes = {"n": 1, "n_threads": 1, "control_hz": 30, "physics_hz": 360}
    return build(scene=replace(scene, pairs=pairs, **cube), home_qpos=[0] * 6, **sizes)


@pytest.mark.parametrize("world", CFG.hardware.presets, indirect=True)
def test_a_pinched_cube_is_lifted(world):
    kinematics, one = Kinematics(n=1, site=so101.GRIPPERFRAME), np.array([0])
    poses = [np.array([0.0, -0.3, 0.6, 1.2, 0.0, OPEN])]
    for height in np.linspace(EDGE / 2, 0.08, 16):
        point = np.array([0.2, 0.0, height])
        poses.append(reach(kinematics, point, poses[-1], np.pi / 2))
    down, *lift = poses[1:]
    tip, rot = kinematics.fk(down[None])
    across = rot[0, :, 2]  # from the fixed finger to the moving one
    x, y, _ = tip[0] + (EDGE / 2 + 0.001) * across
    yaw = np.arctan2(across[1], across[0]) / 2
    world.arm.reset(one, down[None])
    world.object.place(
        one, np.array([[x, y, EDGE / 2, np.cos(yaw), 0, 0, np.sin(yaw)]])
    )
    targets = [[*down[:5], jaw] for jaw in np.linspace(OPEN, SHUT, 20).repeat(2)]
    for pose, steps in [(down, 15), *((pose, 4) for pose in lift), (lift[-1], 45)]:
        targets += [[*pose[:5], SHUT]] * steps
    for target in targets:
        gravity = kinematics.tool(world.arm.read()[0]).gravity
        world.arm.step(target + gravity / world.actuator.kp)
    tip, cube = kinematics.fk(world.arm.read()[0])[0][0], world.object.read()[0, :3]
    assert cube[2] > 0.07  # off the table by more than twice its size
    assert np.linalg.norm(cube - tip) < EDGE  # and still between the fingers

"""The two fingers can pinch a cube and lift it, as pick-and-place needs."""

from dataclasses import replace

import mujoco
import numpy as np
import pytest
from conftest import config_of
from hydra.utils import instantiate
from reaching import reach

from so101rl.robots import so101
from so101rl.robots.kinematics import Kinematics
from so101rl.scene.scene import Actuator, ContactPair, Scene, build_spec

EDGE = 0.025
OPEN, SHUT = 0.5, -0.17
CFG = config_of()
PRESETS = CFG.hardware.presets


def cube() -> Scene:
    """The scene of `paper_push` with a cube that both fingertips may touch."""
    scene = instantiate(CFG.env.scene, _convert_="all")
    touch = {"spin": 0.004, "margin": 0.0, "solref": (0.006, 1.0)}
    touch |= {"solimp": (0.95, 0.99, 0.001, 0.5, 2.0)}
    frictions = {"table": 0.6, "fixed_fingertip": 1.0, "moving_fingertip": 1.0}
    pairs = {
        name: ContactPair(geoms=(name, "object"), friction=friction, **touch)
        for name, friction in frictions.items()
    }
    size = {"object_size": (EDGE,) * 3, "object_mass": 0.02, "impratio": 10.0}
    return replace(scene, pairs=pairs, iterations=50, **size)


@pytest.mark.parametrize("preset", PRESETS)
def test_a_pinched_cube_is_lifted(preset):
    actuator = Actuator(**PRESETS[preset])
    spec = build_spec(cube(), actuator, timestep=1 / 360, home_qpos=np.zeros(6))
    model = spec.compile()
    data = mujoco.MjData(model)
    kinematics = Kinematics(n=1, site=so101.GRIPPERFRAME)

    def follow(target: np.ndarray, control_steps: int) -> None:
        for _ in range(control_steps):
            gravity = kinematics.tool(data.qpos[None, :6]).gravity[0]
            data.ctrl[:] = target + gravity / actuator.kp
            mujoco.mj_step(model, data, 12)

    heights = [EDGE / 2, *np.linspace(EDGE / 2, 0.08, 15)]
    poses = [np.array([0.0, -0.3, 0.6, 1.2, 0.0, OPEN])]
    for height in heights:
        point = np.array([0.2, 0.0, height])
        poses.append(reach(kinematics, point, poses[-1], np.pi / 2))
    data.qpos[:6] = data.ctrl[:] = poses[1]
    mujoco.mj_kinematics(model, data)
    fingers = [data.geom(f"{jaw}_fingertip").xpos for jaw in ("fixed", "moving")]
    across = data.body("gripper").xmat.reshape(3, 3)[:, 0]
    centre = data.site("gripperframe").xpos + (EDGE / 2 + 0.001) * across
    between = np.mean(fingers, axis=0)
    assert np.linalg.norm((between - centre)[:2]) < EDGE  # it stands between them
    yaw = np.arctan2(across[1], across[0]) / 2
    data.qpos[6:] = [*centre[:2], EDGE / 2, np.cos(yaw), 0, 0, np.sin(yaw)]
    for jaw in np.linspace(OPEN, SHUT, 20):
        follow(np.array([*poses[1][:5], jaw]), 2)
    follow(np.array([*poses[1][:5], SHUT]), 15)
    for pose in poses[2:]:
        follow(np.array([*pose[:5], SHUT]), 4)
    follow(np.array([*poses[-1][:5], SHUT]), 45)
    tip = kinematics.fk(data.qpos[None, :6])[0][0]
    assert data.qpos[8] > 0.07  # off the table by more than twice its size
    assert np.linalg.norm(data.qpos[6:9] - tip) < EDGE  # and still between the fingers

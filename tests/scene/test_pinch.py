"""The two fingers can pinch a cube and lift it: what pick-and-place will need."""

import mujoco
import numpy as np
import pytest

from so101rl.config.compose import compose
from so101rl.robots import so101
from so101rl.robots.kinematics import Kinematics, damped_least_squares
from so101rl.scene.scene import Actuator, ContactPair, Scene, build_spec

EDGE, MASS = 0.025, 0.02
OPEN, SHUT = 0.5, -0.17
PRESETS = compose().hardware.presets


def pair(first: str, second: str, friction: float) -> ContactPair:
    return ContactPair(
        geoms=(first, second),
        friction=friction,
        spin=0.004,
        margin=0.0,
        solref=(0.006, 1.0),
        solimp=(0.95, 0.99, 0.001, 0.5, 2.0),
    )


def cube_scene() -> Scene:
    return Scene(
        object_size=(EDGE,) * 3,
        object_mass=MASS,
        object_rgba=(1, 0, 0, 1),
        square_centre=(0.25, 0.06),
        square_side=0.1,
        tape_width=0.01,
        tape_rgba=(1, 0, 0, 1),
        impratio=10.0,
        iterations=50,
        pairs={
            "cube_table": pair("object", "table", 0.6),
            "fixed": pair("fixed_fingertip", "object", 1.0),
            "moving": pair("moving_fingertip", "object", 1.0),
        },
    )


def looking_down(
    kinematics: Kinematics, point: np.ndarray, qpos: np.ndarray
) -> np.ndarray:
    """Joint angles that bring the gripperframe to `point` with the gripper down."""
    qpos = qpos.copy()
    for _ in range(60):  # enough from a pose nearby
        tool = kinematics.tool(qpos[None])
        task = np.vstack([tool.jac[0, :3, :5], 0.1 * tool.jac[0, 5, :5], np.zeros(5)])
        task[4, 1:4] = 0.1
        pitch = 0.1 * (np.pi / 2 - qpos[1:4].sum())
        error = np.array([*(point - tool.pos[0]), 0.0, pitch])
        step = damped_least_squares(task[None], error[None], 1e-6)[0]
        qpos[:5] += np.clip(step, -0.1, 0.1)
    return qpos


@pytest.mark.parametrize("preset", PRESETS)
def test_a_pinched_cube_is_lifted(preset):
    actuator = Actuator(**PRESETS[preset])
    spec = build_spec(cube_scene(), actuator, timestep=1 / 360, home_qpos=np.zeros(6))
    model = spec.compile()
    data = mujoco.MjData(model)
    kinematics = Kinematics(n=1, site=so101.GRIPPERFRAME)

    def follow(target: np.ndarray, control_steps: int) -> None:
        for _ in range(control_steps):
            gravity = kinematics.tool(data.qpos[None, :6]).gravity[0]
            data.ctrl[:] = target + gravity / actuator.kp
            mujoco.mj_step(model, data, 12)

    start = np.array([0.0, -0.3, 0.6, 1.2, 0.0, OPEN])
    qpos = looking_down(kinematics, np.array([0.2, 0.0, EDGE / 2]), start)
    data.qpos[:6] = data.ctrl[:] = qpos
    mujoco.mj_kinematics(model, data)
    between = (
        data.geom("fixed_fingertip").xpos + data.geom("moving_fingertip").xpos
    ) / 2
    across = data.body("gripper").xmat.reshape(3, 3)[:, 0]
    centre = data.site("gripperframe").xpos + (EDGE / 2 + 0.001) * across
    assert np.linalg.norm(between[:2] - centre[:2]) < EDGE  # it stands between them
    yaw = np.arctan2(across[1], across[0]) / 2
    data.qpos[6:] = [*centre[:2], EDGE / 2, np.cos(yaw), 0, 0, np.sin(yaw)]
    for jaw in np.linspace(OPEN, SHUT, 20):
        qpos[5] = jaw
        follow(qpos, 2)
    follow(qpos, 15)
    for height in np.linspace(EDGE / 2, 0.08, 15):
        qpos = looking_down(kinematics, np.array([0.2, 0.0, height]), qpos)
        follow(qpos, 4)
    follow(qpos, 45)
    tip = kinematics.fk(data.qpos[None, :6])[0][0]
    assert data.qpos[8] > 0.07  # off the table by more than twice its size
    assert np.linalg.norm(data.qpos[6:9] - tip) < EDGE  # and still between the fingers

"""Inverse kinematics for tests that lead the arm along points."""

import numpy as np

from so101rl.robots.kinematics import Kinematics, damped_least_squares


def reach(
    kinematics: Kinematics, point: np.ndarray, qpos: np.ndarray, pitch: float
) -> np.ndarray:
    """Joint angles (6,) near `qpos` that bring the tool to `point` (3,), at its yaw."""
    qpos = qpos.copy()
    for _ in range(60):  # enough from a pose nearby
        tool = kinematics.tool(qpos[None])
        task = np.vstack([tool.jac[0, :3, :5], 0.1 * tool.jac[0, 5, :5], np.zeros(5)])
        task[4, 1:4] = 0.1
        wrong_pitch = 0.1 * (pitch - qpos[1:4].sum())
        error = np.array([*(point - tool.pos[0]), 0.0, wrong_pitch])
        step = damped_least_squares(task[None], error[None], 1e-6)[0]
        qpos[:5] += np.clip(step, -0.1, 0.1)
    return qpos

"""Gaussian measurement noise."""

import numpy as np

from so101rl.hardware.base import Quantity, row_writer

# Which of an environment's standard normal numbers perturb which measurement.
COLUMNS = {
    "qpos": slice(0, 6),
    "qvel": slice(6, 12),
    "object_position": slice(12, 15),
    "object_yaw": slice(15, 16),
}
N_NOISE = 16


class Noise:
    """Measurement noise of `n` environments, zero until a randomization sets it.

    Args:
        n: number of environments.
    """

    def __init__(self, n: int):
        self.std = np.zeros((n, N_NOISE))

    def quantities(self) -> dict[str, Quantity]:
        """Return the standard deviations, which a randomization can change."""
        return {
            f"noise/{name}": Quantity(np.array(0.0), row_writer(self.std, columns))
            for name, columns in COLUMNS.items()
        }

    def disturb(
        self,
        ids: np.ndarray | slice,
        draw: np.ndarray,
        *,
        qpos: np.ndarray,
        qvel: np.ndarray,
        pose: np.ndarray,
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return `qpos`, `qvel` and `pose` with noise added.

        Args:
            ids: the environments (k,).
            draw: standard normal numbers (k, 16).
            qpos: joint angles (k, 6) [rad].
            qvel: joint velocities (k, 6) [rad/s].
            pose: position [m] and quaternion wxyz of the object (k, 7).
        """
        error = self.std[ids] * draw
        pose = _rotated(pose, error[:, -1])
        pose[:, :3] += error[:, COLUMNS["object_position"]]
        qpos = qpos + error[:, COLUMNS["qpos"]]
        return qpos, qvel + error[:, COLUMNS["qvel"]], pose


def _rotated(pose: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Return poses (k, 7) rotated about their vertical axes by `angle` (k,) [rad]."""
    rotated = pose.copy()
    cos, sin = np.cos(angle / 2), np.sin(angle / 2)
    w, x, y, z = pose.T[3:]
    rotated[:, 3] = cos * w - sin * z
    rotated[:, 4] = cos * x - sin * y
    rotated[:, 5] = cos * y + sin * x
    rotated[:, 6] = cos * z + sin * w
    return rotated

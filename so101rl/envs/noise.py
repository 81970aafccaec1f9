"""Errors of what is measured: Gaussian, each with its own standard deviation."""

from collections.abc import Callable

import numpy as np

from so101rl.hardware.base import Quantity

# Which of an environment's standard normal numbers disturb what.
COLUMNS = {
    "qpos": slice(0, 6),
    "qvel": slice(6, 12),
    "object_position": slice(12, 15),
    "object_yaw": slice(15, 16),
}
N_NOISE = 16


class Noise:
    """Measurement noise of `n` environments, none until a randomization sets it.

    Args:
        n: number of environments.
    """

    def __init__(self, n: int):
        self.std = np.zeros((n, N_NOISE))

    def quantities(self) -> dict[str, Quantity]:
        """The standard deviations, to be drawn for each episode."""
        return {
            f"noise/{name}": Quantity(np.array(0.0), self._writer(columns))
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
        """What the sensors of the environments `ids` say instead of the truth.

        Args:
            ids: which environments (k,).
            draw: standard normal numbers (k, 16).
            qpos: joint angles (k, 6) [rad].
            qvel: joint velocities (k, 6) [rad/s].
            pose: position [m] and quaternion wxyz of the object (k, 7).
        """
        error = self.std[ids] * draw
        pose = _turned(pose, error[:, -1])
        pose[:, :3] += error[:, COLUMNS["object_position"]]
        qpos = qpos + error[:, COLUMNS["qpos"]]
        return qpos, qvel + error[:, COLUMNS["qvel"]], pose

    def _writer(self, columns: slice) -> Callable[[np.ndarray, np.ndarray], None]:
        def write(ids: np.ndarray, values: np.ndarray) -> None:
            self.std[ids, columns] = values[:, None]

        return write


def _turned(pose: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Poses (k, 7) turned about the vertical through them by `angle` (k,) [rad]."""
    turned = pose.copy()
    cos, sin = np.cos(angle / 2), np.sin(angle / 2)
    w, x, y, z = pose.T[3:]
    turned[:, 3] = cos * w - sin * z
    turned[:, 4] = cos * x - sin * y
    turned[:, 5] = cos * y + sin * x
    turned[:, 6] = cos * z + sin * w
    return turned

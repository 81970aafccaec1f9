"""Gaussian measurement noise."""

from collections.abc import Mapping, Sequence

import numpy as np

from so101rl.hardware.base import Quantity, row_writer


class Noise:
    """Measurement noise of `n` environments, zero until a randomization sets it.

    Args:
        n: number of environments.
        n_joints: number of joints.
        objects: names of the objects whose poses are measured.

    Attributes:
        size: standard normal numbers that one environment needs per observation.
    """

    def __init__(self, n: int, n_joints: int, objects: Sequence[str]):
        self._objects = tuple(objects)
        sizes = {"qpos": n_joints, "qvel": n_joints}
        for name in self._objects:
            sizes |= {f"{name}_position": 3, f"{name}_yaw": 1}
        ends = np.cumsum([0, *sizes.values()])
        # Which of an environment's normal numbers perturb which measurement.
        self._columns = {
            name: slice(int(a), int(b))
            for name, a, b in zip(sizes, ends[:-1], ends[1:], strict=True)
        }
        self.size = int(ends[-1])
        self.std = np.zeros((n, self.size))

    def quantities(self) -> dict[str, Quantity]:
        """Return the standard deviations, which a randomization can change."""
        return {
            f"noise/{name}": Quantity(np.array(0.0), row_writer(self.std, columns))
            for name, columns in self._columns.items()
        }

    def disturb(
        self,
        ids: np.ndarray | slice,
        draw: np.ndarray,
        *,
        qpos: np.ndarray,
        qvel: np.ndarray,
        poses: Mapping[str, np.ndarray],
    ) -> tuple[np.ndarray, np.ndarray, dict[str, np.ndarray]]:
        """Return `qpos`, `qvel` and `poses` with noise added.

        Args:
            ids: the environments (k,).
            draw: standard normal numbers (k, size).
            qpos: joint angles (k, j) [rad].
            qvel: joint velocities (k, j) [rad/s].
            poses: position [m] and quaternion wxyz (k, 7) by object.
        """
        error, noisy = self.std[ids] * draw, {}
        for name in self._objects:
            pose = _rotated(poses[name], error[:, self._columns[f"{name}_yaw"]][:, 0])
            pose[:, :3] += error[:, self._columns[f"{name}_position"]]
            noisy[name] = pose
        qpos = qpos + error[:, self._columns["qpos"]]
        return qpos, qvel + error[:, self._columns["qvel"]], noisy


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

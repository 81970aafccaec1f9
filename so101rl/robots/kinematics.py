"""Batched forward kinematics, Jacobians and gravity torques from joint angles alone.

They need no simulated scene, so the real arm uses them too. MuJoCo's native
batch computes them on a model of the bare arm.
"""

from typing import NamedTuple

import mujoco
import numpy as np
from mujoco import batch

from so101rl.arrays import clip
from so101rl.robots.robot import Robot

ARMS_PER_THREAD = 128  # with fewer, starting a thread costs more than it saves
REACH_ITERATIONS = 300  # enough to converge from one end of the workspace to another


class ToolState(NamedTuple):
    """Pose, Jacobian and gravity torques of the tool.

    Attributes:
        pos: position (n, 3) [m] in the frame of the arm's base.
        rot: rotation matrix (n, 3, 3), columns are the tool's axes.
        jac: Jacobian (n, 6, j): three rows [m/rad] for the position, three rows
            [rad/rad] for the rotation, one column per joint.
        gravity: joint torques (n, j) [N m] that balance gravity on the bare arm.
    """

    pos: np.ndarray
    rot: np.ndarray
    jac: np.ndarray
    gravity: np.ndarray


class Kinematics:
    """Forward kinematics, Jacobian and gravity of `n` arms with `j` joints each.

    Args:
        robot: the arm.
        n: largest number of arms per call.
        site: name of another site than the robot's tip.
        n_threads: largest number of simulation threads.
    """

    def __init__(
        self, robot: Robot, *, n: int, site: str | None = None, n_threads: int = 1
    ):
        self.model = robot.bare_model()
        # No contact matters here, and without constraints a pass takes 2/3 of the time.
        self.model.opt.disableflags |= int(mujoco.mjtDisableBit.mjDSBL_CONSTRAINT)
        self._site = self.model.site(site or robot.tip).id
        self._body = int(self.model.site_bodyid[self._site])
        threads = max(1, min(n_threads, n // ARMS_PER_THREAD))
        self._batch = batch.Batch(self.model, n, threads)
        self._qpos = self._batch.bind("qpos")
        self._pos = self._batch.bind("site_xpos")
        self._rot = self._batch.bind("site_xmat")
        self._gravity = self._batch.bind("qfrc_bias")

    def fk(self, qpos: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return tool positions (n, 3) [m] and rotations (n, 3, 3) at `qpos` (n, j)."""
        self._forward(qpos, mujoco.mjtStage.mjSTAGE_POS)
        return self._pose(len(qpos))

    def tool(self, qpos: np.ndarray) -> ToolState:
        """Return the tool's state at `qpos` (n, j) [rad]."""
        ids = self._forward(qpos, mujoco.mjtStage.mjSTAGE_VEL)
        pos, rot = self._pose(len(qpos))
        jac = np.concatenate(self._batch.jac(self._body, pos, ids), axis=1)
        return ToolState(pos, rot, jac, self._gravity[: len(qpos)].copy())

    def closest(self, points: np.ndarray, qpos: np.ndarray) -> np.ndarray:
        """Return the reachable positions (k, 3) [m] nearest to `points`.

        Damped least squares within the joint limits.

        Args:
            points: target positions (k, 3) [m].
            qpos: initial joint angles (j,) [rad].
        """
        lower, upper = self.model.jnt_range.T
        angles = np.tile(qpos, (len(points), 1))
        for _ in range(REACH_ITERATIONS):
            tool = self.tool(angles)
            step = damped_least_squares(tool.jac[:, :3], points - tool.pos, 1e-3)
            angles = clip(angles + clip(step, -0.1, 0.1), lower, upper)
        return self.fk(angles)[0]

    def _forward(self, qpos: np.ndarray, stage: mujoco.mjtStage) -> np.ndarray | None:
        """Run MuJoCo up to `stage` at `qpos` (n, j); return their ids, None for all."""
        n = len(qpos)
        if n > len(self._qpos):
            raise ValueError(
                f"kinematics was built for {len(self._qpos)} arms, got {n}"
            )
        self._qpos[:n] = qpos
        ids = None if n == len(self._qpos) else np.arange(n)
        self._batch.forward(ids, stage)
        return ids

    def _pose(self, n: int) -> tuple[np.ndarray, np.ndarray]:
        rot = self._rot[:n, self._site].reshape(n, 3, 3)
        return self._pos[:n, self._site].copy(), rot.copy()


def damped_least_squares(
    jac: np.ndarray, error: np.ndarray, damping: float
) -> np.ndarray:
    """Return joint steps that reduce a task error, `J^T (J J^T + damping I)^-1 e`.

    Wampler 1986, IEEE Transactions on Systems, Man, and Cybernetics 16(1).

    Args:
        jac: task Jacobian (n, k, j).
        error: task error (n, k).
        damping: damping factor, in the squared unit of the Jacobian's rows.

    Returns:
        Joint steps (n, j) [rad].
    """
    transposed = jac.transpose(0, 2, 1)
    gram = jac @ transposed + damping * np.eye(jac.shape[1])
    return (transposed @ np.linalg.solve(gram, error[..., None]))[..., 0]

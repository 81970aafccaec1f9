"""Actions are changes of the joint targets."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from so101rl.arrays import clip
from so101rl.control.base import Control
from so101rl.errors import check_length, check_positive
from so101rl.robots.robot import Robot


class JointDelta(Control):
    """One element per joint: the target's change in units of `act_scale`.

    The target integrates the changes and stays within `leash` of the measured angle, so
    a blocked arm does not wind up.

    Args:
        robot: the robot; its joints name the action's elements.
        n_envs: unused.
        act_scale: target change per unit action and control step [rad], one number or
            one per joint.
        leash: largest distance of a target from the measured angle [rad].
    """

    def __init__(
        self,
        *,
        robot: Robot,
        n_envs: int,
        act_scale: float | Sequence[float],
        leash: float,
    ):
        del n_envs
        one = not isinstance(act_scale, Sequence)
        scales: Any = [act_scale] if one else act_scale
        if len(scales) != 1:
            check_length("env.act_scale", scales, robot.n_joints)
        for scale in scales:
            check_positive({"env.act_scale": scale})
        check_positive({"env.control.leash": leash})
        self.names = robot.joints
        self._scale, self._leash = np.array(scales, float), leash

    def command(
        self, action: np.ndarray, *, measured: np.ndarray, target: np.ndarray
    ) -> np.ndarray:
        wanted = target + self._scale * action
        return clip(wanted, measured - self._leash, measured + self._leash)

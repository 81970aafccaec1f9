"""Press the sheet and drag it, with damped least squares on the Jacobian.

The fingertip moves above the sheet, goes down, presses, and drags and turns the sheet
into the square. Steps are added to the joint targets, not to the measured angles, so
they accumulate until the arm overcomes dry friction and sag. The press is controlled by
force, estimated from the torque of the servos, `stiffness * (target - angle)`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import InitVar, dataclass

import numpy as np

from so101rl.arrays import clip, norm
from so101rl.base_policies.base import BasePolicy
from so101rl.errors import ConfigError, check_length, check_positive
from so101rl.robots import so101
from so101rl.robots.kinematics import damped_least_squares

ARM = slice(0, so101.ARM_JOINTS)


@dataclass(kw_only=True, eq=False)
class Jacobian(BasePolicy):
    """Press and drag with control of the yaw; without memory.

    Args:
        act_scale: joint-target change of a unit action [rad], one or one per joint.
        stiffness: assumed position gain of the servos [N m/rad].
        kp_xyz: fraction of a position error that one control step corrects.
        kp_ori: fraction of an orientation error that one control step corrects.
        max_step: largest commanded fingertip step [m].
        max_turn: largest commanded turn per control step [rad].
        hover: height of the fingertip while it travels [m].
        above: horizontal distance from the sheet's centre at which to go down [m].
        touch: height of the fingertip below which it touches the sheet [m].
        press: target force of the press [N].
        kp_press: fraction of a force error that one control step corrects.
        pitch: target sum of lift, elbow and wrist angles [rad]; pi/2 points down.
        jaw: target angle of the moving jaw [rad].
        damping: damping of the least squares [m^2].
        lever: weight of one radian of orientation against one metre [m].
        position_tolerance: goal distance at which dragging stops [m].
        yaw_tolerance: yaw error at which turning stops [rad].
        n_envs: unused.
        n_threads: unused.
        action_names: names of the action's elements: the six joints.
    """

    act_scale: float | Sequence[float]
    stiffness: float
    kp_xyz: float
    kp_ori: float
    max_step: float
    max_turn: float
    hover: float
    above: float
    touch: float
    press: float
    kp_press: float
    pitch: float
    jaw: float
    damping: float
    lever: float
    position_tolerance: float
    yaw_tolerance: float
    n_envs: InitVar[int]
    n_threads: InitVar[int]
    action_names: InitVar[Sequence[str]]

    needs = frozenset(
        {
            "qpos",
            "target_qpos",
            "object_pose",
            "goal",
            "tip_in_object",
            "yaw_error",
            "ee_pos",
            "ee_jac",
            "gravity",
        }
    )

    def __post_init__(
        self, n_envs: int, n_threads: int, action_names: Sequence[str]
    ) -> None:
        del n_envs, n_threads
        if tuple(action_names) != so101.JOINTS:
            raise ConfigError(
                "base_policy",
                got="jacobian",
                expected="a policy whose actions are "
                f"{', '.join(action_names)}; jacobian moves the joints of the SO-101",
            )
        signed = ("pitch", "jaw", "act_scale")
        positive = {k: v for k, v in vars(self).items() if k not in signed}
        check_positive({f"base_policy.{k}": v for k, v in positive.items()})
        scales = np.atleast_1d(self.act_scale).tolist()
        if len(scales) != 1:
            check_length("base_policy.act_scale", scales, len(so101.JOINTS))
        for scale in scales:
            check_positive({"base_policy.act_scale": scale})
        self._scale = np.asarray(self.act_scale, float)

    def act(self, obs: Mapping[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        del ids
        step, turn, drag = self._plan(obs)
        delta = self._joint_steps(obs["qpos"], obs["ee_jac"], step, turn)
        delta += np.where(drag[:, None], self._press_step(obs), 0.0)
        return clip(delta / self._scale, -1.0, 1.0)

    def _press_step(self, obs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Return joint steps (n, 6) [rad] that correct the vertical force on the tip.

        The servo torque minus gravity is due to the force on the tip, of which only the
        vertical component is controlled.
        """
        torque = self.stiffness * (obs["target_qpos"] - obs["qpos"]) - obs["gravity"]
        down = np.zeros_like(torque)
        down[:, ARM] = obs["ee_jac"][:, 2, ARM]
        size = np.add.reduce(down * down, axis=1)
        force = np.add.reduce(torque * down, axis=1) / size
        missing = self.kp_press * (-self.press - force) / self.stiffness
        return missing[:, None] * down

    def _plan(
        self, obs: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return fingertip steps (n, 3) [m], turns (n,) [rad], drags (n,) bool."""
        tip = obs["ee_pos"]
        to_sheet, height = obs["object_pose"][:, :2] - tip[:, :2], tip[:, 2]
        goal, yaw_error = obs["goal"][:, :2], obs["yaw_error"][:, 0]
        over = norm(to_sheet) < self.above
        on_sheet = np.abs(obs["tip_in_object"][:, :2]).max(axis=1) < 2 * self.above
        drag = (height < self.touch) & on_sheet
        down = drag | over

        step = np.empty((len(height), 3))
        at_goal = norm(goal) < self.position_tolerance
        move = np.where(at_goal[:, None], 0.0, goal)
        xy = self.kp_xyz * np.where(drag[:, None], move, to_sheet)
        xy *= (self.max_step / np.maximum(norm(xy), self.max_step))[:, None]
        step[:, :2] = xy
        z = self.kp_xyz * (np.where(down, 0.0, self.hover) - height)
        step[:, 2] = np.where(drag, 0.0, clip(z, -self.max_step, self.max_step))
        aligned = np.abs(yaw_error) < self.yaw_tolerance
        turn = np.where(drag & ~aligned, -self.kp_ori * yaw_error, 0.0)
        return step, clip(turn, -self.max_turn, self.max_turn), drag

    def _joint_steps(
        self, qpos: np.ndarray, jac: np.ndarray, step: np.ndarray, turn: np.ndarray
    ) -> np.ndarray:
        """Return joint steps (n, 6) [rad] for a step and a turn at constant pitch."""
        n = len(qpos)
        task = np.zeros((n, 5, so101.ARM_JOINTS))
        task[:, :3] = jac[:, :3, ARM]
        task[:, 3] = self.lever * jac[:, 5, ARM]
        task[:, 4, 1:4] = self.lever
        error = np.empty((n, 5))
        error[:, :3] = step
        error[:, 3] = self.lever * turn
        pitch = qpos[:, 1] + qpos[:, 2] + qpos[:, 3]
        error[:, 4] = self.lever * (self.kp_ori * (self.pitch - pitch))
        steps = np.zeros((n, len(so101.JOINTS)))
        steps[:, ARM] = damped_least_squares(task, error, self.damping)
        steps[:, 5] = self.kp_xyz * (self.jaw - qpos[:, 5])
        return steps

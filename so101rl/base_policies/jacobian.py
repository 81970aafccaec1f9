"""Press and drag by damped least squares.

Above the sheet, down on it, and then, with the fingertip pressed on the paper, move so
that the sheet slides and turns into the square. Steps are added to the joint targets,
so dry friction and sag cannot hold the arm off its goal; the press is regulated by
force, which position servos reveal: they pull with `stiffness * (target - angle)`.
"""

from collections.abc import Mapping
from typing import ClassVar

import numpy as np

from so101rl.arrays import clip, norm
from so101rl.base_policies.base import BasePolicy
from so101rl.errors import check_positive
from so101rl.robots import so101
from so101rl.robots.kinematics import damped_least_squares

ARM = slice(0, so101.ARM_JOINTS)


class Jacobian(BasePolicy):
    """Yaw-aware press and drag; it keeps no memory.

    Args:
        act_scale: joint-target change of a unit action [rad].
        stiffness: what the policy believes of the servos' position gain [N m/rad].
        kp_xyz: share of a position error that one control step commands.
        kp_ori: share of an orientation error that one control step commands.
        max_step: largest commanded fingertip step [m].
        max_turn: largest commanded turn per control step [rad].
        hover: height of the fingertip while it travels [m].
        above: horizontal distance from the sheet's centre at which to go down [m].
        touch: height of the fingertip below which it counts as pressed [m].
        press: force of the press [N].
        kp_press: share of a force error that one control step commands.
        pitch: sum of lift, elbow and wrist angles to keep [rad]; pi/2 looks down.
        jaw: angle of the moving jaw to keep [rad].
        damping: damping of the least squares [m^2].
        lever: metres that one radian of orientation weighs as much as [m].
        position_tolerance: goal distance at which dragging stops [m].
        yaw_tolerance: yaw error at which turning stops [rad].
        n_envs: unused.
        n_threads: unused.
    """

    needs: ClassVar[frozenset[str]] = frozenset(
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

    def __init__(
        self,
        *,
        act_scale: float,
        stiffness: float,
        kp_xyz: float,
        kp_ori: float,
        max_step: float,
        max_turn: float,
        hover: float,
        above: float,
        touch: float,
        press: float,
        kp_press: float,
        pitch: float,
        jaw: float,
        damping: float,
        lever: float,
        position_tolerance: float,
        yaw_tolerance: float,
        n_envs: int,
        n_threads: int,
    ):
        del n_envs, n_threads
        gains = {
            "act_scale": act_scale,
            "stiffness": stiffness,
            "kp_xyz": kp_xyz,
            "kp_ori": kp_ori,
            "kp_press": kp_press,
            "max_step": max_step,
            "max_turn": max_turn,
            "hover": hover,
            "above": above,
            "touch": touch,
            "press": press,
            "damping": damping,
            "lever": lever,
            "position_tolerance": position_tolerance,
            "yaw_tolerance": yaw_tolerance,
        }
        check_positive({f"base_policy.{name}": gains[name] for name in gains})
        self._act_scale, self._stiffness = act_scale, stiffness
        self._kp_xyz, self._kp_ori = kp_xyz, kp_ori
        self._max_step, self._max_turn = max_step, max_turn
        self._hover, self._above, self._touch = hover, above, touch
        self._press, self._kp_press = press, kp_press
        self._pitch, self._jaw = pitch, jaw
        self._damping, self._lever = damping, lever
        self._tolerance = position_tolerance, yaw_tolerance

    def act(self, obs: Mapping[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        del ids
        step, turn, drag = self._plan(obs)
        delta = self._joint_steps(obs["qpos"], obs["ee_jac"], step, turn)
        delta += np.where(drag[:, None], self._press_step(obs), 0.0)
        return clip(delta / self._act_scale, -1.0, 1.0)

    def _press_step(self, obs: Mapping[str, np.ndarray]) -> np.ndarray:
        """Joint steps (n, 6) [rad] that bring the fingertip's force to the press.

        The servos pull with stiffness times (target - angle). What gravity does not
        explain of it is the force on the tip; only its vertical part is wanted.
        """
        torque = self._stiffness * (obs["target_qpos"] - obs["qpos"]) - obs["gravity"]
        down = np.zeros_like(torque)
        down[:, ARM] = obs["ee_jac"][:, 2, ARM]
        size = np.add.reduce(down * down, axis=1)
        force = np.add.reduce(torque * down, axis=1) / size
        missing = self._kp_press * (-self._press - force) / self._stiffness
        return missing[:, None] * down

    def _plan(
        self, obs: Mapping[str, np.ndarray]
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Fingertip step (n, 3) [m], turn about z (n,) [rad] and who drags (n,)."""
        tip = obs["ee_pos"]
        to_sheet, height = obs["object_pose"][:, :2] - tip[:, :2], tip[:, 2]
        goal, yaw_error = obs["goal"][:, :2], obs["yaw_error"][:, 0]
        over = norm(to_sheet) < self._above
        on_sheet = np.abs(obs["tip_in_object"][:, :2]).max(axis=1) < 2 * self._above
        drag = (height < self._touch) & on_sheet
        down = drag | over

        step = np.empty((len(height), 3))
        there = norm(goal) < self._tolerance[0]
        move = np.where(there[:, None], 0.0, goal)
        xy = self._kp_xyz * np.where(drag[:, None], move, to_sheet)
        xy *= (self._max_step / np.maximum(norm(xy), self._max_step))[:, None]
        step[:, :2] = xy
        z = self._kp_xyz * (np.where(down, 0.0, self._hover) - height)
        step[:, 2] = np.where(drag, 0.0, clip(z, -self._max_step, self._max_step))
        straight = np.abs(yaw_error) < self._tolerance[1]
        turn = np.where(drag & ~straight, -self._kp_ori * yaw_error, 0.0)
        return step, clip(turn, -self._max_turn, self._max_turn), drag

    def _joint_steps(
        self, qpos: np.ndarray, jac: np.ndarray, step: np.ndarray, turn: np.ndarray
    ) -> np.ndarray:
        """Joint steps (n, 6) [rad] for a fingertip step and turn, at constant pitch."""
        n = len(qpos)
        task = np.zeros((n, 5, so101.ARM_JOINTS))
        task[:, :3] = jac[:, :3, ARM]
        task[:, 3] = self._lever * jac[:, 5, ARM]
        task[:, 4, 1:4] = self._lever
        error = np.empty((n, 5))
        error[:, :3] = step
        error[:, 3] = self._lever * turn
        pitch = qpos[:, 1] + qpos[:, 2] + qpos[:, 3]
        error[:, 4] = self._lever * (self._kp_ori * (self._pitch - pitch))
        steps = np.zeros((n, so101.N_JOINTS))
        steps[:, ARM] = damped_least_squares(task, error, self._damping)
        steps[:, 5] = self._kp_xyz * (self._jaw - qpos[:, 5])
        return steps

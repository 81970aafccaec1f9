"""Parts that the core has never seen: a robot, a task, an arm, base policies."""

from pathlib import Path
from typing import ClassVar

import numpy as np

from so101rl.arrays import norm
from so101rl.base_policies.base import BasePolicy
from so101rl.envs.base import TaskEnv
from so101rl.envs.task import Number
from so101rl.hardware.base import Arm, Hardware, ObjectTracker
from so101rl.hardware.guard import Guard
from so101rl.robots.robot import Robot

MJCF = """
<mujoco><compiler angle="radian" autolimits="true"/><worldbody><body name="upper">
  <joint name="shoulder" type="hinge" axis="0 0 1" range="-2 2"/>
  <geom type="capsule" fromto="0 0 0.02 0.2 0 0.02" size="0.01" mass="0.1"/>
  <body name="lower" pos="0.2 0 0.02">
    <joint name="elbow" type="hinge" axis="0 0 1" range="-2 2"/>
    <geom type="capsule" fromto="0 0 0 0.15 0 0" size="0.01" mass="0.1"/>
    <site name="hand" pos="0.15 0 0"/>
</body></body></worldbody></mujoco>
"""


class TwoJoints(Robot):
    """A planar arm."""

    def __init__(self, model_path):
        Path(model_path).write_text(MJCF)
        joints = ("shoulder", "elbow")
        super().__init__(
            name="toy", model_path=Path(model_path), joints=joints, tip="hand"
        )


class Point(TaskEnv):
    """Bring the hand over the spot; nothing lies on the table."""

    numbers = (Number(name="gap_m", title="gap", unit="mm", factor=1000.0),)
    failures: ClassVar = {"short": "The hand did not arrive."}

    def place(self, ids, start):
        """Nothing lies there."""

    def _gap(self):
        tip = self.kinematics.fk(self.hardware.arm.read()[0])[0]
        return norm(tip[:, :2] - np.array(self.scene.parts["spot"].centre))

    def reward_terms(self):
        return {"gap": -self._gap()}

    def success(self):
        return self._gap() < self.scene.parts["spot"].radius

    def failure_class(self):
        return np.full(self.num_envs, "short")

    def features(self, obs):
        return {"height": obs["ee_pos"][:, 2:]}

    def metrics(self):
        return {"gap_m": self._gap()}


EVENTS: list[str] = []  # what happened to the FakeHardware, oldest first


class FakeArm(Arm):
    """Goes where it is told, and says so."""

    n = 1

    def __init__(self, n_joints):
        self.qpos, self.now = np.zeros((1, n_joints)), 0.0

    def reset(self, ids, qpos):
        assert EVENTS[0] == "open"
        EVENTS.append("reset")
        self.qpos[ids] = qpos

    def step(self, target_qpos, ids=None):
        self.now += 1 / 30  # its own clock
        self.qpos += 0.9 * (target_qpos - self.qpos)
        return target_qpos

    def read(self):
        return self.qpos.copy(), np.zeros_like(self.qpos)

    def close(self):
        EVENTS.append("close")


class Lying(ObjectTracker):
    """Objects that somebody put where they should be."""

    def __init__(self, names):
        self.poses = {name: np.zeros((1, 7)) for name in names}

    def read(self):
        return {name: pose.copy() for name, pose in self.poses.items()}

    def place(self, ids, poses):
        for name, pose in poses.items():
            self.poses[name][ids] = pose


class FakeHardware(Hardware):
    """An arm that is not simulated."""

    simulated, max_n, stiffness = False, 1, 20.0

    def __init__(self, *, n, robot, scene, control_hz, **unused):
        self.n = n
        lower, upper = robot.limits
        arm = FakeArm(robot.n_joints)
        self.arm = Guard(
            arm, lower=lower, upper=upper, max_step=0.2, timeout_s=1.0,
            clock=lambda: arm.now,
        )  # fmt: skip
        self.objects = Lying(scene.free)

    def connect(self):
        EVENTS.append("open")


class Steps(BasePolicy):
    """Proposes how many steps its episode has, and records what it is asked."""

    made: ClassVar[list["Steps"]] = []
    needs = frozenset({"qpos"})

    def __init__(self, *, n_envs, n_threads, action_names, says="one", wrong="nothing"):
        self.n, self.size = n_envs, len(action_names)
        self.says, self.wrong = says, wrong
        self.steps, self.asked = np.zeros(n_envs, int), []
        self.seeds = np.zeros(n_envs, np.uint64)
        self.closed = 0
        self.made.append(self)

    def reset(self, ids, seeds):
        self.steps[ids], self.seeds[ids] = 0, seeds

    def act(self, obs, ids):
        assert {name: len(value) for name, value in obs.items()} == {"qpos": len(ids)}
        self.asked.append(list(ids))
        self.steps[ids] += 1
        action = np.repeat(self.steps[ids, None] / 1000, self.size, axis=1)
        if self.wrong == "raises":
            raise RuntimeError("the server is gone")
        return {
            "nothing": action,
            "hangs": action,
            "nan": action * np.nan,
            "float32": action.astype(np.float32),
            "list": action.tolist(),
            "batch": action[:1],
            "text": "left",
        }[self.wrong]

    def tells(self, ids):
        return {"phase": self.steps[ids, None] / 100}

    def identity(self):
        return {"says": self.says}

    def state_dict(self, ids):
        return {"steps": self.steps[ids]}

    def load_state_dict(self, state, ids):
        self.steps[ids] = state["steps"]

    def close(self):
        self.closed += 1
        if self.wrong == "hangs":
            import threading

            threading.Event().wait()

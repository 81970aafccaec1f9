"""The batched environment around a task.

A task implements five hooks: placement of the objects, reward terms, success, failure
class and additional observations; and it tells about itself which numbers it measures
and how its episodes fail. The base class does the rest: steps, resets, randomization,
noise and episode limits.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any, ClassVar

import numpy as np
from gymnasium.error import ResetNeeded
from gymnasium.spaces import Box
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from so101rl.arrays import clip
from so101rl.control.base import Control
from so101rl.envs.generators import Generators
from so101rl.envs.observations import Obs
from so101rl.envs.resumable import Resumable
from so101rl.envs.sensors import ALL, Sensors
from so101rl.envs.task import SUCCESS, Number, TaskError, check_task
from so101rl.errors import ConfigError, check_length, check_positive
from so101rl.hardware.base import Hardware, Quantity, row_writer
from so101rl.randomization.base import Randomization
from so101rl.robots.actions import checked_action
from so101rl.robots.kinematics import Kinematics
from so101rl.robots.robot import Robot
from so101rl.scene.scene import Scene


class TaskEnv(Resumable, VectorEnv, ABC):
    """`n_envs` environments of a task; an ended one is reset in the same step.

    Building it moves nothing: the hardware connects at the first reset.

    Args:
        n_envs: number of environments.
        n_threads: number of simulation threads.
        robot: the robot.
        control: builds what turns actions into servo targets, see `control/`.
        act_scale: size of a unit action, in the unit of the control.
        hardware: builds the arms and objects, see `conf/hardware`.
        scene: what stands on the table, and contact pairs.
        cameras: width and height [px] by camera; each is an observation.
        randomization: terms drawn for each episode.
        control_hz: control rate [Hz].
        physics_hz: physics rate [Hz].
        max_episode_steps: control steps after which an episode is truncated.
        home_qpos: the arm's starting angles (j,) [rad].
        start_pose: the nominal start that `place` gets, in the task's own terms (m,).
        reward: weight of each reward term.
        observation: what the learner sees, see `Layout`.
        check_feasibility: whether to refuse a layout that cannot be solved.

    Attributes:
        numbers: what the task measures; the first one ranks episodes.
        failures: how episodes fail: a sentence by class.
        ends_on_success: whether an episode ends as soon as it is solved.
        instruction: the task in words, for policies that read.
        sensors: what can be observed.
        dropped: randomization terms that a real arm leaves out.
        ended: which environments stand still (n,), without `autoreset`.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012
    numbers: ClassVar[tuple[Number, ...]] = ()
    failures: ClassVar[Mapping[str, str]] = {}
    ends_on_success: ClassVar[bool] = True
    instruction: ClassVar[str] = ""

    def __init__(
        self,
        *,
        n_envs: int,
        n_threads: int,
        robot: Robot,
        control: Callable[..., Control],
        act_scale: float | Sequence[float],
        hardware: Callable[..., Hardware],
        scene: Scene,
        cameras: Mapping[str, Mapping[str, int]],
        randomization: Randomization,
        control_hz: int,
        physics_hz: int,
        max_episode_steps: int,
        home_qpos: Sequence[float],
        start_pose: Sequence[float],
        reward: Mapping[str, float],
        observation: Mapping[str, object],
        check_feasibility: bool,
    ):
        check_positive(
            {
                "env.control_hz": control_hz,
                "env.physics_hz": physics_hz,
                "env.max_episode_steps": max_episode_steps,
            }
        )
        check_length("env.home_qpos", home_qpos, robot.n_joints)
        self.num_envs, self.control_hz = n_envs, control_hz
        self.max_episode_steps, self.act_scale = max_episode_steps, act_scale
        self.robot, self.scene = robot, scene
        self.control = control(robot=robot, n_envs=n_envs, act_scale=act_scale)
        self.home_qpos, self.start_pose = np.array(home_qpos), np.array(start_pose)
        self.kinematics = Kinematics(robot, n=n_envs, n_threads=n_threads)
        self._check_home()
        if check_feasibility:
            self.check_feasibility()
        self.hardware = hardware(
            n=n_envs,
            n_threads=n_threads,
            robot=robot,
            scene=scene,
            cameras=cameras,
            home_qpos=self.home_qpos,
            control_hz=control_hz,
            physics_hz=physics_hz,
        )
        self.hardware.check(n_envs)
        self._connected = False
        self._weights, self.observation = dict(reward), dict(observation)
        # If False, an ended environment stands still until the caller resets it.
        self.autoreset = True
        self.ended = np.zeros(n_envs, bool)
        self._all = np.arange(n_envs)
        self.generators = Generators(n_envs)
        self._starts = np.tile(self.start_pose, (n_envs, 1))
        self.elapsed = np.zeros(n_envs, int)
        self.target_qpos = np.tile(self.home_qpos, (n_envs, 1))
        rest = {name: part.rest_pose for name, part in scene.free.items()}
        self.sensors = Sensors(
            hardware=self.hardware,
            kinematics=self.kinematics,
            cameras=cameras,
            nominal=(self.home_qpos, rest),
            goal=self.goal,
            features=self.features,
        )
        self.obs = self.sensors.nominal()
        self.randomization = randomization
        simulated = self.hardware.simulated
        self.dropped = randomization.bind(self.quantities(), drop_missing=not simulated)
        self._check_told()
        self._define_spaces()

    # ---- the five hooks -------------------------------------------------------

    @abstractmethod
    def place(self, ids: np.ndarray, start: np.ndarray) -> None:
        """Place the objects of `ids` (k,) for the starts (k, m), as `start_pose`."""

    @abstractmethod
    def reward_terms(self) -> dict[str, np.ndarray]:
        """Return the unweighted reward terms (n,) by name."""

    @abstractmethod
    def success(self) -> np.ndarray:
        """Return which episodes are solved (n,) bool."""

    @abstractmethod
    def failure_class(self) -> np.ndarray:
        """Return the class (n,) str of `failures` of episodes that end now unsolved."""

    @abstractmethod
    def features(self, obs: Obs) -> dict[str, np.ndarray]:
        """Return additional observations (k, ...), computed from `obs` alone."""

    # ---- optional hooks --------------------------------------------------------

    def check_feasibility(self) -> None:
        """Raise a `So101Error` with the numbers if the layout cannot be solved."""

    def update(self) -> None:
        """Update the task's own state, once per control step, before the rewards."""

    def forget(self, ids: np.ndarray) -> None:
        """Reset the task's own state of the environments `ids` (k,)."""

    def metrics(self) -> dict[str, np.ndarray]:
        """Return the values (n,) of `numbers` by name, as new arrays."""
        return {}

    def goal(self, objects: Mapping[str, np.ndarray]) -> np.ndarray | None:
        """Return from where the object is to where it should be (k, 3) [m].

        Args:
            objects: measured poses (k, 7) by name.

        Returns:
            None if the task has no such goal; then there is no observation `goal`.
        """

    # ---- Gymnasium's vector interface ------------------------------------------

    def reset(
        self,
        *,
        seed: int | Sequence[int] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[Obs, dict[str, Any]]:
        """Begin a new episode in every environment.

        Args:
            seed: one seed per environment, or the first of consecutive seeds; with None
                the random generators continue from their state.
            options: unused.
        """
        del options
        if seed is not None:
            self.generators.seed(seed)
        self.connect()
        self._begin(self._all)
        return self.obs, {}

    def connect(self) -> None:
        """Connect to the hardware, once; `reset` does so by itself."""
        if not self._connected:
            for name in self.dropped:
                kind = type(self.hardware).__name__
                print(f"randomization.terms.{name} is left out: {kind} cannot do that")
            self.hardware.connect()
            self._connected = True

    def step(
        self, action: np.ndarray
    ) -> tuple[Obs, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance one control step; see `gymnasium.vector.VectorEnv.step`.

        Without `autoreset`, the rows of ended environments are meaningless.
        """
        if not self._connected:
            raise ResetNeeded("step() before reset(): an episode has to begin")
        shape = (self.num_envs, len(self.control.names))
        action = checked_action(action, shape, "action")
        target = self.control.command(
            action, measured=self.sensors.measured, target=self.target_qpos
        )
        moving = np.flatnonzero(~self.ended) if self.ended.any() else None
        self.target_qpos = self.hardware.arm.step(target, moving)
        self.elapsed += 1
        draw = self.generators.noise.standard_normal(
            (self.num_envs, self.sensors.noise.size)
        )
        self.obs = self.sensors.observe(ALL, draw, self.target_qpos)
        self.update()
        terms = {
            name: self._weights[name] * value
            for name, value in self.reward_terms().items()
        }
        reward = reduce(np.add, terms.values())
        solved = self.success()
        terminated = solved if self.ends_on_success else np.zeros_like(solved)
        truncated = (self.elapsed >= self.max_episode_steps) & ~terminated
        info: dict[str, Any] = {"is_success": solved, "reward_terms": terms}
        info["numbers"] = self.metrics()
        done = (terminated | truncated) & ~self.ended
        if done.any():
            self._end(done, info)
        return self.obs, reward, terminated, truncated, info

    def close_extras(self, **kwargs: Any) -> None:
        """Release arms and cameras."""
        del kwargs
        self.hardware.close()

    @property
    def poses(self) -> dict[str, np.ndarray]:
        """The true poses (n, 7) of the objects by name."""
        return self.sensors.poses

    # ---- internals -------------------------------------------------------------

    def _check_home(self) -> None:
        limits = self.kinematics.model.jnt_range.T
        if (self.home_qpos != clip(self.home_qpos, *limits)).any():
            low, high = (", ".join(f"{q:.2f}" for q in limit) for limit in limits)
            expected = f"angles between [{low}] and [{high}]"
            raise ConfigError("env.home_qpos", got=self.home_qpos, expected=expected)

    def _check_told(self) -> None:
        """Raise if the task returns something else than it tells."""
        terms = check_task(self)
        if set(terms) != set(self._weights):
            raise ConfigError(
                "env.reward",
                got=", ".join(self._weights) or "nothing",
                expected=f"one weight for each of {', '.join(terms)}",
            )

    def quantities(self) -> dict[str, Quantity]:
        """Return everything that a randomization can change, by name."""
        start = Quantity(self.start_pose, row_writer(self._starts))
        found = {**self.hardware.quantities(), "start_pose": start}
        # A real arm has noise enough of its own.
        noise = self.sensors.noise.quantities() if self.hardware.simulated else {}
        return found | noise

    def _begin(self, ids: np.ndarray) -> None:
        if self.randomization.apply(ids, self.generators.envs):
            self.hardware.set_const(ids)
        home = np.tile(self.home_qpos, (len(ids), 1))
        self.hardware.arm.reset(ids, home)
        self.place(ids, self._starts[ids])
        self.target_qpos[ids] = home
        self.control.reset(ids)
        self.elapsed[ids] = 0
        self.ended[ids] = False
        self.forget(ids)
        # From the environments' own generators, so that no episode affects another.
        size = self.sensors.noise.size
        rngs = self.generators.envs
        draw = np.array([rngs[i].standard_normal(size) for i in ids])
        first = self.sensors.observe(ids, draw, self.target_qpos, first=True)
        if len(ids) == self.num_envs:
            self.obs = first
        else:
            self.obs.replace(ids, first)

    def _end(self, done: np.ndarray, info: dict[str, Any]) -> None:
        """Report how the episodes `done` (n,) ended and begin the next ones."""
        failure = np.where(info["is_success"], SUCCESS, self.failure_class())
        unknown = set(failure[done]) - {SUCCESS, *self.failures}
        if unknown:
            raise TaskError(
                f"{type(self).__name__}.failure_class() returns {sorted(unknown)[0]}: "
                f"expected one of {', '.join(self.failures) or 'none'}"
            )
        info["failure"], info["episode_length"] = failure, self.elapsed.copy()
        if self.autoreset:
            ids = np.flatnonzero(done)
            info["final_obs"], info["_final_obs"] = self.obs.rows(ids), done
            self._begin(ids)
        else:
            self.ended |= done

    def _define_spaces(self) -> None:
        n, shape = self.num_envs, (len(self.control.names),)
        self.single_action_space = Box(-1.0, 1.0, shape, np.float32)
        self.single_observation_space = self.sensors.space()
        self.action_space = batch_space(self.single_action_space, n)
        self.observation_space = batch_space(self.single_observation_space, n)

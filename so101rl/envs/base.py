"""The batched environment around a task.

A task implements five hooks: placement of the objects, reward terms, success, failure
class and additional observations. The base class does the rest: steps, resets,
randomization, noise and episode limits.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import reduce
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from so101rl.arrays import clip
from so101rl.envs.noise import N_NOISE, Noise
from so101rl.envs.resumable import Resumable
from so101rl.errors import ConfigError, check_length, check_positive
from so101rl.hardware.base import Hardware, Quantity, row_writer
from so101rl.randomization.base import Randomization
from so101rl.robots import so101
from so101rl.robots.actions import checked_action
from so101rl.robots.kinematics import Kinematics
from so101rl.scene.scene import Scene

Obs = dict[str, np.ndarray]
ALL_ENVS = slice(None)


class TaskEnv(Resumable, VectorEnv, ABC):
    """`n_envs` environments of a task; an ended one is reset in the same step.

    Actions are joint-target deltas in units of `act_scale`. The target integrates them
    and stays within `leash` of the measured angle, so a blocked arm does not wind up.

    Args:
        n_envs: number of environments.
        n_threads: number of simulation threads.
        hardware: builds the arms and objects, see `conf/hardware`.
        scene: table, object and contact pairs.
        randomization: terms drawn for each episode.
        control_hz: control rate [Hz].
        physics_hz: physics rate [Hz].
        max_episode_steps: control steps after which an episode is truncated.
        act_scale: target change per unit action and control step [rad].
        leash: largest distance of a target from the measured angle [rad].
        home_qpos: the arm's starting angles (6,) [rad].
        start_pose: the object's nominal start: x [m], y [m], yaw [rad].
        reward: weight of each reward term.
        observation: arrays of the learner's observation and their scales.
        check_feasibility: whether to refuse a layout that cannot be solved.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        *,
        n_envs: int,
        n_threads: int,
        hardware: Callable[..., Hardware],
        scene: Scene,
        randomization: Randomization,
        control_hz: int,
        physics_hz: int,
        max_episode_steps: int,
        act_scale: float,
        leash: float,
        home_qpos: Sequence[float],
        start_pose: Sequence[float],
        reward: Mapping[str, float],
        observation: Mapping[str, object],
        check_feasibility: bool,
    ):
        check_positive(
            {
                "env.act_scale": act_scale,
                "env.leash": leash,
                "env.control_hz": control_hz,
                "env.physics_hz": physics_hz,
                "env.max_episode_steps": max_episode_steps,
            }
        )
        check_length("env.home_qpos", home_qpos, so101.N_JOINTS)
        check_length("env.start_pose", start_pose, 3)
        self.num_envs, self.control_hz = n_envs, control_hz
        self.max_episode_steps, self.act_scale = max_episode_steps, act_scale
        self.scene, self.leash = scene, leash
        self.home_qpos, self.start_pose = np.array(home_qpos), np.array(start_pose)
        self.kinematics = Kinematics(n=n_envs, n_threads=n_threads)
        self._check_home()
        if check_feasibility:
            self.check_feasibility()
        self.hardware = hardware(
            n=n_envs,
            n_threads=n_threads,
            scene=scene,
            home_qpos=self.home_qpos,
            control_hz=control_hz,
            physics_hz=physics_hz,
        )
        self._weights, self.observation = dict(reward), dict(observation)
        # If False, an ended environment stands still until the caller resets it.
        self.autoreset = True
        self._ended = np.zeros(n_envs, bool)
        self._all = np.arange(n_envs)
        self._draws = (n_envs, N_NOISE)
        self._rngs = [np.random.default_rng(i) for i in range(n_envs)]
        self._noise_rng = np.random.default_rng(n_envs)
        self._noise = Noise(n_envs)
        self._starts = np.tile(self.start_pose, (n_envs, 1))
        self.elapsed = np.zeros(n_envs, int)
        self.target_qpos = np.tile(self.home_qpos, (n_envs, 1))
        self.randomization = randomization
        randomization.bind(self.quantities())
        self._begin(self._all)
        self._check_weights()
        self._define_spaces()

    # ---- the five hooks -------------------------------------------------------

    @abstractmethod
    def place(self, ids: np.ndarray, start: np.ndarray) -> None:
        """Place the objects of `ids` (k,) for the starts (k, 3): x [m], y [m], yaw."""

    @abstractmethod
    def reward_terms(self) -> dict[str, np.ndarray]:
        """Return the unweighted reward terms (n,) by name."""

    @abstractmethod
    def success(self) -> np.ndarray:
        """Return which episodes are solved (n,) bool."""

    @abstractmethod
    def failure_class(self) -> np.ndarray:
        """Return the failure class (n,) str of episodes that end now unsolved."""

    @abstractmethod
    def features(self, obs: Obs) -> Obs:
        """Return additional observations, computed from `obs`."""

    # ---- optional hooks --------------------------------------------------------

    def check_feasibility(self) -> None:
        """Raise a `So101Error` with the numbers if the layout cannot be solved."""

    def update(self) -> None:
        """Update the task's own state, once per control step, before the rewards."""

    def forget(self, ids: np.ndarray) -> None:
        """Reset the task's own state of the environments `ids` (k,)."""

    def metrics(self) -> dict[str, np.ndarray]:
        """Return numbers (n,) to log, besides reward and success."""
        return {}

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
            self._seed(seed)
        self._begin(self._all)
        return self.obs, {}

    def step(
        self, action: np.ndarray
    ) -> tuple[Obs, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance one control step; see `gymnasium.vector.VectorEnv.step`.

        Without `autoreset`, the rows of ended environments are meaningless.
        """
        action = checked_action(action, self.num_envs, "action")
        target = self.target_qpos + self.act_scale * action
        target = clip(target, self._measured - self.leash, self._measured + self.leash)
        moving = np.flatnonzero(~self._ended) if self._ended.any() else None
        self.target_qpos = self.hardware.arm.step(target, moving)
        self.elapsed += 1
        self.obs = self._observe(ALL_ENVS, self._noise_rng.standard_normal(self._draws))
        self.update()
        terms = {
            name: self._weights[name] * value
            for name, value in self.reward_terms().items()
        }
        reward = reduce(np.add, terms.values())
        terminated = self.success()
        truncated = (self.elapsed >= self.max_episode_steps) & ~terminated
        info: dict[str, Any] = {"is_success": terminated, "reward_terms": terms}
        info |= self.metrics()
        done = (terminated | truncated) & ~self._ended
        if done.any():
            self._end(done, info)
        return self.obs, reward, terminated, truncated, info

    def close_extras(self, **kwargs: Any) -> None:
        """Release the arms."""
        del kwargs
        self.hardware.arm.close()

    # ---- internals -------------------------------------------------------------

    def _check_home(self) -> None:
        limits = self.kinematics.model.jnt_range.T
        if (self.home_qpos != clip(self.home_qpos, *limits)).any():
            low, high = (", ".join(f"{q:.2f}" for q in limit) for limit in limits)
            expected = f"angles between [{low}] and [{high}]"
            raise ConfigError("env.home_qpos", got=self.home_qpos, expected=expected)

    def _check_weights(self) -> None:
        terms = self.reward_terms()
        if set(terms) != set(self._weights):
            raise ConfigError(
                "env.reward",
                got=", ".join(self._weights) or "nothing",
                expected=f"one weight for each of {', '.join(terms)}",
            )

    def quantities(self) -> dict[str, Quantity]:
        """Return everything that a randomization can change, by name."""
        start = Quantity(self.start_pose, row_writer(self._starts))
        own = {"start_pose": start} | self._noise.quantities()
        return dict(self.hardware.quantities()) | own

    def _seed(self, seed: int | Sequence[int]) -> None:
        if isinstance(seed, int | np.integer):  # as Gymnasium's vector environments do
            seed = [int(seed) + i for i in range(self.num_envs)]
        seeds = [int(s) for s in seed]
        if len(seeds) != self.num_envs:
            raise ConfigError(
                "seed of reset",
                got=f"{len(seeds)} seeds",
                expected=f"one number or {self.num_envs}",
            )
        self._rngs = [np.random.default_rng(s) for s in seeds]
        # Spawned: otherwise the noise of a single environment repeats its other draws.
        root = np.random.SeedSequence(seeds)
        self._noise_rng = np.random.default_rng(root.spawn(1)[0])

    def _begin(self, ids: np.ndarray) -> None:
        if self.randomization.apply(ids, self._rngs):
            self.hardware.set_const(ids)
        home = np.tile(self.home_qpos, (len(ids), 1))
        self.hardware.arm.reset(ids, home)
        self.place(ids, self._starts[ids])
        self.target_qpos[ids] = home
        self.elapsed[ids] = 0
        self._ended[ids] = False
        self.forget(ids)
        # From the environments' own generators, so that no episode affects another.
        draw = np.array([self._rngs[i].standard_normal(N_NOISE) for i in ids])
        first = self._observe(ids, draw)
        if len(ids) == self.num_envs:
            self.obs = first
        else:
            self.obs = {name: value.copy() for name, value in self.obs.items()}
            for name, value in first.items():
                self.obs[name][ids] = value

    def _end(self, done: np.ndarray, info: dict[str, Any]) -> None:
        """Report how the episodes `done` (n,) ended and begin the next ones."""
        info["failure"] = np.where(info["is_success"], "none", self.failure_class())
        info["episode_length"] = self.elapsed.copy()
        if self.autoreset:
            info["final_obs"], info["_final_obs"] = self.obs, done
            self._begin(np.flatnonzero(done))
        else:
            self._ended |= done

    def _observe(self, ids: np.ndarray | slice, draw: np.ndarray) -> Obs:
        """Return the noisy observations of the environments `ids` (k,).

        Args:
            ids: the environments.
            draw: standard normal numbers (k, 16).
        """
        self._measured, speeds = self.hardware.arm.read()
        self.true_pose = self.hardware.object.read()
        qpos, qvel, pose = self._noise.disturb(
            ids,
            draw,
            qpos=self._measured[ids],
            qvel=speeds[ids],
            pose=self.true_pose[ids],
        )
        goal = np.zeros((len(pose), 3))
        goal[:, :2] = self.scene.square_centre - pose[:, :2]
        tool = self.kinematics.tool(qpos)
        obs = {
            "qpos": qpos,
            "qvel": qvel,
            "target_qpos": self.target_qpos[ids].copy(),  # a reset writes into it
            "object_pose": pose,
            "goal": goal,
            "ee_pos": tool.pos,
            "ee_jac": tool.jac,
            "gravity": tool.gravity,
        }
        return obs | self.features(obs)

    def _define_spaces(self) -> None:
        n, shape = self.num_envs, (so101.N_JOINTS,)
        self.single_action_space = Box(-1.0, 1.0, shape, np.float32)
        arrays: dict[str, Space] = {
            name: Box(-np.inf, np.inf, value.shape[1:], np.float64)
            for name, value in self.obs.items()
        }
        self.single_observation_space = Dict(arrays)
        self.action_space = batch_space(self.single_action_space, n)
        self.observation_space = batch_space(self.single_observation_space, n)

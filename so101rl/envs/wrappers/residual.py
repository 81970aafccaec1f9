"""The residual wrapper: `action = clip(base + alpha * residual, -1, 1)`.

Only this module knows both base policy and residual. A task sees the sum alone, and a
learner sees the base action only if it is part of the observation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from so101rl.arrays import clip, norm
from so101rl.base_policies.base import (
    BasePolicy,
    checked_act,
    checked_needs,
    checked_tells,
    close_policy,
)
from so101rl.envs.base import TaskEnv
from so101rl.envs.observations import CAMERA, Layout, LearnerObs, take
from so101rl.envs.rewards import residual_size
from so101rl.errors import ConfigError, DivergedError
from so101rl.robots.actions import checked_action

TOLD = "base/"  # prefix of what a base policy tells about itself


class Alpha:
    """The weight of the residual: one number, one per element, or a linear schedule.

    Args:
        value: a number in [0, 1], a list of them, or `{start, end, steps}`: linear from
            `start` to `end` over `steps` env steps.
        n_actions: number of elements of an action.
    """

    def __init__(
        self, value: float | Sequence[float] | Mapping[str, float], n_actions: int
    ):
        if not isinstance(value, Mapping):
            value = {"start": value, "end": value, "steps": 1}  # type: ignore[dict-item]
        self._steps, self._n = float(value["steps"]), n_actions
        self._start, self._end = (np.asarray(value[k], float) for k in ("start", "end"))
        if {self._start.shape, self._end.shape} - {(), (n_actions,)}:
            expected = f"one number or {n_actions} of them"
            raise ConfigError("residual.alpha", got=value["start"], expected=expected)

    def at(self, step: float) -> np.ndarray:
        """Return the weight of each element (a,) after `step` env steps."""
        fraction = min(step / self._steps, 1.0)
        value = self._start + fraction * (self._end - self._start)
        return np.broadcast_to(value, (self._n,)).astype(float)


class ResidualEnv(VectorEnv):
    """A task whose actions are residuals, added to the actions of a base policy.

    Observations are those of `Layout`.

    Args:
        env: the task.
        base_policy: the base policy, which may serve other environments too.
        alpha: weight of the residual, see `Alpha`.
        penalty: weight of the residual's mean square in the reward.
        observe_base_action: whether the observation includes the base action.
        first_id: the base policy's id of the first environment.
        owns_base: whether `close` closes the base policy.
    """

    metadata = {"autoreset_mode": AutoresetMode.SAME_STEP, "render_modes": []}  # noqa: RUF012

    def __init__(
        self,
        env: TaskEnv,
        base_policy: BasePolicy,
        *,
        alpha: float | Sequence[float] | Mapping[str, float],
        penalty: float,
        observe_base_action: bool,
        first_id: int = 0,
        owns_base: bool = True,
    ):
        self.env, self.base_policy = env, base_policy
        self.num_envs, self._owns_base = env.num_envs, owns_base
        self._n_actions = n_actions = len(env.control.names)
        self._needs = _available_needs(base_policy, env)
        self._schedule = Alpha(alpha, n_actions)
        self.alpha = self._schedule.at(0)
        self._penalty = penalty
        self.first_id = first_id
        self._ids = first_id + np.arange(self.num_envs)
        self._all = np.arange(self.num_envs)
        told = checked_tells(base_policy, self._ids[:1])
        shapes = env.sensors.shapes | {
            f"{TOLD}{name}": value.shape[1:] for name, value in told.items()
        }
        observed = n_actions if observe_base_action else None
        self.layout = Layout(env.observation, shapes, observed)
        self._told = [name for name in self.layout.names if name.startswith(TOLD)]
        env.sensors.request(self._needs)
        env.sensors.request(n for n in self.layout.names if not n.startswith(TOLD))
        cameras = {name for name in self._needs if name.startswith(CAMERA)}
        env.sensors.draw_when(
            cameras - set(self.layout.names),
            lambda rows: base_policy.looks(self._ids[rows]),
        )
        self.base_action = np.zeros((self.num_envs, n_actions))
        # A base policy's seeds follow from an episode's seed and its number.
        self._seeds = np.arange(self.num_envs)
        self._episodes = np.zeros(self.num_envs, int)
        self.single_observation_space = self.layout.space
        self.single_action_space = env.single_action_space
        self.action_space = env.action_space
        self.observation_space = batch_space(
            self.single_observation_space, self.num_envs
        )

    def seed(self, seed: int | Sequence[int]) -> None:
        """Set the seeds of the next episodes; see `Generators.seed`."""
        self.env.generators.seed(seed)
        several = self._all if np.isscalar(seed) else 0
        self._seeds = np.zeros_like(self._all) + np.asarray(seed) + several
        self._episodes[:] = 0

    def progress(self, step: int) -> None:
        """Set alpha to its value after `step` env steps."""
        self.alpha = self._schedule.at(step)

    def reset(
        self,
        *,
        seed: int | Sequence[int] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[LearnerObs, dict[str, Any]]:
        """Begin a new episode in every environment; see `TaskEnv.reset`."""
        if seed is not None:
            self.seed(seed)
        obs, info = self.env.reset(options=options)
        self._reset_base(self._all)
        self.base_action = self._propose(obs, self._all)
        return self._encode(obs, self.base_action, self._all), info

    def step(
        self, action: np.ndarray
    ) -> tuple[LearnerObs, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance one control step with residuals (n, a) in [-1, 1]."""
        residual = checked_action(action, self.base_action.shape, "residual")
        correction = self.alpha * residual
        unclipped = self.base_action + correction
        total = clip(unclipped, -1.0, 1.0)
        stood = None if self.env.autoreset else self.env.ended.copy()
        obs, reward, terminated, truncated, info = self.env.step(total)
        cost = -self._penalty * residual_size(residual)
        info["reward_terms"]["residual"] = cost
        info["residual_l2"] = norm(correction)
        info["clipped"] = np.add.reduce(unclipped != total, axis=1) / self._n_actions
        if "final_obs" in info:
            self._end(terminated, info)
        if stood is None:
            self.base_action = self._propose(obs, self._all)
        else:  # nobody needs an action of those that stand still
            running = np.flatnonzero(~(stood | (terminated & self.env.ended)))
            self.base_action = np.zeros_like(self.base_action)
            if len(running):
                self.base_action[running] = self._propose(obs, running)
        encoded = self._encode(obs, self.base_action, self._all)
        reward = reward + cost
        if not np.isfinite(np.add.reduce(reward)):
            row = int(np.flatnonzero(~np.isfinite(reward))[0])
            raise DivergedError("the reward", str(reward[row]), env=row)
        return encoded, reward, terminated, truncated, info

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next steps depend on, base policy included."""
        return {
            "env": self.env.state_dict(),
            "base_policy": self.base_policy.state_dict(self._ids),
            "base_action": self.base_action.copy(),
            "alpha": self.alpha.copy(),
            "seeds": self._seeds.copy(),
            "episodes": self._episodes.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` of an environment with the same config returned."""
        self.env.load_state_dict(state["env"])
        self.base_policy.load_state_dict(state["base_policy"], self._ids)
        self.base_action = np.array(state["base_action"])
        self.alpha = np.array(state["alpha"])
        self._seeds = np.array(state["seeds"])
        self._episodes = np.array(state["episodes"])

    def close_extras(self, **kwargs: Any) -> None:
        """Close the task, and the base policy if nobody else uses it."""
        try:
            self.env.close(**kwargs)  # first: an arm must not wait for a policy
        finally:
            if self._owns_base:
                close_policy(self.base_policy)

    def _reset_base(self, rows: np.ndarray) -> None:
        """Begin episodes of the base policy in the environments `rows` (k,)."""
        pairs = zip(self._seeds[rows], self._episodes[rows], strict=True)
        seeds = [np.random.SeedSequence([int(s), int(e)]) for s, e in pairs]
        own = [seed.generate_state(1, np.uint64)[0] for seed in seeds]
        self.base_policy.reset(self._ids[rows], np.array(own, np.uint64))
        self._episodes[rows] += 1

    def _propose(self, obs: Mapping[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        """Return the base actions (k, a) for the rows `rows` of `obs` (n, ...)."""
        needed = {name: obs[name] for name in self._needs}
        if rows is not self._all:
            needed = take(needed, rows)
        return self._ask(needed, rows)

    def _ask(self, needed: Mapping[str, np.ndarray], rows: np.ndarray) -> np.ndarray:
        ids = self._ids[rows]
        try:
            return checked_act(self.base_policy, needed, ids, self._n_actions)
        except DivergedError as error:
            _check_finite(needed, rows)  # the cause may be an observation
            row = None if error.env is None else int(rows[error.env])
            raise DivergedError(error.point, error.detail, env=row) from error

    def _end(self, terminated: np.ndarray, info: dict[str, Any]) -> None:
        """Add the final observations of ended episodes; reset their base policy.

        A learner bootstraps from an episode that ran out of time, so there the base
        policy acts once more. After any other end its action is zero.
        """
        done = info.pop("_final_obs")
        final, rows = info.pop("final_obs"), np.flatnonzero(done)
        action = np.zeros((len(rows), self._n_actions))
        over = np.flatnonzero(~terminated[rows])
        if len(over):
            needed = {name: final[name][over] for name in self._needs}
            action[over] = self._ask(needed, rows[over])
        encoded = self._encode(final, action, rows)
        info["final_info"], info["_final_info"] = _masked(info, done), done
        info["final_obs"], info["_final_obs"] = np.full(len(done), None, object), done
        for k, row in enumerate(rows):
            info["final_obs"][row] = take(encoded, k)
        self._reset_base(rows)

    def _encode(
        self, obs: Mapping[str, np.ndarray], action: np.ndarray, rows: np.ndarray
    ) -> LearnerObs:
        """Return what a learner sees of the environments `rows` (k,)."""
        if self._told:
            told = checked_tells(self.base_policy, self._ids[rows])
            named = {f"{TOLD}{name}": value for name, value in told.items()}
            own = [name for name in self.layout.names if name not in named]
            obs = {name: obs[name] for name in own} | named
        try:
            return self.layout.encode(obs, action)
        except DivergedError as error:  # which counts the rows that it got
            row = None if error.env is None else int(rows[error.env])
            raise DivergedError(error.point, error.detail, env=row) from error


def _available_needs(base_policy: BasePolicy, env: TaskEnv) -> frozenset[str]:
    """Return what a base policy needs; refuse what the task does not have."""
    needs = checked_needs(base_policy)
    missing = needs - set(env.sensors.shapes)
    if missing:
        raise ConfigError(
            "base_policy",
            got=f"{type(base_policy).__name__}, which needs {sorted(missing)}",
            expected="a policy that needs only "
            f"{', '.join(sorted(env.sensors.shapes))}",
        )
    return needs


def _check_finite(obs: Mapping[str, np.ndarray], rows: np.ndarray) -> None:
    """Raise a DivergedError that names the first array with a non-finite number."""
    for name, value in obs.items():
        bad = np.argwhere(~np.isfinite(value))
        if len(bad):
            k = bad[0, 0]
            point = f"the observation {name}"
            raise DivergedError(point, str(value[k]), env=int(rows[k]))


def _masked(info: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
    """Return `info` with `mask` (n,) added under `_name` for every name."""
    found = {}
    for name, value in info.items():
        found[name] = _masked(value, mask) if isinstance(value, dict) else value
        found[f"_{name}"] = mask
    return found

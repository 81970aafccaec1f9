"""Where base policy and residual meet: `action = clip(base + alpha * residual, -1, 1)`.

The only place. Below it nobody knows that there is a base policy, above it nobody knows
what the base proposed, unless the learner is told through its observation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.vector import AutoresetMode, VectorEnv
from gymnasium.vector.utils import batch_space

from so101rl.arrays import clip, norm
from so101rl.base_policies.base import BasePolicy
from so101rl.envs.base import Obs, TaskEnv
from so101rl.envs.rewards import residual_size
from so101rl.errors import ConfigError, DivergedError
from so101rl.robots import so101
from so101rl.robots.actions import checked_action


class Alpha:
    """The residual's authority: one number, one per joint, or a ramp.

    Args:
        value: a number in [0, 1], six of them, or `{start, end, steps}`: linear from
            `start` to `end` over `steps` env steps.
    """

    def __init__(self, value: float | Sequence[float] | Mapping[str, float]):
        if isinstance(value, Mapping):
            self._start, self._end = float(value["start"]), float(value["end"])
            self._steps = float(value["steps"])
        else:
            self._start = self._end = np.asarray(value, float)  # type: ignore[assignment]
            self._steps = 1.0
        for end in (self._start, self._end):
            if np.shape(end) not in ((), (so101.N_JOINTS,)):
                raise ConfigError(
                    "residual.alpha", got=value, expected="one number or six"
                )

    def at(self, step: float) -> np.ndarray:
        """Authority per joint (6,) after `step` env steps."""
        share = min(step / self._steps, 1.0)
        value = self._start + share * (self._end - self._start)
        return np.broadcast_to(value, (so101.N_JOINTS,)).astype(float)


class ResidualEnv(VectorEnv):
    """A task whose actions are corrections of what a base policy proposes.

    Observations are flat `float32` vectors: the arrays that the task's `observation`
    names, each divided by its scale, and the base action if it is to be seen.

    Args:
        env: the task.
        base_policy: what proposes.
        alpha: authority of the residual, see `Alpha`.
        penalty: weight of the residual's mean square in the reward.
        observe_base_action: whether the learner sees the base action.
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
    ):
        missing = base_policy.needs - set(env.obs)
        if missing:
            raise ConfigError(
                "base_policy",
                got=f"{type(base_policy).__name__}, which needs {sorted(missing)}",
                expected=f"one that reads {', '.join(sorted(env.obs))}",
            )
        self.env, self.base_policy = env, base_policy
        self.num_envs = env.num_envs
        self._schedule = Alpha(alpha)
        self.alpha = self._schedule.at(0)
        self._penalty, self._observe_base = penalty, observe_base_action
        self._ids = np.arange(self.num_envs)
        self._columns: list[str] = []  # of the vector: which array they stem from
        self._names, self._factor = self._make_layout()
        self.base_action = self._propose(env.obs, self._ids)
        size = self._vector(env.obs, self.base_action).shape[1]
        self.single_observation_space = gym.spaces.Box(
            -np.inf, np.inf, (size,), np.float32
        )
        self.single_action_space = env.single_action_space
        self.action_space = env.action_space
        self.observation_space = batch_space(
            self.single_observation_space, self.num_envs
        )

    def progress(self, step: int) -> None:
        """Move the alpha schedule to `step` env steps."""
        self.alpha = self._schedule.at(step)

    def reset(
        self,
        *,
        seed: int | Sequence[int] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin new episodes everywhere; see `TaskEnv.reset`."""
        obs, info = self.env.reset(seed=seed, options=options)
        self.base_policy.reset(self._ids)
        self.base_action = self._propose(obs, self._ids)
        return self._vector(obs, self.base_action), info

    def step(
        self, action: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Apply residuals (n, 6) in [-1, 1] on top of the base policy."""
        residual = checked_action(action, self.num_envs, "residual")
        correction = self.alpha * residual
        wanted = self.base_action + correction
        total = clip(wanted, -1.0, 1.0)
        obs, reward, terminated, truncated, info = self.env.step(total)
        cost = -self._penalty * residual_size(residual)
        info["reward_terms"]["residual"] = cost
        info["residual_l2"] = norm(correction)
        info["clipped"] = np.add.reduce(wanted != total, axis=1) / so101.N_JOINTS
        if "final_obs" in info:
            done = np.flatnonzero(info["_final_obs"])
            final = info["final_obs"]
            # Advance every base policy on what it would have seen, then start afresh
            # where an episode ended; the learner bootstraps from the former.
            self.base_action = self._propose(final, self._ids)
            _finish(info, self._vector(final, self.base_action))
            self.base_policy.reset(done)
            begun = {name: value[done] for name, value in obs.items()}
            self.base_action = self.base_action.copy()
            self.base_action[done] = self._propose(begun, done)
        else:
            self.base_action = self._propose(obs, self._ids)
        vector = self._vector(obs, self.base_action)
        reward = reward + cost
        if not np.isfinite(np.add.reduce(reward)):
            row = int(np.flatnonzero(~np.isfinite(reward))[0])
            raise DivergedError("the reward", str(reward[row]), env=row)
        return vector, reward, terminated, truncated, info

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps depend on, base policy included."""
        return {
            "env": self.env.state_dict(),
            "base_policy": self.base_policy.state_dict(),
            "base_action": self.base_action.copy(),
            "alpha": self.alpha.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` of an equal environment returned."""
        self.env.load_state_dict(state["env"])
        self.base_policy.load_state_dict(state["base_policy"])
        self.base_action = np.array(state["base_action"])
        self.alpha = np.array(state["alpha"])

    def close_extras(self, **kwargs: Any) -> None:
        """Close the task."""
        self.env.close(**kwargs)

    def _propose(self, obs: Obs, ids: np.ndarray) -> np.ndarray:
        seen = {name: obs[name] for name in self.base_policy.needs}
        try:
            return self.base_policy.checked_act(seen, ids)
        except DivergedError:
            _check_seen(seen, ids)  # then it is not the policy's fault
            raise

    def _make_layout(self) -> tuple[list[str], np.ndarray]:
        """Names of the learner's arrays, and what their elements are multiplied by."""
        factors = []
        for name, scale in self.env.observation.items():
            if name not in self.env.obs:
                raise ConfigError(
                    f"env.observation.{name}",
                    got=name,
                    expected=f"one of {', '.join(sorted(self.env.obs))}",
                )
            size = self.env.obs[name].shape[1:]
            divisor = np.asarray(scale, float)
            if divisor.shape not in ((), size) or np.any(divisor <= 0):
                raise ConfigError(
                    f"env.observation.{name}",
                    got=scale,
                    expected=f"a scale > 0, or one for each of its {size} elements",
                )
            factors.append(np.broadcast_to(1.0 / divisor, size))
            self._columns += [name] * len(factors[-1])
        if self._observe_base:
            factors.append(np.ones(so101.N_JOINTS))
            self._columns += ["base_action"] * so101.N_JOINTS
        return list(self.env.observation), np.concatenate(factors)

    def _vector(self, obs: Obs, base_action: np.ndarray) -> np.ndarray:
        parts = [obs[name] for name in self._names]
        if self._observe_base:
            parts.append(base_action)
        vector = (np.concatenate(parts, axis=1) * self._factor).astype(np.float32)
        # One sum over everything costs a tenth of a test of every number.
        if not np.isfinite(np.add.reduce(vector, axis=None)):
            for row, column in np.argwhere(~np.isfinite(vector)):
                point = f"the observation {self._columns[column]}"
                raise DivergedError(point, str(vector[row, column]), env=int(row))
        return vector


def _check_seen(obs: Obs, ids: np.ndarray) -> None:
    """Raise a DivergedError that names the first array with a number not finite."""
    for name, value in obs.items():
        bad = np.argwhere(~np.isfinite(value))
        if len(bad):
            row = bad[0, 0]
            raise DivergedError(
                f"the observation {name}", str(value[row]), env=int(ids[row])
            )


def _finish(info: dict[str, Any], final: np.ndarray) -> None:
    """Tell of ended episodes as Gymnasium's own vector environments do.

    Args:
        info: what is known of the step; gets `final_obs` and `final_info`.
        final: last observations (n, d), of which only those of ended episodes count.
    """
    done = info.pop("_final_obs")
    del info["final_obs"]
    info["final_info"], info["_final_info"] = _masked(info, done), done
    info["final_obs"], info["_final_obs"] = np.full(len(done), None, object), done
    for i in np.flatnonzero(done):
        info["final_obs"][i] = final[i]


def _masked(info: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
    """Pair every name with a mask (n,) of the environments it is known of."""
    found = {}
    for name, value in info.items():
        found[name] = _masked(value, mask) if isinstance(value, dict) else value
        found[f"_{name}"] = mask
    return found

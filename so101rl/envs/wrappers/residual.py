"""The residual wrapper: `action = clip(base + alpha * residual, -1, 1)`.

Only this module knows both base policy and residual. A task sees the sum alone, and a
learner sees the base action only if it is part of the observation.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box
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
    """The weight of the residual: one number, one per joint, or a linear schedule.

    Args:
        value: a number in [0, 1], six numbers, or `{start, end, steps}`: linear from
            `start` to `end` over `steps` env steps.
    """

    def __init__(self, value: float | Sequence[float] | Mapping[str, float]):
        if not isinstance(value, Mapping):
            value = {"start": value, "end": value, "steps": 1}  # type: ignore[dict-item]
        self._steps = float(value["steps"])
        self._start, self._end = (np.asarray(value[k], float) for k in ("start", "end"))
        if {self._start.shape, self._end.shape} - {(), (so101.N_JOINTS,)}:
            expected = "one number or six"
            raise ConfigError("residual.alpha", got=value["start"], expected=expected)

    def at(self, step: float) -> np.ndarray:
        """Return the weight of each joint (6,) after `step` env steps."""
        fraction = min(step / self._steps, 1.0)
        value = self._start + fraction * (self._end - self._start)
        return np.broadcast_to(value, (so101.N_JOINTS,)).astype(float)


class ResidualEnv(VectorEnv):
    """A task whose actions are residuals, added to the actions of a base policy.

    Observations are flat `float32` vectors: the arrays named by the task's
    `observation`, each divided by its scale, then the base action if requested.

    Args:
        env: the task.
        base_policy: the base policy.
        alpha: weight of the residual, see `Alpha`.
        penalty: weight of the residual's mean square in the reward.
        observe_base_action: whether the observation includes the base action.
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
                expected=f"a policy that needs only {', '.join(sorted(env.obs))}",
            )
        self.env, self.base_policy = env, base_policy
        self.num_envs = env.num_envs
        self._schedule = Alpha(alpha)
        self.alpha = self._schedule.at(0)
        self._penalty, self._observe_base = penalty, observe_base_action
        self._ids = np.arange(self.num_envs)
        self._columns: list[str] = []  # name of each element of the vector
        self._names, self._factor = self._make_layout()
        self.base_action = self._propose(env.obs, self._ids)
        size = self._vector(env.obs, self.base_action).shape[1]
        self.single_observation_space = Box(-np.inf, np.inf, (size,), np.float32)
        self.single_action_space = env.single_action_space
        self.action_space = env.action_space
        self.observation_space = batch_space(
            self.single_observation_space, self.num_envs
        )

    def progress(self, step: int) -> None:
        """Set alpha to its value after `step` env steps."""
        self.alpha = self._schedule.at(step)

    def reset(
        self,
        *,
        seed: int | Sequence[int] | None = None,
        options: dict[str, Any] | None = None,
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Begin a new episode in every environment; see `TaskEnv.reset`."""
        obs, info = self.env.reset(seed=seed, options=options)
        self.base_policy.reset(self._ids)
        self.base_action = self._propose(obs, self._ids)
        return self._vector(obs, self.base_action), info

    def step(
        self, action: np.ndarray
    ) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray, dict[str, Any]]:
        """Advance one control step with residuals (n, 6) in [-1, 1]."""
        residual = checked_action(action, self.num_envs, "residual")
        correction = self.alpha * residual
        unclipped = self.base_action + correction
        total = clip(unclipped, -1.0, 1.0)
        obs, reward, terminated, truncated, info = self.env.step(total)
        cost = -self._penalty * residual_size(residual)
        info["reward_terms"]["residual"] = cost
        info["residual_l2"] = norm(correction)
        info["clipped"] = np.add.reduce(unclipped != total, axis=1) / so101.N_JOINTS
        if "final_obs" in info:
            done = np.flatnonzero(info["_final_obs"])
            final = info["final_obs"]
            # At the end of an episode, the base policy acts on the final observation,
            # because the learner bootstraps from it, then on the first of the next one.
            self.base_action = self._propose(final, self._ids)
            _add_final(info, self._vector(final, self.base_action))
            self.base_policy.reset(done)
            first = {name: value[done] for name, value in obs.items()}
            self.base_action = self.base_action.copy()
            self.base_action[done] = self._propose(first, done)
        else:
            self.base_action = self._propose(obs, self._ids)
        vector = self._vector(obs, self.base_action)
        reward = reward + cost
        if not np.isfinite(np.add.reduce(reward)):
            row = int(np.flatnonzero(~np.isfinite(reward))[0])
            raise DivergedError("the reward", str(reward[row]), env=row)
        return vector, reward, terminated, truncated, info

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next steps depend on, base policy included."""
        return {
            "env": self.env.state_dict(),
            "base_policy": self.base_policy.state_dict(),
            "base_action": self.base_action.copy(),
            "alpha": self.alpha.copy(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` of an environment with the same config returned."""
        self.env.load_state_dict(state["env"])
        self.base_policy.load_state_dict(state["base_policy"])
        self.base_action = np.array(state["base_action"])
        self.alpha = np.array(state["alpha"])

    def close_extras(self, **kwargs: Any) -> None:
        """Close the task."""
        self.env.close(**kwargs)

    def _propose(self, obs: Obs, ids: np.ndarray) -> np.ndarray:
        needed = {name: obs[name] for name in self.base_policy.needs}
        try:
            return self.base_policy.checked_act(needed, ids)
        except DivergedError:
            _check_finite(needed, ids)  # the cause may be an observation
            raise

    def _make_layout(self) -> tuple[list[str], np.ndarray]:
        """Return the names of the observed arrays and the factor of each element."""
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
                    expected=f"one scale > 0, or an array of them of shape {size}",
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
        # Checking one sum takes a tenth of the time of checking every number.
        if not np.isfinite(np.add.reduce(vector, axis=None)):
            for row, column in np.argwhere(~np.isfinite(vector)):
                point = f"the observation {self._columns[column]}"
                raise DivergedError(point, str(vector[row, column]), env=int(row))
        return vector


def _check_finite(obs: Obs, ids: np.ndarray) -> None:
    """Raise a DivergedError that names the first array with a non-finite number."""
    for name, value in obs.items():
        bad = np.argwhere(~np.isfinite(value))
        if len(bad):
            row = bad[0, 0]
            point = f"the observation {name}"
            raise DivergedError(point, str(value[row]), env=int(ids[row]))


def _add_final(info: dict[str, Any], final: np.ndarray) -> None:
    """Add `final_obs` and `final_info` in the format of Gymnasium's vector envs.

    Args:
        info: info of the step, changed in place.
        final: final observations (n, d); only rows of ended episodes are used.
    """
    done = info.pop("_final_obs")
    del info["final_obs"]
    info["final_info"], info["_final_info"] = _masked(info, done), done
    info["final_obs"], info["_final_obs"] = np.full(len(done), None, object), done
    for i in np.flatnonzero(done):
        info["final_obs"][i] = final[i]


def _masked(info: dict[str, Any], mask: np.ndarray) -> dict[str, Any]:
    """Return `info` with `mask` (n,) added under `_name` for every name."""
    found = {}
    for name, value in info.items():
        found[name] = _masked(value, mask) if isinstance(value, dict) else value
        found[f"_{name}"] = mask
    return found

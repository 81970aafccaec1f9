"""A residual environment as Stable-Baselines3 expects it, with episode statistics."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space
from stable_baselines3.common.vec_env import VecEnv

from so101rl.envs.observations import LearnerObs
from so101rl.envs.wrappers.residual import ResidualEnv

STATISTICS_KEY = "books"  # in checkpoints, which older versions have written too
# Names in the metrics of what `info` and an episode's record call otherwise.
LOGGED_INFOS = {"residual/l2": "residual_l2", "residual/clipped": "clipped"}
LOGGED_MEANS = {"r": "ep_rew_mean", "l": "ep_len_mean", "is_success": "success_rate"}


class EpisodeStatistics:
    """Means over steps and episodes since the last `read`."""

    def __init__(self, n_envs: int):
        self._return, self._length = np.zeros(n_envs), np.zeros(n_envs, int)
        self._episodes: list[dict[str, float]] = []
        self._sums: dict[str, float] = {}
        self._steps = 0

    def add(
        self, reward: np.ndarray, done: np.ndarray, info: dict[str, Any]
    ) -> list[dict[str, float]]:
        """Add one step of all environments; return the episodes that it ended."""
        self._return += reward
        self._length += 1
        self._steps += len(reward)
        named = {f"reward/{name}": v for name, v in info["reward_terms"].items()}
        named |= {f"task/{name}": v for name, v in info["numbers"].items()}
        for name, key in LOGGED_INFOS.items():
            named[name] = info[key]
        for name, value in named.items():
            self._sums[name] = self._sums.get(name, 0.0) + float(np.add.reduce(value))
        ended = [
            {
                "r": float(self._return[i]),
                "l": int(self._length[i]),
                "is_success": float(info["is_success"][i]),
            }
            for i in np.flatnonzero(done)
        ]
        self._episodes += ended
        self._return[done] = self._length[done] = 0
        return ended

    def read(self) -> dict[str, float]:
        """Return the metrics since the last call and start anew."""
        metrics = {name: value / self._steps for name, value in self._sums.items()}
        if self._episodes:
            for key, name in LOGGED_MEANS.items():
                values = [episode[key] for episode in self._episodes]
                metrics[f"rollout/{name}"] = float(np.mean(values))
            metrics["rollout/episodes"] = float(len(self._episodes))
        self._episodes, self._sums, self._steps = [], {}, 0
        return metrics

    def state_dict(self) -> dict[str, Any]:
        """Return everything that was added since the last `read`."""
        return {
            "return": self._return.copy(),
            "length": self._length.copy(),
            "episodes": [dict(episode) for episode in self._episodes],
            "sums": dict(self._sums),
            "steps": self._steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._return[:], self._length[:] = state["return"], state["length"]
        self._episodes = [dict(episode) for episode in state["episodes"]]
        self._sums, self._steps = dict(state["sums"]), int(state["steps"])


class SB3VecEnv(VecEnv):
    """Adapter from a `ResidualEnv` to Stable-Baselines3's `VecEnv`.

    Args:
        env: the environment; it resets itself in the step that ends an episode.
        seeds: seeds of the first episodes, one per environment, which determine the
            later ones too; with None the generators continue from their state.
    """

    def __init__(self, env: ResidualEnv, seeds: Sequence[int] | None = None):
        env.render_mode = None
        self.env = env  # set first, because SB3's constructor reads attributes
        space = _channels_first(env.single_observation_space)
        super().__init__(env.num_envs, space, env.single_action_space)
        self.episode_statistics = EpisodeStatistics(env.num_envs)
        self._first_seeds = seeds
        self._actions = np.zeros((0,))

    def reset(self) -> LearnerObs:  # type: ignore[override]
        """Return the first observations; `seeds` take precedence over SB3's `seed`."""
        seed: int | Sequence[int] | None = self._first_seeds
        if self._seeds[0] is not None and seed is None:
            seed = int(self._seeds[0])
        self._first_seeds = None
        obs, _ = self.env.reset(seed=seed)
        self._reset_seeds()
        return _for_sb3(obs)

    def step_async(self, actions: np.ndarray) -> None:
        """Store the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[LearnerObs, np.ndarray, np.ndarray, list[dict]]:  # type: ignore[override]
        """Step all environments with the stored actions."""
        obs, reward, terminated, truncated, info = self.env.step(self._actions)
        done = terminated | truncated
        ended = self.episode_statistics.add(reward, done, info)
        infos: list[dict] = [{} for _ in range(self.num_envs)]
        for i, episode in zip(np.flatnonzero(done), ended, strict=True):
            infos[i] = {
                "episode": episode,
                "is_success": bool(info["is_success"][i]),
                "terminal_observation": _for_sb3(info["final_obs"][i]),
                "TimeLimit.truncated": bool(truncated[i]),
            }
        return _for_sb3(obs), reward.astype(np.float32), done, infos

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next steps and the next metrics depend on."""
        statistics = self.episode_statistics.state_dict()
        return {"env": self.env.state_dict(), STATISTICS_KEY: statistics}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` of a batch with the same config returned."""
        self._first_seeds = None
        self.env.load_state_dict(state["env"])
        self.episode_statistics.load_state_dict(state[STATISTICS_KEY])

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """Return the batch's attribute, repeated for each of `indices`."""
        return [getattr(self.env, attr_name)] * len(self._indices(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the batch, which all environments share."""
        if len(self._indices(indices)) != self.num_envs:
            raise ValueError("all environments of a batch share their attributes")
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method of the batch once; repeat its result for each of `indices`."""
        result = getattr(self.env, method_name)(*args, **kwargs)
        return [result] * len(self._indices(indices))

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Return whether the batch is of that class, for each of `indices`."""
        wrapped = isinstance(self.env, wrapper_class)
        return [wrapped] * len(self._indices(indices))

    def _indices(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))


class SpacesVecEnv(SB3VecEnv):
    """Tells a learner that only loads a policy the spaces of an environment.

    Args:
        env: the environment, which is not used otherwise.
    """

    def __init__(self, env: ResidualEnv):
        self.env = env
        space = _channels_first(env.single_observation_space)
        VecEnv.__init__(self, 1, space, env.single_action_space)


def _channels_first(space: Space) -> Space:
    """Return a space whose pictures are (3, height, width), as torch takes them.

    Stable-Baselines3 would transpose them itself, by views whose layout in memory a
    resumed run would not have, so that its sums differed in the last bit.
    """
    if not isinstance(space, Dict):
        return space
    spaces: dict[str, Space] = {}
    for name, own in space.spaces.items():
        if isinstance(own, Box) and own.dtype == np.uint8:
            height, width, channels = own.shape
            own = Box(0, 255, (channels, height, width), np.uint8)
        spaces[name] = own
    return Dict(spaces)


def _for_sb3(obs: LearnerObs) -> LearnerObs:
    """Return observations, of one or several environments, with channels first."""
    if not isinstance(obs, dict):
        return obs
    return {
        name: np.ascontiguousarray(np.moveaxis(value, -1, -3))
        if value.dtype == np.uint8
        else value
        for name, value in obs.items()
    }

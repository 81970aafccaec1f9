"""Stable-Baselines3's view of a residual environment, and the books of its episodes."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from stable_baselines3.common.vec_env import VecEnv

from so101rl.envs.wrappers.residual import ResidualEnv


class Books:
    """Sums and finished episodes since they were last read."""

    def __init__(self, n_envs: int):
        self._return, self._length = np.zeros(n_envs), np.zeros(n_envs, int)
        self._episodes: list[dict[str, float]] = []
        self._sums: dict[str, float] = {}
        self._steps = 0

    def add(
        self, reward: np.ndarray, done: np.ndarray, info: dict[str, Any]
    ) -> list[dict[str, float]]:
        """Book one step of all environments; returns the episodes that ended."""
        self._return += reward
        self._length += 1
        self._steps += len(reward)
        for name, value in self._means(info):
            self._sums[name] = self._sums.get(name, 0.0) + float(value.sum())
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

    def state_dict(self) -> dict[str, Any]:
        """What is booked so far."""
        return {
            "return": self._return.copy(),
            "length": self._length.copy(),
            "episodes": [dict(episode) for episode in self._episodes],
            "sums": dict(self._sums),
            "steps": self._steps,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` returned."""
        self._return[:], self._length[:] = state["return"], state["length"]
        self._episodes = [dict(episode) for episode in state["episodes"]]
        self._sums, self._steps = dict(state["sums"]), int(state["steps"])

    def read(self) -> dict[str, float]:
        """Metrics since the last call, which they forget."""
        metrics = {name: value / self._steps for name, value in self._sums.items()}
        if self._episodes:
            mean = {
                key: float(np.mean([episode[key] for episode in self._episodes]))
                for key in ("r", "l", "is_success")
            }
            metrics["rollout/ep_rew_mean"] = mean["r"]
            metrics["rollout/ep_len_mean"] = mean["l"]
            metrics["rollout/success_rate"] = mean["is_success"]
            metrics["rollout/episodes"] = float(len(self._episodes))
        self._episodes, self._sums, self._steps = [], {}, 0
        return metrics

    @staticmethod
    def _means(info: dict[str, Any]) -> list[tuple[str, np.ndarray]]:
        named = [(f"reward/{name}", v) for name, v in info["reward_terms"].items()]
        return [
            *named,
            ("task/distance_m", info["distance_m"]),
            ("residual/l2", info["residual_l2"]),
            ("residual/clipped", info["clipped"]),
        ]


class SB3VecEnv(VecEnv):
    """Hands a `ResidualEnv` to Stable-Baselines3.

    Args:
        env: the environment; it resets itself in the step that ends an episode.
        seeds: seeds of the first episodes, one per environment; later episodes
            follow from them. With None the generators go on from where they are.
    """

    def __init__(self, env: ResidualEnv, seeds: Sequence[int] | None = None):
        env.render_mode = None
        self.env = env  # SB3 asks for attributes while it starts
        super().__init__(
            env.num_envs, env.single_observation_space, env.single_action_space
        )
        self.books = Books(env.num_envs)
        self._first_seeds = seeds
        self._actions = np.zeros((0,))

    def reset(self) -> np.ndarray:  # type: ignore[override]
        """First observations; a seed typed by SB3's `seed` goes before `seeds`."""
        seed: int | Sequence[int] | None = self._first_seeds
        if self._seeds[0] is not None and seed is None:
            seed = int(self._seeds[0])
        self._first_seeds = None
        obs, _ = self.env.reset(seed=seed)
        self._reset_seeds()
        return obs

    def step_async(self, actions: np.ndarray) -> None:
        """Keep the actions for `step_wait`."""
        self._actions = actions

    def step_wait(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, list[dict]]:  # type: ignore[override]
        """Step all environments."""
        obs, reward, terminated, truncated, info = self.env.step(self._actions)
        done = terminated | truncated
        ended = self.books.add(reward, done, info)
        infos: list[dict] = [{} for _ in range(self.num_envs)]
        for i, episode in zip(np.flatnonzero(done), ended, strict=True):
            infos[i] = {
                "episode": episode,
                "is_success": bool(info["is_success"][i]),
                "terminal_observation": info["final_obs"][i],
                "TimeLimit.truncated": bool(truncated[i]),
            }
        return obs, reward.astype(np.float32), done, infos

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps and the next line of metrics depend on."""
        return {"env": self.env.state_dict(), "books": self.books.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` of an equal batch returned."""
        self._first_seeds = None
        self.env.load_state_dict(state["env"])
        self.books.load_state_dict(state["books"])

    def close(self) -> None:
        """Close the environment."""
        self.env.close()

    def get_attr(self, attr_name: str, indices: Any = None) -> list[Any]:
        """The batch's attribute, once per environment asked for."""
        return [getattr(self.env, attr_name)] * len(self._indices(indices))

    def set_attr(self, attr_name: str, value: Any, indices: Any = None) -> None:
        """Set an attribute of the whole batch."""
        if len(self._indices(indices)) != self.num_envs:
            raise ValueError("a batch has one set of attributes, for all environments")
        setattr(self.env, attr_name, value)

    def env_method(
        self, method_name: str, *args: Any, indices: Any = None, **kwargs: Any
    ) -> list[Any]:
        """Call a method of the batch, once."""
        result = getattr(self.env, method_name)(*args, **kwargs)
        return [result] * len(self._indices(indices))

    def env_is_wrapped(self, wrapper_class: type, indices: Any = None) -> list[bool]:
        """Whether the batch is of that class."""
        wrapped = isinstance(self.env, wrapper_class)
        return [wrapped] * len(self._indices(indices))

    def _indices(self, indices: Any) -> Sequence[int]:
        return list(self._get_indices(indices))

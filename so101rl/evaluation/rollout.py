"""Run episodes and summarize them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.evaluation.referee import Referee, TaskReferee
from so101rl.policies.policy import Policy
from so101rl.rendering.renderer import Drawable
from so101rl.runs.episodes_csv import FINAL
from so101rl.runs.trajectories import NUMBER, POSE, Trajectory


@dataclass(kw_only=True)
class Episode:
    """The result of one episode.

    Attributes:
        solved_after: control steps until it was solved for good; None: it was not.
        numbers: the task's numbers at its end, by name.
        qpos: simulated states (T, nq); None for an arm that is not simulated.
    """

    seed: int
    is_success: bool
    total_reward: float
    length: int
    solved_after: int | None
    numbers: Mapping[str, float]
    mean_residual_l2: float
    failure: str
    qpos: np.ndarray | None
    trajectory: Trajectory


def run_episodes(
    env: ResidualEnv,
    policy: Policy,
    seeds: Sequence[int],
    referee: Referee | None = None,
) -> list[Episode]:
    """Run one episode per seed.

    Args:
        env: any batch; it runs as often as needed.
        policy: gives the residuals.
        seeds: the episodes.
        referee: says which episodes are solved; None: the task.
    """
    judge, episodes = referee or TaskReferee(), list[Episode]()
    for first in range(0, len(seeds), env.num_envs):
        batch = list(seeds[first : first + env.num_envs])
        # The last batch is filled up with repeated episodes, which are dropped.
        padded = batch + batch[:1] * (env.num_envs - len(batch))
        episodes += _run_batch(env, policy, padded, judge, len(batch))
    return episodes


def _run_batch(
    env: ResidualEnv, policy: Policy, seeds: list[int], referee: Referee, wanted: int
) -> list[Episode]:
    """Run an episode per environment; return the first `wanted` ones."""
    n, hardware = env.num_envs, env.env.hardware
    env.env.autoreset = False  # so that final states can be recorded
    policy.reset()
    obs, _ = env.reset(seed=seeds)
    episodes: list[Episode | None] = [None] * n
    total, size, unsolved = np.zeros(n), np.zeros(n), np.zeros(n, int)
    states: list[np.ndarray] = []
    track = {name: [value.copy()] for name, value in _states(env).items()}
    while any(episode is None for episode in episodes[:wanted]):
        obs, reward, terminated, truncated, info = env.step(policy.act(obs))
        if isinstance(hardware, Drawable):
            states.append(hardware.qpos.copy())
        for name, value in (_states(env) | _steps(info)).items():
            track.setdefault(name, []).append(value.copy())
        total += reward
        size += info["residual_l2"]
        unsolved[~info["is_success"]] = len(track["clipped"])  # the last such step
        for i in np.flatnonzero(terminated | truncated):
            if episodes[i] is not None or i >= wanted:
                continue
            length, numbers = int(info["episode_length"][i]), info["numbers"]
            solved, failure = referee.judge(
                bool(info["is_success"][i]), str(info["failure"][i])
            )
            episodes[i] = Episode(
                seed=seeds[i],
                is_success=solved,
                total_reward=float(total[i]),
                length=length,
                solved_after=min(int(unsolved[i]) + 1, length) if solved else None,
                numbers={name: float(value[i]) for name, value in numbers.items()},
                mean_residual_l2=float(size[i] / length),
                failure=failure,
                qpos=np.array([row[i] for row in states]) if states else None,
                trajectory=Trajectory.of_arrays(
                    {k: np.array([row[i] for row in v]) for k, v in track.items()}
                ),
            )
    return [episode for episode in episodes if episode is not None]


def _states(env: ResidualEnv) -> dict[str, np.ndarray]:
    """Return true object poses (n, 7) and fingertip position (n, 3) [m], as named."""
    tip, _ = env.env.kinematics.fk(env.env.sensors.measured)
    return {f"{POSE}{name}": p for name, p in env.env.poses.items()} | {"tip": tip}


def _steps(info: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Return what an `info` has of a trajectory, by its names there."""
    numbers = {f"{NUMBER}{name}": value for name, value in info["numbers"].items()}
    return numbers | {name: info[name] for name in ("residual_l2", "clipped")}


def episode_rows(
    policy: str, episodes: Sequence[Episode], hz: int
) -> list[dict[str, Any]]:
    """Return the rows of `episodes.csv`."""
    return [
        {
            "policy": policy,
            "episode": number,
            "seed": episode.seed,
            "is_success": episode.is_success,
            "return": episode.total_reward,
            "length": episode.length,
            **{f"{FINAL}{name}": value for name, value in episode.numbers.items()},
            "time_to_success_s": _seconds(episode.solved_after, hz),
            "mean_residual_l2": episode.mean_residual_l2,
            "failure": episode.failure,
        }
        for number, episode in enumerate(episodes)
    ]


def _seconds(steps: int | None, hz: int) -> float | None:
    return None if steps is None else steps / hz

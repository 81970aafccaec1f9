"""Held-out episodes: running them, and summing them up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.policies.policy import Policy
from so101rl.rendering.renderer import drawable
from so101rl.runs.trajectories import NAMES, STATES, Trajectory
from so101rl.statistics import wilson

MEASURED = tuple(name for name in NAMES if name not in STATES)  # told by every step


@dataclass(kw_only=True)
class Episode:
    """What happened in one episode, and the states (T, nq) it went through."""

    seed: int
    is_success: bool
    total_reward: float
    length: int
    final_distance_m: float
    final_yaw_error_rad: float
    mean_residual_l2: float
    failure: str
    qpos: np.ndarray
    trajectory: Trajectory


def run_episodes(
    env: ResidualEnv, policy: Policy, seeds: Sequence[int]
) -> list[Episode]:
    """Run one episode per seed.

    Args:
        env: any batch; it is filled as often as needed.
        policy: what is asked for residuals.
        seeds: the episodes.
    """
    found: list[Episode] = []
    for first in range(0, len(seeds), env.num_envs):
        batch = list(seeds[first : first + env.num_envs])
        # A last batch that is not full repeats an episode, which is then dropped.
        padded = batch + batch[:1] * (env.num_envs - len(batch))
        found += _run_batch(env, policy, padded)[: len(batch)]
    return found


def _run_batch(env: ResidualEnv, policy: Policy, seeds: list[int]) -> list[Episode]:
    n, world = env.num_envs, drawable(env.env.hardware)
    env.env.autoreset = False  # a solved state stays to be seen
    policy.reset()
    obs, _ = env.reset(seed=seeds)
    episodes: list[Episode | None] = [None] * n
    total, size = np.zeros(n), np.zeros(n)
    states: list[np.ndarray] = []
    track: dict[str, list[np.ndarray]] = {name: [] for name in NAMES}
    _add(track, _whereabouts(env))
    while any(episode is None for episode in episodes):
        obs, reward, terminated, truncated, info = env.step(policy.act(obs))
        states.append(world.qpos.copy())
        _add(track, _whereabouts(env) | {name: info[name] for name in MEASURED})
        total += reward
        size += info["residual_l2"]
        for i in np.flatnonzero(terminated | truncated):
            if episodes[i] is not None:
                continue
            length = int(info["episode_length"][i])
            episodes[i] = Episode(
                seed=seeds[i],
                is_success=bool(terminated[i]),
                total_reward=float(total[i]),
                length=length,
                final_distance_m=float(info["distance_m"][i]),
                final_yaw_error_rad=float(info["yaw_error_rad"][i]),
                mean_residual_l2=float(size[i] / length),
                failure=str(info["failure"][i]),
                qpos=np.array([row[i] for row in states]),
                trajectory=Trajectory(
                    **{
                        name: np.array([row[i] for row in track[name]])
                        for name in track
                    }
                ),
            )
    return [episode for episode in episodes if episode is not None]


def _whereabouts(env: ResidualEnv) -> dict[str, np.ndarray]:
    """Where object (n, 7) and fingertip (n, 3) really are [m]."""
    tip, _ = env.env.kinematics.fk(env.env.hardware.arm.read()[0])
    return {"object_pose": env.env.true_pose, "tip": tip}


def _add(track: dict[str, list[np.ndarray]], step: Mapping[str, np.ndarray]) -> None:
    for name, value in step.items():
        track[name].append(value.copy())


def episode_rows(
    policy: str, episodes: Sequence[Episode], hz: int
) -> list[dict[str, Any]]:
    """The lines of `episodes.csv`."""
    return [
        {
            "policy": policy,
            "episode": number,
            "seed": episode.seed,
            "is_success": episode.is_success,
            "return": episode.total_reward,
            "length": episode.length,
            "final_distance_m": episode.final_distance_m,
            "final_yaw_error_rad": episode.final_yaw_error_rad,
            "time_to_success_s": episode.length / hz if episode.is_success else None,
            "mean_residual_l2": episode.mean_residual_l2,
            "failure": episode.failure,
        }
        for number, episode in enumerate(episodes)
    ]


def summarize(
    episodes: Sequence[Episode], hz: int, root: int, role: str
) -> dict[str, Any]:
    """One policy's entry in `evaluation.json`."""
    solved = [episode for episode in episodes if episode.is_success]
    failures = [episode.failure for episode in episodes if not episode.is_success]
    times = [episode.length / hz for episode in solved]

    def mean(name: str) -> float:
        return float(np.mean([getattr(episode, name) for episode in episodes]))

    return {
        "success_rate": len(solved) / len(episodes),
        "wilson_95": list(wilson(len(solved), len(episodes))),
        "n_episodes": len(episodes),
        "mean_return": mean("total_reward"),
        "mean_final_distance_m": mean("final_distance_m"),
        "mean_time_to_success_s": float(np.mean(times)) if times else None,
        "mean_residual_l2": mean("mean_residual_l2"),
        "failures": {name: failures.count(name) for name in sorted(set(failures))},
        "seeds": {
            "role": role,
            "root": root,
            "first": episodes[0].seed,
            "n": len(episodes),
        },
    }

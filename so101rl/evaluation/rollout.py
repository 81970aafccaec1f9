"""Run episodes and summarize them."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.policies.policy import Policy
from so101rl.rendering.renderer import drawable
from so101rl.runs.trajectories import NAMES, STATES, Trajectory

STEP_INFOS = tuple(name for name in NAMES if name not in STATES)  # in every `info`


@dataclass(kw_only=True)
class Episode:
    """The result of one episode, with its states `qpos` (T, nq)."""

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
        env: any batch; it runs as often as needed.
        policy: gives the residuals.
        seeds: the episodes.
    """
    episodes: list[Episode] = []
    for first in range(0, len(seeds), env.num_envs):
        batch = list(seeds[first : first + env.num_envs])
        # The last batch is filled up with repeated episodes, which are dropped.
        padded = batch + batch[:1] * (env.num_envs - len(batch))
        episodes += _run_batch(env, policy, padded)[: len(batch)]
    return episodes


def _run_batch(env: ResidualEnv, policy: Policy, seeds: list[int]) -> list[Episode]:
    n, world = env.num_envs, drawable(env.env.hardware)
    env.env.autoreset = False  # so that final states can be recorded
    policy.reset()
    obs, _ = env.reset(seed=seeds)
    episodes: list[Episode | None] = [None] * n
    total, size = np.zeros(n), np.zeros(n)
    states: list[np.ndarray] = []
    track = {name: [pose.copy()] for name, pose in _poses(env).items()}
    track |= {name: [] for name in STEP_INFOS}
    while any(episode is None for episode in episodes):
        obs, reward, terminated, truncated, info = env.step(policy.act(obs))
        states.append(world.qpos.copy())
        for name, value in (info | _poses(env)).items():
            if name in track:
                track[name].append(value.copy())
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
                    **{k: np.array([row[i] for row in v]) for k, v in track.items()}
                ),
            )
    return [episode for episode in episodes if episode is not None]


def _poses(env: ResidualEnv) -> dict[str, np.ndarray]:
    """Return the true object pose (n, 7) and fingertip position (n, 3) [m]."""
    tip, _ = env.env.kinematics.fk(env.env.hardware.arm.read()[0])
    return {"object_pose": env.env.true_pose, "tip": tip}


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
            "final_distance_m": episode.final_distance_m,
            "final_yaw_error_rad": episode.final_yaw_error_rad,
            "time_to_success_s": episode.length / hz if episode.is_success else None,
            "mean_residual_l2": episode.mean_residual_l2,
            "failure": episode.failure,
        }
        for number, episode in enumerate(episodes)
    ]

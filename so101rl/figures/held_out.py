"""Reads the held-out episodes of a run: their failure classes and every step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from so101rl.figures.style import FigureError
from so101rl.figures.tabletop import flat
from so101rl.runs.run_dir import EPISODES, RunDir
from so101rl.runs.trajectories import TRAJECTORIES, Trajectory, read_trajectories
from so101rl.statistics import BASE, RESIDUAL


@dataclass(frozen=True, kw_only=True)
class HeldOutEpisode:
    """One held-out episode of T control steps.

    Attributes:
        failure: failure class; `none` if it was solved.
        steps: the recorded steps.
        poses: by part that moves (T + 1, 3): x [m], y [m], yaw [rad].
    """

    failure: str
    steps: Trajectory
    poses: Mapping[str, np.ndarray]

    @property
    def way(self) -> np.ndarray:
        """Path x, y (T + 1, 2) [m] of the first part that moves, or else of the tip."""
        first = next(iter(self.poses.values()), self.steps.tip)
        return first[:, :2]


Episodes = Mapping[str, Sequence[HeldOutEpisode]]  # by policy


def failures_in(episodes: Episodes) -> list[str]:
    """The failure class of every episode of every policy."""
    return [episode.failure for own in episodes.values() for episode in own]


def read_failures(run: RunDir) -> dict[str, dict[int, str]]:
    """Failure class (`none` if solved) of every episode, by policy and seed."""
    rows = run.episodes()
    if not rows:
        raise _missing(run, EPISODES)
    failures: dict[str, dict[int, str]] = {}
    for row in rows:
        failures.setdefault(row["policy"], {})[row["seed"]] = row["failure"]
    return failures


def read_episodes(run: RunDir) -> dict[str, list[HeldOutEpisode]]:
    """Every episode with its steps, by policy, in the same order for all policies.

    Raises:
        FigureError: the run has no `trajectories.npz`.
    """
    path = run.path / TRAJECTORIES
    if not path.is_file():
        raise _missing(run, TRAJECTORIES)
    failures, moving = read_failures(run), run.task().free
    return {
        policy: [
            HeldOutEpisode(
                failure=failure,
                steps=own,
                poses={name: flat(own.poses[name]) for name in moving},
            )
            for failure, own in zip(failures[policy].values(), steps, strict=True)
        ]
        for policy, steps in read_trajectories(path).items()
    }


def read_paired_failures(run: RunDir) -> list[tuple[str, str]]:
    """Failure class of each episode with the base and with the residual.

    Raises:
        FigureError: base or residual has no episodes.
    """
    failures = read_failures(run)
    for policy in (BASE, RESIDUAL):
        if policy not in failures:
            raise FigureError(
                f"{run.path} has no episodes of {policy!r}, only of "
                f"{', '.join(map(repr, failures))}; a comparison needs both"
            )
    residual = failures[RESIDUAL]
    return [(failure, residual[seed]) for seed, failure in failures[BASE].items()]


def _missing(run: RunDir, name: str) -> FigureError:
    return FigureError(
        f"{run.path} has no {name}; this runs its episodes again and records them: "
        f"python main.py job=evaluate run={run.path}"
    )

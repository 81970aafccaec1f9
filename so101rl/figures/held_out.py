"""What figures read of a run: how its held-out episodes ended, and every step."""

from dataclasses import dataclass

import numpy as np

from so101rl.figures.style import FigureError
from so101rl.figures.tabletop import flat
from so101rl.runs.run_dir import EPISODES, RunDir
from so101rl.runs.trajectories import TRAJECTORIES, Trajectory, read_trajectories
from so101rl.statistics import BASE, RESIDUAL


@dataclass(frozen=True, kw_only=True)
class Played:
    """One held-out episode.

    Attributes:
        seed: the same for every policy that played it.
        end: failure class; `none` if it was solved.
        steps: what happened.
        poses: of the object (T + 1, 3): x [m], y [m], yaw [rad].
    """

    seed: int
    end: str
    steps: Trajectory
    poses: np.ndarray


def read_ends(run: RunDir) -> dict[str, dict[int, str]]:
    """How the episodes ended: class (`none`: solved) by policy and seed."""
    rows = run.episodes()
    if not rows:
        raise _missing(run, EPISODES)
    found: dict[str, dict[int, str]] = {}
    for row in rows:
        found.setdefault(row["policy"], {})[row["seed"]] = row["failure"]
    return found


def read_played(run: RunDir) -> dict[str, list[Played]]:
    """Every episode with its steps, by policy.

    Raises:
        FigureError: the run keeps no steps, because it is older than they are.
    """
    path = run.path / TRAJECTORIES
    if not path.is_file():
        raise _missing(run, TRAJECTORIES)
    steps, ends = read_trajectories(path), read_ends(run)
    return {
        policy: [
            Played(seed=seed, end=end, steps=own, poses=flat(own.object_pose))
            for (seed, end), own in zip(ends[policy].items(), found, strict=True)
        ]
        for policy, found in steps.items()
    }


def paired(ends: dict[str, dict[int, str]], run: RunDir) -> list[tuple[str, str]]:
    """How base and residual ended the same episodes.

    Raises:
        FigureError: one of them did not play.
    """
    lacking = [policy for policy in (BASE, RESIDUAL) if policy not in ends]
    if lacking:
        raise FigureError(
            f"{run.path} has no episodes of {lacking[0]!r}, only of "
            f"{', '.join(map(repr, ends))}; to compare takes both"
        )
    return [(end, ends[RESIDUAL][seed]) for seed, end in ends[BASE].items()]


def _missing(run: RunDir, name: str) -> FigureError:
    return FigureError(
        f"{run.path} has no {name} to draw; this plays its episodes again and keeps "
        f"every step: python main.py job=evaluate run={run.path}"
    )

"""`trajectories.npz`: every step of the episodes in `episodes.csv`.

Plain arrays without pickle. The episodes of a policy lie one after another, in the
order of `episodes.csv`, and `length` says where one ends.
"""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from so101rl.files import FileError, write_atomic

TRAJECTORIES = "trajectories.npz"
POSE, NUMBER = "pose/", "number/"  # prefixes of the arrays of objects and numbers


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One episode of T control steps.

    Attributes:
        poses: where each object was (T + 1, 7): position [m], quaternion wxyz.
        tip: where the fingertip was (T + 1, 3) [m].
        numbers: the task's numbers (T,) by name.
        residual_l2: norm of alpha * residual (T,), in units of the action.
        clipped: share of the action's elements that had to be clipped (T,).
    """

    poses: Mapping[str, np.ndarray]
    tip: np.ndarray
    numbers: Mapping[str, np.ndarray]
    residual_l2: np.ndarray
    clipped: np.ndarray

    def __len__(self) -> int:
        """Return the number of control steps."""
        return len(self.residual_l2)

    def arrays(self) -> dict[str, np.ndarray]:
        """Return all arrays by their names in the file."""
        return {
            **{f"{POSE}{name}": value for name, value in self.poses.items()},
            "tip": self.tip,
            **{f"{NUMBER}{name}": value for name, value in self.numbers.items()},
            "residual_l2": self.residual_l2,
            "clipped": self.clipped,
        }

    @classmethod
    def of_arrays(cls, arrays: Mapping[str, np.ndarray]) -> "Trajectory":
        """Return the episode of `arrays`, named as in the file."""

        def below(prefix: str) -> dict[str, np.ndarray]:
            return {
                name.removeprefix(prefix): value
                for name, value in arrays.items()
                if name.startswith(prefix)
            }

        plain = {name: arrays[name] for name in ("tip", "residual_l2", "clipped")}
        return cls(poses=below(POSE), numbers=below(NUMBER), **plain)


def write_trajectories(
    path: Path, episodes: Mapping[str, Sequence[Trajectory]]
) -> None:
    """Write the episodes of every policy, rounded to single precision."""
    arrays = {}
    for policy, found in episodes.items():
        arrays[f"{policy}/length"] = np.array([len(episode) for episode in found])
        named = [episode.arrays() for episode in found]
        for name in named[0]:
            joined = np.concatenate([own[name] for own in named])
            arrays[f"{policy}/{name}"] = joined.astype(np.float32)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomic(path, buffer.getvalue())


def read_trajectories(
    path: str | os.PathLike[str],
) -> dict[str, list[Trajectory]]:
    """Return the episodes of every policy, in the order of `episodes.csv`.

    Raises:
        FileError: the file is missing, damaged, or something else.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        lengths = [key for key in arrays if key.rpartition("/")[2] == "length"]
        policies = [
            key.removesuffix("/length") for key in lengths if key.count("/") == 1
        ]
        return {policy: _read_policy(policy, arrays) for policy in policies}
    except (OSError, EOFError, ValueError, LookupError, BadZipFile) as error:
        raise FileError(f"cannot read {path}: {error}") from error


def _read_policy(policy: str, arrays: Mapping[str, np.ndarray]) -> list[Trajectory]:
    length, parts = arrays[f"{policy}/length"], {}
    for key, whole in arrays.items():
        name = key.removeprefix(f"{policy}/")
        if name in (key, "length"):
            continue
        rows = length + (name == "tip" or name.startswith(POSE))
        if len(whole) != rows.sum():
            raise ValueError(f"{key} has {len(whole)} rows, expected {rows.sum()}")
        parts[name] = np.split(whole, np.cumsum(rows)[:-1])
    return [
        Trajectory.of_arrays({name: own[i] for name, own in parts.items()})
        for i in range(len(length))
    ]

"""`trajectories.npz`: every step of the episodes in `episodes.csv`.

Plain arrays without pickle. The episodes of a policy lie one after another, in the
order of `episodes.csv`, and `length` says where one ends.
"""

import io
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from zipfile import BadZipFile

import numpy as np

from so101rl.files import FileError, write_atomic

TRAJECTORIES = "trajectories.npz"
STATES = ("object_pose", "tip")  # also known before the first step


@dataclass(frozen=True, kw_only=True)
class Trajectory:
    """One episode of T control steps.

    Attributes:
        object_pose: where the object was (T + 1, 7): position [m], quaternion wxyz.
        tip: where the fingertip was (T + 1, 3) [m].
        distance_m: of the object from its goal (T,) [m].
        yaw_error_rad: of the object (T,) [rad].
        residual_l2: norm of alpha * residual (T,), in units of the action.
        clipped: share of the joints whose action had to be clipped (T,).
    """

    object_pose: np.ndarray
    tip: np.ndarray
    distance_m: np.ndarray
    yaw_error_rad: np.ndarray
    residual_l2: np.ndarray
    clipped: np.ndarray


NAMES = tuple(field.name for field in fields(Trajectory))


def write_trajectories(
    path: Path, episodes: Mapping[str, Sequence[Trajectory]]
) -> None:
    """Write the episodes of every policy, rounded to single precision."""
    arrays = {}
    for policy, found in episodes.items():
        lengths = [len(episode.distance_m) for episode in found]
        arrays[f"{policy}/length"] = np.array(lengths)
        for name in NAMES:
            joined = np.concatenate([getattr(episode, name) for episode in found])
            arrays[f"{policy}/{name}"] = joined.astype(np.float32)
    buffer = io.BytesIO()
    np.savez_compressed(buffer, allow_pickle=False, **arrays)
    write_atomic(path, buffer.getvalue())


def read_trajectories(path: str | os.PathLike[str]) -> dict[str, list[Trajectory]]:
    """The episodes of every policy, in the order of `episodes.csv`.

    Raises:
        FileError: the file is missing, damaged, or something else.
    """
    found: dict[str, list[Trajectory]] = {}
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        for key in arrays:
            policy, _, name = key.rpartition("/")
            if name != "length":
                continue
            length = arrays[key]
            parts = {}
            for name in NAMES:
                rows = length + (name in STATES)
                whole = arrays[f"{policy}/{name}"]
                if len(whole) != rows.sum():
                    raise ValueError(f"{policy}/{name} has {len(whole)} rows")
                parts[name] = np.split(whole, np.cumsum(rows)[:-1])
            found[policy] = [
                Trajectory(**{name: parts[name][i] for name in NAMES})
                for i in range(len(length))
            ]
    except (OSError, EOFError, ValueError, LookupError, BadZipFile) as error:
        raise FileError(f"cannot read {path}: {error}") from error
    return found

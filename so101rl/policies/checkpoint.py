"""Policies on disk: our checkpoints, and SB3 zips for other people's scripts.

A checkpoint is a directory of tensors and JSON; reading it runs no code. It is written
under a temporary name, flushed to the disk and renamed, and its manifest has the sha256
of every file, so damage is always noticed. An SB3 zip contains pickles, which can run
code, so it is loaded only with `trust=true`.
"""

import hashlib
import io
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Dict, Space
from hydra.utils import get_class
from stable_baselines3.common.base_class import BaseAlgorithm

from so101rl.errors import So101Error
from so101rl.files import FileError, read_json, sync_folder, to_json, write_atomic

POLICY, TRAINING, META = "policy.pt", "training.pt", "checkpoint.json"
OLD = ".old"


class CheckpointError(So101Error):
    """A checkpoint is missing, damaged, untrusted, or of another model."""


def save(
    model: BaseAlgorithm,
    path: Path,
    *,
    step: int,
    training: Mapping[str, Any] | None = None,
) -> None:
    """Write a checkpoint; after a crash `path` is the old one or the new one, whole.

    Args:
        model: its policy is written.
        path: the checkpoint's directory; an older one of this name is replaced.
        step: env step of the policy.
        training: what else a resumed training needs: a tree of dicts, lists, arrays,
            tensors and plain values.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    try:
        _fill(temporary, model, step, training)
        old = _old_path(path)
        if path.exists():
            shutil.rmtree(old, ignore_errors=True)
            os.replace(path, old)
        os.replace(temporary, path)
        sync_folder(path.parent)
    except (OSError, RuntimeError) as error:  # torch raises the latter for a full disk
        shutil.rmtree(temporary, ignore_errors=True)
        reason = getattr(error, "strerror", None) or str(error).splitlines()[0]
        raise FileError(f"cannot write {path}: {reason}") from error
    shutil.rmtree(old, ignore_errors=True)


def _fill(
    temporary: Path,
    model: BaseAlgorithm,
    step: int,
    training: Mapping[str, Any] | None,
) -> None:
    """Write and flush all files of a checkpoint, the manifest last."""
    temporary.mkdir(parents=True)
    files = {POLICY: _write(temporary / POLICY, model.policy.state_dict())}
    if training is not None:
        files[TRAINING] = _write(temporary / TRAINING, _tensors(training))
    algo = f"{type(model).__module__}.{type(model).__name__}"
    meta: dict[str, Any] = {"step": step, "algo": algo, "sha256": files}
    meta["self"] = _sha256_of(meta)
    write_atomic(temporary / META, to_json(meta))  # flushes the folder too


def load(model: BaseAlgorithm, path: Path) -> int:
    """Load the policy of a checkpoint into `model` and return its env step.

    Raises:
        CheckpointError: it is missing, damaged, or of another model.
    """
    step, state = _read(path, POLICY)
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise CheckpointError(f"checkpoint {path} is damaged: {name} is not finite")
    try:
        model.policy.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(
            f"checkpoint {path} is of another policy than this config's: {reason}"
        ) from error
    return step


def load_training(path: Path) -> tuple[int, dict[str, Any]]:
    """Return the env step and the training state that `save` wrote.

    Arrays are returned as tensors; `arrays` converts them back.

    Raises:
        CheckpointError: it is missing or damaged.
    """
    return _read(path, TRAINING)


def arrays(node: Any) -> Any:
    """Return a tree with its tensors converted to NumPy arrays."""
    return _map(lambda leaf: leaf.numpy() if torch.is_tensor(leaf) else leaf, node)


def steps(folder: Path) -> list[Path]:
    """Return the checkpoints `step-N` of a folder, newest first."""
    found = [(int(path.name[5:]), path) for path in folder.glob("step-*")]
    return [path for _, path in sorted(found, reverse=True)]


def repair_interrupted_saves(folder: Path) -> None:
    """Undo what a kill within `save` left behind: folders without their final name."""
    for old in folder.glob(f".*{OLD}"):
        path = folder / old.name[1 : -len(OLD)]
        if not path.exists():
            os.replace(old, path)
        shutil.rmtree(old, ignore_errors=True)
    for temporary in folder.glob(".*.tmp"):
        shutil.rmtree(temporary, ignore_errors=True)


def _read(path: Path, name: str) -> tuple[int, Any]:
    """Return the env step and the content of one file, after checking its sha256."""
    if not path.is_dir() and _old_path(path).is_dir():
        path = _old_path(path)  # killed between the two renames of `save`
    if not path.is_dir():
        raise CheckpointError(f"checkpoint {path}: there is no such directory")
    try:
        meta = read_json(path / META)
        if meta.pop("self", None) != _sha256_of(meta):
            raise CheckpointError(f"{META} is not what was written (sha256)")
        step, wanted = int(meta["step"]), meta["sha256"][name]
        content = (path / name).read_bytes()
        if hashlib.sha256(content).hexdigest() != wanted:
            raise CheckpointError(f"{name} is not what was written (sha256)")
        state = torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except (OSError, So101Error) as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error
    except Exception as error:  # torch raises many types for a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"checkpoint {path} is damaged: {reason}") from error
    return step, state


def _sha256_of(meta: Mapping[str, Any]) -> str:
    """Return the sha256 of a manifest without its key `self`, where it is stored."""
    return hashlib.sha256(to_json(meta).encode()).hexdigest()


def _write(path: Path, state: Any) -> str:
    """Write and flush a tree of tensors; return the sha256 of the file."""
    buffer = io.BytesIO()
    torch.save(state, buffer)
    content = buffer.getbuffer()
    with open(path, "wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    return hashlib.sha256(content).hexdigest()


def _tensors(node: Any) -> Any:
    """Return a tree with arrays as tensors and NumPy scalars as Python numbers."""

    def convert(leaf: Any) -> Any:
        if isinstance(leaf, np.ndarray):
            return torch.from_numpy(np.ascontiguousarray(leaf))
        return leaf.item() if isinstance(leaf, np.generic) else leaf

    return _map(convert, node)


def _map(convert: Callable[[Any], Any], node: Any) -> Any:
    """Return a tree of dicts, lists and tuples with every leaf converted."""
    if isinstance(node, Mapping):
        return {key: _map(convert, value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return type(node)(_map(convert, value) for value in node)
    return convert(node)


def _old_path(path: Path) -> Path:
    """Return where `save` keeps the old checkpoint until the new one has its name."""
    return path.with_name(f".{path.name}{OLD}")


def export_zip(model: BaseAlgorithm, path: Path) -> None:
    """Write a plain SB3 zip, which needs nothing of this package to load."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.zip")
    model.save(temporary)
    os.replace(temporary, path)


def load_zip(
    path: Path, *, algo: str, trust: bool, observations: Space
) -> BaseAlgorithm:
    """Load an SB3 zip, whose pickles may run any code.

    Args:
        path: the zip.
        algo: dotted name of the SB3 class.
        trust: whether the user trusts it.
        observations: the expected space of the observations.

    Raises:
        CheckpointError: it is missing, damaged, untrusted, or of other observations.
    """
    if not path.is_file():
        raise CheckpointError(f"checkpoint={path}: there is no such file")
    if path.suffix != ".zip":
        raise CheckpointError(
            f"checkpoint={path}: expected an SB3 zip or a folder such as "
            "RUN_DIR/checkpoints/best"
        )
    if not trust:
        raise CheckpointError(
            f"checkpoint={path}: an SB3 zip can run code when it is loaded; "
            "add trust=true if you know where it comes from"
        )
    try:
        cls: Any = get_class(algo)
        model = cls.load(path, device="cpu")
    except Exception as error:  # zipfile, pickle and SB3 raise many types
        raise CheckpointError(
            f"checkpoint={path} cannot be read as a zip of {algo}: {error}"
        ) from error
    takes, gives = _shape_of(model.observation_space), _shape_of(observations)
    if takes != gives:
        raise CheckpointError(
            f"checkpoint={path} takes observations of shape {takes}; "
            f"this config gives {gives}"
        )
    return model


def _shape_of(space: Space) -> Any:
    """Return the shape of a space, by name for a dict of spaces."""
    if isinstance(space, Dict):
        return {name: own.shape for name, own in space.spaces.items()}
    return space.shape


def remove(path: Path) -> None:
    """Delete a checkpoint, which first loses its name: it never looks whole."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    os.replace(path, temporary)
    shutil.rmtree(temporary)

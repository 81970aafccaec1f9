"""Policies on disk: our safe format, and plain SB3 zips for other people's scripts.

A checkpoint is a directory of tensors and JSON; reading it runs no code. An SB3 zip
carries pickles, so one from elsewhere is loaded only with `trust=true`.
"""

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from hydra.utils import get_class
from stable_baselines3.common.base_class import BaseAlgorithm

from so101rl.errors import So101Error
from so101rl.files import read_json, to_json, write_atomic

POLICY, META = "policy.pt", "checkpoint.json"


class CheckpointError(So101Error):
    """A checkpoint is missing, damaged, of another model, or not trusted."""


def save(model: BaseAlgorithm, path: Path, *, step: int) -> None:
    """Write the policy to the directory `path`, which appears whole or not at all."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    with open(temporary / POLICY, "wb") as file:
        torch.save(model.policy.state_dict(), file)
        file.flush()
        os.fsync(file.fileno())
    meta = {"step": step, "algo": f"{type(model).__module__}.{type(model).__name__}"}
    write_atomic(temporary / META, to_json(meta))
    old = path.with_name(f".{path.name}.{os.getpid()}.old")
    if path.exists():
        os.replace(path, old)
    os.replace(temporary, path)
    shutil.rmtree(old, ignore_errors=True)


def load(model: BaseAlgorithm, path: Path) -> int:
    """Load the policy of the directory `path` into `model`; returns its env step.

    Raises:
        CheckpointError: it is missing, damaged, or does not fit the model.
    """
    if not path.is_dir():
        raise CheckpointError(f"checkpoint {path}: there is no such directory")
    try:
        step = int(read_json(path / META)["step"])
        state = torch.load(path / POLICY, weights_only=True, map_location="cpu")
        _check_finite(state)
    except (OSError, So101Error) as error:
        raise CheckpointError(f"checkpoint {path} cannot be read: {error}") from error
    except Exception as error:  # torch raises many kinds for a damaged file
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise CheckpointError(f"checkpoint {path} is damaged: {reason}") from error
    try:
        model.policy.load_state_dict(state)
    except (RuntimeError, TypeError, AttributeError) as error:
        reason = str(error).strip().splitlines()[-1].strip()
        raise CheckpointError(
            f"checkpoint {path} is of another policy than this config's: {reason}"
        ) from error
    return step


def _check_finite(state: Mapping[str, torch.Tensor]) -> None:
    for name, value in state.items():
        if not torch.isfinite(value).all():
            raise ValueError(f"{name} has numbers that are not finite")


def export_zip(model: BaseAlgorithm, path: Path) -> None:
    """Write a plain SB3 zip for scripts that know nothing of this project."""
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.zip")
    model.save(temporary)
    os.replace(temporary, path)


def load_zip(
    path: Path, *, algo: str, trust: bool, observations: tuple[int, ...] | None
) -> BaseAlgorithm:
    """Load a foreign SB3 zip, which may run whatever its author put into it.

    Args:
        path: the zip.
        algo: dotted name of the SB3 class.
        trust: whether the user trusts it.
        observations: shape of what it will be asked about.

    Raises:
        CheckpointError: it is not trusted, missing, damaged, or of other observations.
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
        found: Any = get_class(algo)
        model = found.load(path, device="cpu")
    except Exception as error:  # zipfile, pickle and SB3 raise many kinds
        raise CheckpointError(
            f"checkpoint={path} cannot be read as a zip of {algo}: {error}"
        ) from error
    if model.observation_space.shape != observations:
        raise CheckpointError(
            f"checkpoint={path} takes observations of shape "
            f"{model.observation_space.shape}; this config gives {observations}"
        )
    return model


def remove(path: Path) -> None:
    """Delete a checkpoint; one that is half deleted is never taken for a whole one."""
    doomed = path.with_name(f".{path.name}.{os.getpid()}.old")
    os.replace(path, doomed)
    shutil.rmtree(doomed)

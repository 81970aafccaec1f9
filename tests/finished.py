"""Finished trainings that tests share, and what an interruption would have left."""

import atexit
import functools
import json
import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from conftest import SHORT, run_cli
from learners import tiny

from so101rl.policies import checkpoint


@functools.cache
def finished_run(algo="ppo", *typed):
    """Train once per session, with all checkpoints kept; copy it before changing it."""
    folder = tempfile.mkdtemp(prefix="so101rl-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    keys = [*tiny(algo), "keep_checkpoints=9", "hydra.run.dir=run", *typed]
    if algo != "ppo":  # whose first policy is the base policy
        keys.append("residual.zero_init=false")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        assert run_cli(*SHORT, *keys) == 0
    return Path(folder) / "run"


def edit_json(path, **values):
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def interrupted(whole, copy, step):
    """Copy a finished run as a kill -9 after checkpoint `step` would have left it."""
    shutil.copytree(whole, copy)
    for path in copy.glob("checkpoints/*"):
        if json.loads((path / "checkpoint.json").read_text())["step"] > step:
            shutil.rmtree(path)
    if not (copy / "checkpoints" / "best").exists():
        (copy / "best_model.zip").unlink()
    for name in ("evaluation.json", "episodes.csv", "final_model.zip"):
        (copy / name).unlink()
    edit_json(copy / "run.json", status="running", ended=None)
    return copy


def outcome(path):
    """What two equal runs have in common."""
    files = ["metrics.jsonl", "episodes.csv", "evaluation.json"]
    files += [f"checkpoints/{name}/policy.pt" for name in ("final", "best")]
    _, state = checkpoint.load_training(checkpoint.steps(path / "checkpoints")[0])
    state.pop("logs")  # lengths, of which one depends on the clock
    flat = flattened(checkpoint.arrays(state))
    return {name: (path / name).read_bytes() for name in files} | flat


def flattened(node, name=""):
    """The leaves of a tree by path, arrays as bytes."""
    if not isinstance(node, dict | list | tuple):
        return {name: node.tobytes() if isinstance(node, np.ndarray) else repr(node)}
    leaves = {}
    for key, value in node.items() if isinstance(node, dict) else enumerate(node):
        leaves |= flattened(value, f"{name}/{key}")
    return leaves

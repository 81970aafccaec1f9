"""Trainings that are shot at a vector step, and what equal runs have in common."""

import numpy as np

from so101rl.policies import checkpoint


def outcome(path):
    """What two equal runs have in common."""
    final, best = (path / "checkpoints" / name for name in ("final", "best"))
    return {
        "metrics": (path / "metrics.jsonl").read_bytes(),
        "episodes": (path / "episodes.csv").read_bytes(),
        "evaluation": (path / "evaluation.json").read_bytes(),
        "final": (final / "policy.pt").read_bytes(),
        "best": (best / "policy.pt").read_bytes(),
        "training": training(path),
    }


def training(path):
    """The newest checkpoint's tree, but for the lengths of the logs."""
    _, tree = checkpoint.load_training(checkpoint.steps(path / "checkpoints")[0])
    tree.pop("logs")  # of which one depends on the clock
    return flat(checkpoint.arrays(tree))


def flat(node, name=""):
    if isinstance(node, dict):
        items = node.items()
    elif isinstance(node, list | tuple):
        items = enumerate(node)
    else:
        value = node.tobytes() if isinstance(node, np.ndarray) else repr(node)
        return {name: value}
    return {
        k: v for key, value in items for k, v in flat(value, f"{name}/{key}").items()
    }

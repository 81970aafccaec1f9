"""Residual reinforcement learning for the SO-101 arm."""

import os
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from so101rl.api import LoadedRun

__version__ = "0.1.0"

if "gymnasium" in sys.modules:  # `import gymnasium, so101rl` makes the ids known
    from so101rl import gym_ids  # noqa: F401


def load(run: "str | os.PathLike[str]", *, checkpoint: str = "best") -> "LoadedRun":
    """Load a run's policy and results, for scripts and notebooks.

    Args:
        run: A run directory, or `latest` for the run started last below `outputs/` and
            `multirun/` of the working directory.
        checkpoint: One of the run's `checkpoints/`: `best`, `final` or `step-N`.
    """
    from so101rl.api import LoadedRun  # imports torch and mujoco

    return LoadedRun(run, checkpoint=checkpoint)

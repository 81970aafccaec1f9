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
    """Load the policy of a run, and what the run wrote down, for scripts and notebooks.

    Args:
        run: a run directory, or `latest` for the run started last below `outputs/` and
            `multirun/` of the working directory.
        checkpoint: one of the run's `checkpoints/`: `best`, `final` or `step-N`.
    """
    from so101rl.api import LoadedRun  # takes torch and mujoco along

    return LoadedRun(run, checkpoint=checkpoint)

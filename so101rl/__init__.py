"""Residual reinforcement learning for the SO-101 arm."""

import importlib.util
import os
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from so101rl.api import LoadedRun

__version__ = "0.2.0"


class _RegisterIds:  # no MetaPathFinder: importlib.abc is slow to import
    """Import hook that registers our ids when gymnasium is imported, which is slow."""

    def find_spec(self, fullname: str, path: Any, target: Any = None) -> Any:
        """Let the other finders find gymnasium, and register the ids after it."""
        if fullname != "gymnasium":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(fullname)
        if spec is None or spec.loader is None:
            return spec
        execute = spec.loader.exec_module

        def exec_module(module: Any) -> None:
            execute(module)
            from so101rl import gym_ids  # noqa: F401

        spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if "gymnasium" in sys.modules:
    from so101rl import gym_ids  # noqa: F401
else:
    sys.meta_path.insert(0, _RegisterIds())  # type: ignore[arg-type]


def load(
    run: "str | os.PathLike[str]",
    *,
    checkpoint: str = "best",
    packages: Sequence[str] = (),
) -> "LoadedRun":
    """Load a run's policy and results, for scripts and notebooks.

    Args:
        run: A run directory, or `latest` for the newest run below `outputs/` and
            `multirun/` of the working directory that has a policy and has ended.
        checkpoint: One of the run's `checkpoints/`: `best`, `final` or `step-N`.
        packages: Names of packages, beside so101rl, whose classes the run may call.
    """
    from so101rl.api import LoadedRun  # imports torch and mujoco

    return LoadedRun(run, checkpoint=checkpoint, packages=packages)

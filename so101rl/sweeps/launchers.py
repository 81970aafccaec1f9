"""Jobs through a launcher of Hydra's: joblib, submitit and the like.

A launcher takes a list of jobs and comes back when all have ended. What it runs cannot
be pruned, and what it does when a process dies is its own: joblib then gives up the
whole list.
"""

from collections.abc import Sequence
from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from so101rl.sweeps.job import Job, quoted
from so101rl.sweeps.outcome import Outcome, standing

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"  # Hydra's default


def launcher(
    context: HydraContext, task: TaskFunction, config: DictConfig
) -> Launcher | None:
    """The launcher that was chosen; None for our own processes."""
    if config.hydra.launcher._target_ == BASIC:
        return None
    return Plugins.instance().instantiate_launcher(context, task, config)


def launch(
    through: Launcher, jobs: Sequence[Job], place: Path, common: Sequence[str]
) -> None:
    """Run jobs, and go on with those that were stopped; comes back when all have ended.

    Args:
        through: runs them.
        jobs: those that have not come to their end.
        place: the sweep's folder.
        common: words that every job gets.
    """
    words = []
    for job in jobs:
        folder = place / job.name
        stopped = standing(folder) is not None
        told = ["job=resume", f"run={quoted(str(folder))}"] if stopped else job.words
        words.append([*common, *told, f"hydra.sweep.subdir={quoted(job.name)}"])
    if words:
        through.launch(words, initial_job_idx=0)


def is_done(folder: Path) -> bool:
    """Whether a job has come to its end by now; nothing is waited for."""
    found = standing(folder, patience_s=0)
    return found is not None and found.is_final


def end_of(folder: Path) -> Outcome:
    """How a job ended that a launcher ran."""
    return standing(folder) or Outcome("failed", "bug", "its launcher left no run")

"""Runs jobs through a Hydra launcher, such as joblib or submitit.

A launcher takes a list of jobs and returns when all have ended. It cannot prune a job.
If the process of a job dies, joblib stops the whole list; submitit loses only this job.
"""

from pathlib import Path

from hydra.core.plugins import Plugins
from hydra.plugins.launcher import Launcher
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

from so101rl.sweeps.job import Job, quoted
from so101rl.sweeps.outcome import Outcome, run_outcome
from so101rl.sweeps.processes import Processes, Program

BASIC = "hydra._internal.core_plugins.basic_launcher.BasicLauncher"  # Hydra's default


def chosen_launcher(
    context: HydraContext, task: TaskFunction, config: DictConfig
) -> Launcher | None:
    """Return the chosen launcher; None for Hydra's default: then jobs are processes."""
    if config.hydra.launcher._target_ == BASIC:
        return None
    return Plugins.instance().instantiate_launcher(context, task, config)


class LauncherJobs:
    """Runs jobs through a launcher, with the interface of `Processes`.

    Attributes:
        running: folders of the jobs that the next call of `ended` runs, by name.
    """

    can_prune = False

    def __init__(self, launcher: Launcher, program: Program) -> None:
        self._launcher, self._program = launcher, program
        self._words: list[list[str]] = []
        self.running: dict[str, Path] = {}

    def start(self, job: Job, folder: Path) -> None:
        """Add a job to the next list."""
        words = self._program.job_words(job, folder)
        self._words.append([*words, f"hydra.sweep.subdir={quoted(job.name)}"])
        self.running[job.name] = folder

    def ended(self, wait_s: float) -> list[tuple[str, Outcome]]:
        """Run the list and return when all jobs have ended; `wait_s` is ignored."""
        del wait_s
        words, folders = self._words, self.running
        self._words, self.running = [], {}
        if words:
            self._launcher.launch(words, initial_job_idx=0)
        missing = Outcome("failed", "bug", "the launcher ended without a run")
        return [(name, run_outcome(one) or missing) for name, one in folders.items()]

    def prune(self, name: str) -> None:
        """Do nothing: between two calls no job runs."""

    def close(self) -> None:
        """Do nothing: between two calls no job runs."""


Runner = Processes | LauncherJobs


def make_runner(
    program: Program, launcher: Launcher | None, timeout_s: float | None
) -> Runner:
    """Return a runner of jobs: the launcher, or processes with a timeout [s]."""
    if launcher is not None:
        return LauncherJobs(launcher, program)
    return Processes(program, timeout_s)

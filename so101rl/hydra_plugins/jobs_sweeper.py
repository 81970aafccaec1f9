"""`hydra/sweeper=jobs`: every job in a process of its own; see `so101rl.sweeps`."""

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class JobsSweeper(Sweeper):
    """Runs all combinations of what was typed, or a study.

    Args:
        n_jobs: processes at a time; None: as many as there are cores.
        timeout_s: after which a job is stopped [s]; None: never.
        dry_run: only say what would be run.
    """

    def __init__(self, n_jobs: int | None, timeout_s: float | None, dry_run: bool):
        self._n_jobs, self._timeout_s, self._dry_run = n_jobs, timeout_s, dry_run

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
    ) -> None:
        from so101rl.sweeps.launched import launcher

        self.hydra_context, self.config = hydra_context, config
        self._task = task_function
        self.launcher = launcher(hydra_context, task_function, config)

    def sweep(self, arguments: list[str]) -> None:
        from so101rl.sweeps.call import Call
        from so101rl.sweeps.start import start

        assert self.config is not None and self.hydra_context is not None
        loader = self.hydra_context.config_loader
        call = Call.of(self.config, loader, self._task, arguments)
        start(
            call,
            self._n_jobs,
            self._timeout_s,
            dry_run=self._dry_run,
            through=self.launcher,
        )

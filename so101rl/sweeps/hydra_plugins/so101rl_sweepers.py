"""Our two sweepers for `-m`; the work is done in `so101rl.sweeps`.

Hydra imports this file at every start, so it imports nothing heavy itself.
"""

from typing import TYPE_CHECKING, Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from so101rl.sweeps.context import SweepContext


class _ProcessSweeper(Sweeper):
    """A sweeper that runs jobs as processes, unless a launcher is chosen."""

    def __init__(self, **settings: Any):
        self._settings = settings  # the yaml of the sweeper describes them

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
    ) -> None:
        from so101rl.sweeps.launchers import chosen_launcher

        self.hydra_context, self.config = hydra_context, config
        self._task = task_function
        self.launcher = chosen_launcher(hydra_context, task_function, config)

    def _context(self, arguments: list[str]) -> "SweepContext":
        from so101rl.sweeps.context import SweepContext, program_words

        assert self.config is not None and self.hydra_context is not None
        loader, words = self.hydra_context.config_loader, program_words(self._task)
        return SweepContext(self.config, loader, words, arguments)


class JobsSweeper(_ProcessSweeper):
    """`hydra/sweeper=jobs`: all combinations of the typed values, or a study."""

    def sweep(self, arguments: list[str]) -> None:
        from so101rl.sweeps.run_sweep import run_sweep

        context = self._context(arguments)
        run_sweep(context, launcher=self.launcher, **self._settings)


class OptunaSweeper(_ProcessSweeper):
    """`hydra/sweeper=optuna`: a search; each trial of Optuna is a few runs."""

    def sweep(self, arguments: list[str]) -> None:
        from so101rl.sweeps.search.tune import Settings, tune

        settings = Settings(**self._settings)
        tune(self._context(arguments), settings, launcher=self.launcher)

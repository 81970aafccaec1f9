"""`hydra/sweeper=optuna`: a search for better values; see `so101rl.sweeps`."""

from typing import Any

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig


class OptunaSweeper(Sweeper):
    """Lets Optuna propose values, each trial a few runs in processes of their own.

    Args:
        settings: what each means stands in `conf/hydra/sweeper/optuna.yaml`.
    """

    def __init__(self, **settings: Any):
        self._settings = settings

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
        from so101rl.sweeps.tune import Settings, tune

        assert self.config is not None and self.hydra_context is not None
        loader = self.hydra_context.config_loader
        call = Call.of(self.config, loader, self._task, arguments)
        tune(call, Settings(**self._settings), through=self.launcher)

"""What both of our Hydra sweepers are: they keep what Hydra hands them."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from hydra.plugins.sweeper import Sweeper
from hydra.types import HydraContext, TaskFunction
from omegaconf import DictConfig

if TYPE_CHECKING:
    from so101rl.sweeps.context import SweepContext


class OurSweeper(Sweeper):
    """A sweeper whose jobs are processes of their own, unless a launcher is chosen."""

    def setup(
        self,
        *,
        hydra_context: HydraContext,
        task_function: TaskFunction,
        config: DictConfig,
    ) -> None:
        """Take what Hydra gives."""
        from so101rl.sweeps.launchers import launcher

        self.hydra_context, self.config = hydra_context, config
        self._task = task_function
        self.launcher = launcher(hydra_context, task_function, config)

    def call(self, arguments: Sequence[str]) -> "SweepContext":
        """What was typed."""
        from so101rl.sweeps.context import SweepContext

        assert self.config is not None and self.hydra_context is not None
        loader = self.hydra_context.config_loader
        return SweepContext.of(self.config, loader, self._task, arguments)

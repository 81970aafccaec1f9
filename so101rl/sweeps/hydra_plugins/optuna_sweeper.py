"""`hydra/sweeper=optuna`: a search for better values; see `so101rl.sweeps`."""

from typing import Any

from so101rl.sweeps.sweeper import OurSweeper


class OptunaSweeper(OurSweeper):
    """Lets Optuna propose values, each trial a few runs in processes of their own.

    Args:
        settings: what each means stands in `conf/hydra/sweeper/optuna.yaml`.
    """

    def __init__(self, **settings: Any):
        self._settings = settings

    def sweep(self, arguments: list[str]) -> None:
        from so101rl.sweeps.search.tune import Settings, tune

        settings = Settings(**self._settings)
        tune(self.call(arguments), settings, through=self.launcher)

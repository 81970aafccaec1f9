"""`hydra/sweeper=jobs`: every job in a process of its own; see `so101rl.sweeps`."""

from so101rl.sweeps.sweeper import OurSweeper


class JobsSweeper(OurSweeper):
    """Runs all combinations of what was typed, or a study.

    Args:
        n_jobs: processes at a time; None: as many as there are cores.
        timeout_s: after which a job is stopped [s]; None: never.
        dry_run: only say what would be run.
    """

    def __init__(self, n_jobs: int | None, timeout_s: float | None, dry_run: bool):
        self._n_jobs, self._timeout_s, self._dry_run = n_jobs, timeout_s, dry_run

    def sweep(self, arguments: list[str]) -> None:
        from so101rl.sweeps.run_sweep import run_sweep

        run_sweep(
            self.call(arguments),
            self._n_jobs,
            self._timeout_s,
            dry_run=self._dry_run,
            through=self.launcher,
        )

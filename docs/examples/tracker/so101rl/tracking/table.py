"""One file for all runs: a line per run with its results."""

from pathlib import Path

from so101rl.runs.run_dir import RunDir
from so101rl.tracking.base import Tracker, results


class TableTracker(Tracker):
    """Appends `run, status, name, value` lines to a file when a run ends.

    Args:
        file: where to.
    """

    def __init__(self, *, file: str):
        self.place = file

    def start(self, run: RunDir) -> None:
        Path(self.place).parent.mkdir(parents=True, exist_ok=True)

    def push(self, run: RunDir) -> None:
        """Nothing is said before the end."""

    def finish(self, run: RunDir) -> None:
        status = RunDir.open(run.path).info["status"]  # as it ended
        with open(self.place, "a") as table:
            for name, value in results(run).items():
                print(run.path, status, name, value, sep=", ", file=table)

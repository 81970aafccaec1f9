"""TensorBoard event files in the run directory."""

from typing import TYPE_CHECKING

from so101rl.runs.run_dir import RunDir
from so101rl.tracking.base import LogReader, Tracker, TrackerError, results

if TYPE_CHECKING:
    from torch.utils.tensorboard import SummaryWriter


class TensorboardTracker(Tracker[RunDir]):
    """Event files in the run's `tensorboard/`."""

    def __init__(self) -> None:
        self.place = "RUN_DIR/tensorboard"
        self._logs = LogReader()
        self._writer: SummaryWriter  # set by start

    def start(self, run: RunDir) -> None:
        """Open the event file."""
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise TrackerError(
                "tracking=tensorboard: expected an installed package "
                f"(pip install tensorboard): {error}"
            ) from error
        folder = run.file("tensorboard/events").parent
        for old in folder.glob("events.*"):
            old.unlink()  # the logs are read again from the beginning
        self._writer = SummaryWriter(str(folder))

    def push(self, run: RunDir) -> None:
        """Write the new scalars and flush."""
        for name, value, step, seconds in self._logs.read(run):
            self._writer.add_scalar(name, value, step, walltime=seconds)
        self._writer.flush()

    def finish(self, run: RunDir) -> None:
        """Write the rest and the final evaluation, then close."""
        self.push(run)
        for name, value in results(run).items():
            self._writer.add_scalar(name, value, self._logs.last_step)
        self._writer.close()

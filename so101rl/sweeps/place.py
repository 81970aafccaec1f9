"""The folder of a sweep: one process works in it at a time, and it says what for."""

import contextlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from so101rl.files import read_json, to_json, write_atomic
from so101rl.runs.lock import Lock
from so101rl.runs.provenance import git_state, now
from so101rl.sweeps.job import SweepError

SWEEP, LOCK = "sweep.json", ".lock"


class Place:
    """A sweep's folder.

    Args:
        path: the folder; made if it is not there.
    """

    def __init__(self, path: Path) -> None:
        """Make the folder."""
        self.path = path.absolute()
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock = Lock(self.path / LOCK)

    @contextlib.contextmanager
    def held(self) -> Iterator[None]:
        """Keep every other process from working here.

        Raises:
            SweepError: another one does.
        """
        if not self._lock.take():
            raise SweepError(
                f"{self.path}: a process is running this sweep; wait, or stop it, or "
                "choose another hydra.sweep.dir"
            )
        try:
            yield
        finally:
            self._leave()
            self._lock.free()

    def settle(self, what: Mapping[str, Any], command: str) -> None:
        """Write down what the sweep is, or see whether it still is that.

        Args:
            what: by name, all that must not change when it goes on.
            command: as typed.

        Raises:
            SweepError: the folder holds another sweep.
        """
        path = self.path / SWEEP
        if not path.is_file():
            self._refuse_strangers()
            first = {"command": command, "started": now(), "git": git_state()}
            write_atomic(path, to_json({**first, "what": dict(what)}))
            return
        before = read_json(path)["what"]
        changes = [
            f"{key}: {before.get(key, 'absent')} -> {what.get(key, 'absent')}"
            for key in sorted(before.keys() | what.keys())
            if before.get(key) != what.get(key)
        ]
        if changes:
            raise SweepError(
                f"{self.path} holds a sweep of other settings:\n  "
                + "\n  ".join(changes[:3])
                + "\nTake the change back, or choose another hydra.sweep.dir."
            )

    def _leave(self) -> None:
        """Remove what a sweep that was refused would leave behind."""
        if not (self.path / SWEEP).exists():
            (self.path / LOCK).unlink()
            with contextlib.suppress(OSError):  # it was there before, and not empty
                self.path.rmdir()

    def _refuse_strangers(self) -> None:
        """Refuse a folder with runs of something else."""
        if (self.path / "run.json").exists() or any(self.path.glob("*/run.json")):
            raise SweepError(
                f"hydra.sweep.dir={self.path}: it holds runs of no sweep; choose "
                "another"
            )

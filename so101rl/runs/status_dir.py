"""A folder with a status in a JSON file, and a lock that tells if it still holds."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from so101rl.errors import So101Error
from so101rl.files import FileError, inside, read_json, to_json, write_atomic
from so101rl.runs.failures import PROCESS_GONE
from so101rl.runs.lock import Lock

LOCK = ".lock"  # held by the process that works in the folder, until it ends


class BusyError(So101Error):
    """Another process works in this folder."""


class StatusDir:
    """A folder with a status; the base of `RunDir` and `SweepDir`.

    Attributes:
        path: the folder, absolute.
        info: the content of its JSON file.
    """

    file_name: ClassVar[str]  # of the JSON file
    kind: ClassVar[str]  # as messages call it
    growing_files: ClassVar[tuple[str, ...]]  # that change when the work goes on
    advice: ClassVar[str] = "wait, or stop it"  # if another process works here

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        self.path, self.info = path, info
        self._lock = Lock(path / LOCK)

    def file(self, name: str | os.PathLike[str]) -> Path:
        """Absolute path of a file such as `figures/a.png`; makes its parent folder."""
        path = inside(self.path, os.fspath(name))
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            what = f"cannot make the folder {path.parent}"
            raise FileError(f"{what}: {error.strerror}") from error
        return path

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """Keep every other process from working here; updates the status first.

        The lock outlasts the block if the status is `running` at its end.

        Raises:
            BusyError: another process works here.
        """
        self._take_lock()
        try:
            file = self.path / self.file_name
            if self.info or file.is_file():  # a new sweep has none yet
                self.info = read_json(file)
            if self.info.get("status") == "running":  # but nobody holds its lock
                self._end("killed", self._last_activity(), PROCESS_GONE)
            yield
        finally:
            if self.info.get("status") != "running":
                self._lock.free()

    def update_status(self) -> bool:
        """Mark it as killed if its process is gone; returns whether it was.

        The kernel frees the lock with the process, whatever ended that.
        """
        if self.info["status"] != "running" or self._lock.is_taken:
            return False
        try:
            with self.locked():
                return self.info.get("error") == PROCESS_GONE
        except BusyError:
            return False

    def _last_activity(self) -> str:
        """When a process last wrote into this folder."""
        raise NotImplementedError

    def _take_lock(self) -> None:
        self.file(LOCK)  # makes the folder
        if not self._lock.take():
            raise BusyError(
                f"{self.path}: a process is running this {self.kind}; {self.advice}"
            )

    def _end(
        self, status: str, when: str, error: Mapping[str, str] | None = None
    ) -> None:
        self._save(status=status, ended=when, error=error)

    def _save(self, **changed: Any) -> None:
        self.info |= changed
        write_atomic(self.file(self.file_name), to_json(self.info))

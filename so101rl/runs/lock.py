"""A lock that the kernel frees when its process ends, in whatever way."""

import fcntl
import os
from pathlib import Path


class Lock:
    """A file that one process at a time can lock; created when it is first taken."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._handle: int | None = None

    def __getstate__(self) -> dict[str, object]:
        """Return the state of a copy for another process, which holds no lock."""
        return {"_path": self._path, "_handle": None}

    @property
    def is_taken(self) -> bool:
        """Whether this object holds the lock."""
        return self._handle is not None

    def take(self) -> bool:
        """Try to take the lock; return False if another process holds it."""
        handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(handle)
            return False
        self._handle = handle
        return True

    def free(self) -> None:
        """Release the lock; safe to call twice."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

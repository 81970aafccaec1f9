"""The folder of a sweep, as trackers see it: what it is, how it is, what it found."""

import contextlib
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from so101rl.files import inside, read_json, to_json, write_atomic
from so101rl.runs.failures import GONE, described
from so101rl.runs.lock import Lock
from so101rl.runs.provenance import now, stamp
from so101rl.runs.run_dir import RUN
from so101rl.runs.signals import Terminated

SWEEP = "sweep.json"
SUMMARY, NUMBERS = "summary.md", "summary.json"  # what it found, in words and alone
RUNNING = {"status": "running", "ended": None, "error": None}
LOCK = ".lock"  # held by the process that runs the sweep, however it may end


class SweepDir:
    """A sweep's folder.

    Attributes:
        path: the folder, absolute.
        info: the content of `sweep.json`.
    """

    def __init__(self, path: Path, info: dict[str, Any]) -> None:
        """Hold a sweep whose `sweep.json` is known: use `open`."""
        self.path, self.info = path, info

    @classmethod
    def begin(
        cls,
        path: str | os.PathLike[str],
        *,
        name: str,
        groups: Mapping[str, Any],
        group: str | None,
    ) -> "SweepDir":
        """Begin a sweep whose `sweep.json` says what it is, or go on with it.

        Args:
            path: the folder.
            name: of the sweep.
            groups: chosen option per config group.
            group: what runs that only differ by seed share: their `arm` or `trial`.
        """
        sweep = cls.open(path)
        first: dict[str, Any] = {"uid": uuid.uuid4().hex, "name": name}
        first |= {"groups": dict(groups), "group": group}
        sweep._save(**{**first, **sweep.info, **RUNNING})
        return sweep

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "SweepDir":
        """Read the folder of a sweep that has begun."""
        root = Path(path).absolute()
        return cls(root, read_json(root / SWEEP))

    def file(self, name: str) -> Path:
        """Absolute path of a file to write in this folder; makes its own folder."""
        path = inside(self.path, name)
        path.parent.mkdir(parents=True, exist_ok=True)
        return path

    def summary(self) -> str:
        """What it found, in Markdown; empty as long as nobody has written it."""
        path = self.path / SUMMARY
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def numbers(self) -> dict[str, Any]:
        """What it found, as `metrics` and the `best` values, each by name."""
        path = self.path / NUMBERS
        return read_json(path) if path.is_file() else {"metrics": {}, "best": {}}

    @contextlib.contextmanager
    def lifecycle(self) -> Iterator[None]:
        """Make its status truthful however the block ends.

        Normal end: finished. Ctrl+C and SIGTERM: killed. Any other exception: failed.
        """
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | Terminated)
            status = "killed" if stopped else "failed"
            self._save(status=status, ended=now(), error=described(error))
            raise
        self._save(status="finished", ended=now())

    def settle(self) -> bool:
        """Call a sweep killed whose process is gone; returns whether it was."""
        lock = Lock(self.path / LOCK)
        if self.info["status"] != "running" or not lock.take():
            return False
        try:
            self.info = read_json(self.path / SWEEP)
            if self.info["status"] != "running":
                return False
            self._save(status="killed", ended=self._last_sign_of_life(), error=GONE)
            return True
        finally:
            lock.free()

    def _save(self, **changed: Any) -> None:
        self.info |= changed
        write_atomic(self.path / SWEEP, to_json(self.info))

    def _last_sign_of_life(self) -> str:
        """When the output of a job was last written to."""
        logs = [*self.path.glob("*.log"), *self.path.glob("*/*.log")]
        seconds = [path.stat().st_mtime for path in (*logs, self.path / SWEEP)]
        return stamp(datetime.fromtimestamp(max(seconds), UTC))


def write_summary(
    folder: Path, text: str, metrics: Mapping[str, float], best: Mapping[str, Any]
) -> None:
    """Write down what a sweep has found so far.

    Args:
        folder: the sweep's.
        text: Markdown.
        metrics: numbers by name.
        best: the best values by key; empty if nothing was searched.
    """
    write_atomic(folder / SUMMARY, text)
    numbers = {"metrics": dict(metrics), "best": dict(best)}
    write_atomic(folder / NUMBERS, to_json(numbers))


def sweep_of(folder: Path) -> SweepDir | None:
    """The sweep that a run's folder lies in; None if it has been moved out of it."""
    for above in folder.parents:
        if (above / SWEEP).is_file():
            return _begun(above)
    return None


def find_sweeps(roots: Sequence[str | os.PathLike[str]]) -> list[SweepDir]:
    """All sweeps at or below some folders, oldest first; an absent folder has none."""
    found = []
    for root in roots:
        for folder, below, files in os.walk(root):
            if SWEEP in files:
                found.append(_begun(folder))
            if RUN in files:
                below.clear()  # a run holds no sweep
    begun = [sweep for sweep in found if sweep is not None]
    return sorted(begun, key=lambda sweep: (sweep.info["started"], str(sweep.path)))


def _begun(folder: str | os.PathLike[str]) -> SweepDir | None:
    """A sweep; None if it was refused before it could begin."""
    sweep = SweepDir.open(folder)
    return sweep if "uid" in sweep.info else None

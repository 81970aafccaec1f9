"""The folder of a sweep: its definition, its status and its results."""

import contextlib
import os
import uuid
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from so101rl.errors import So101Error
from so101rl.files import read_json, to_json, write_atomic
from so101rl.runs.differences import differences
from so101rl.runs.failures import error_entry
from so101rl.runs.provenance import git_state, now, stamp
from so101rl.runs.run_dir import RUN
from so101rl.runs.signals import Terminated
from so101rl.runs.status_dir import LOCK, StatusDir

SWEEP = "sweep.json"
SUMMARY, NUMBERS = "summary.md", "summary.json"  # what it found: text, and numbers
SHOWN = 3  # differences that a message names


class SweepDirError(So101Error):
    """The folder of a sweep holds something else."""


class SweepDir(StatusDir):
    """A sweep's folder.

    The process that runs the sweep calls, while it has `locked` the folder: `define`,
    `begin`, `lifecycle`. Everybody else only reads.

    Attributes:
        path: the folder, absolute.
        info: the content of `sweep.json`; empty before `define`.
    """

    file_name, kind = SWEEP, "sweep"
    growing_files = (SWEEP, SUMMARY, NUMBERS)
    advice = "wait, or stop it, or choose another hydra.sweep.dir"

    @classmethod
    def at(cls, path: str | os.PathLike[str]) -> "SweepDir":
        """The folder that a sweep will run in; it need not exist."""
        return cls(Path(path).absolute(), {})

    @classmethod
    def open(cls, path: str | os.PathLike[str]) -> "SweepDir":
        """Read the folder of a sweep."""
        root = Path(path).absolute()
        return cls(root, read_json(root / SWEEP))

    @contextlib.contextmanager
    def locked(self) -> Iterator[None]:
        """As in `StatusDir`; removes what a sweep that was refused leaves behind."""
        with super().locked():
            try:
                yield
            finally:
                if not (self.path / SWEEP).exists():
                    (self.path / LOCK).unlink()
                    with contextlib.suppress(OSError):  # it was there, and not empty
                        self.path.rmdir()

    def define(self, what: Mapping[str, Any], command: str) -> None:
        """Write what the sweep is, or check it if the sweep continues.

        `what` is all that must not change when a sweep continues, by name.

        Raises:
            SweepDirError: the folder holds another sweep, or runs of none.
        """
        if not self.info:
            self._check_empty()
            first = {"command": command, "started": now(), "git": git_state()}
            self._save(**first, what=dict(what))
            return
        changed = differences(self.info["what"], what)
        if changed:
            raise SweepDirError(
                f"{self.path} holds a sweep of other settings:\n  "
                + "\n  ".join(changed[:SHOWN])
                + "\nTake the change back, or choose another hydra.sweep.dir."
            )

    def begin(self, *, name: str, groups: Mapping[str, Any], group: str | None) -> None:
        """Set the status to running; the first time, add what trackers need.

        `groups` has the chosen option of each config group. `group` is the key that is
        equal for runs of different seeds: `arm` or `trial`.
        """
        first: dict[str, Any] = {"uid": uuid.uuid4().hex, "name": name}
        first |= {"groups": dict(groups), "group": group}
        status = {"status": "running", "ended": None, "error": None}
        self._save(**{**first, **self.info, **status})

    @contextlib.contextmanager
    def lifecycle(self) -> Iterator[None]:
        """Write how the block ended.

        Normal end: finished. Ctrl+C and SIGTERM: killed. Any other exception: failed.
        """
        try:
            yield
        except BaseException as error:
            stopped = isinstance(error, KeyboardInterrupt | Terminated)
            self._end("killed" if stopped else "failed", now(), error_entry(error))
            raise
        self._end("finished", now())

    def summary(self) -> str:
        """What it found, in Markdown; empty before the first `write_summary`."""
        path = self.path / SUMMARY
        return path.read_text(encoding="utf-8") if path.is_file() else ""

    def numbers(self) -> dict[str, Any]:
        """What it found, as `metrics` and the `best` values, each by name."""
        path = self.path / NUMBERS
        return read_json(path) if path.is_file() else {"metrics": {}, "best": {}}

    def _check_empty(self) -> None:
        if (self.path / RUN).exists() or any(self.path.glob(f"*/{RUN}")):
            raise SweepDirError(
                f"hydra.sweep.dir={self.path}: expected an empty folder; it holds "
                "runs of no sweep"
            )

    def _last_activity(self) -> str:
        """When the output of a job was last written to."""
        logs = [*self.path.glob("*.log"), *self.path.glob("*/*.log")]
        seconds = [path.stat().st_mtime for path in (*logs, self.path / SWEEP)]
        return stamp(datetime.fromtimestamp(max(seconds), UTC))


def write_summary(
    folder: Path, text: str, metrics: Mapping[str, float], best: Mapping[str, Any]
) -> None:
    """Write what a sweep has found so far: Markdown, numbers, and a search's best."""
    write_atomic(folder / SUMMARY, text)
    numbers = {"metrics": dict(metrics), "best": dict(best)}
    write_atomic(folder / NUMBERS, to_json(numbers))


def sweep_of(folder: Path) -> SweepDir | None:
    """The sweep whose folder a run is in; None if it is in none."""
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
                below.clear()  # no sweep is inside a run
    begun = [sweep for sweep in found if sweep is not None]
    return sorted(begun, key=lambda sweep: (sweep.info["started"], str(sweep.path)))


def _begun(folder: str | os.PathLike[str]) -> SweepDir | None:
    """A sweep; None if it was refused before `begin`."""
    sweep = SweepDir.open(folder)
    return sweep if "uid" in sweep.info else None

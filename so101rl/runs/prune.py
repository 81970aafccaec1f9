"""Deletes runs and checkpoints that nobody needs.

A finished run needs only the checkpoints `checkpoints/best` and `checkpoints/final`.
Never deleted: runs that a process is using, targets of links, and runs that have
changed since the user confirmed the deletion.
"""

import contextlib
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from so101rl.config.schema import PRUNE
from so101rl.runs.run_dir import RUN, RunDir
from so101rl.runs.status_dir import BusyError
from so101rl.runs.usage import age_s, size_bytes

DAY_S = 86_400
ENDED_EARLY = ("failed", "killed", "pruned")
_LEFTOVER = re.compile(r"\..+\.(?P<pid>\d{1,9})\.tmp")  # see `_remove`
# Folders in `checkpoints`; a run with any of them has a policy worth keeping.
POLICIES = ("best", ".best.old", "step-*", "interrupted")


class Deletion(NamedTuple):
    """A run directory, or folders inside it, that would be deleted; size [bytes]."""

    run: RunDir
    paths: list[Path]
    size: int

    @property
    def is_whole(self) -> bool:
        """Whether the whole run would be deleted."""
        return self.paths == [self.run.path]


def select(runs: Sequence[RunDir], prune: str) -> list[Deletion]:
    """Return what a value of `prune` would delete, for each run."""
    chosen = [(run, _paths(run, prune)) for run in runs if not _is_busy(run)]
    return [Deletion(run, paths, size_bytes(paths)) for run, paths in chosen if paths]


def delete(item: Deletion, prune: str) -> bool:
    """Delete the selected folders; return False if the run has changed or runs."""
    within = item.run.evaluations() if item.is_whole else []
    with contextlib.ExitStack() as stack:
        try:
            for run in (item.run, *within):
                stack.enter_context(run.locked())
        except BusyError:
            return False
        if _paths(item.run, prune) != item.paths:
            return False
        for path in item.paths:
            _remove(path)
    return True


def leftovers(roots: Sequence[str]) -> list[Path]:
    """Return the folders below `roots` that an interrupted deletion has left."""
    found = []
    for root in roots:
        for folder, below, files in os.walk(root):
            old = [] if RUN in files else [n for n in below if _is_leftover(n)]
            found += [Path(folder, n) for n in old if not Path(folder, n, RUN).exists()]
            inner = [n for n in below if not _LEFTOVER.fullmatch(n)]
            below[:] = [] if RUN in files else inner
    return [path for path in found if not path.is_symlink()]


def _is_leftover(name: str) -> bool:
    """Whether a folder is left from a deletion that no process continues."""
    match = _LEFTOVER.fullmatch(name)
    return match is not None and not _is_other_process(int(match["pid"]))


def _is_other_process(pid: int) -> bool:
    """Whether a process is alive and is not this one."""
    if pid == os.getpid():
        return False
    try:
        os.kill(pid, 0)  # sends nothing
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # alive, and somebody else's
    return True


def _is_busy(run: RunDir) -> bool:
    """Whether a process is using the run or one of its evaluations."""
    around = [run, *run.evaluations()]
    return any(
        one.info["status"] == "running" and not one.update_status() for one in around
    )


def _paths(run: RunDir, prune: str) -> list[Path]:
    """Return the folders of a run that a value of `prune` selects."""
    status, best = run.info["status"], run.checkpoints / "best"
    if prune == "checkpoints":
        is_done = status == "finished" and best.is_dir()
        return _unneeded_checkpoints(run) if is_done else []
    if prune == "failed":
        trained = any(any(run.checkpoints.glob(name)) for name in POLICIES)
        return [] if trained or status not in ENDED_EARLY else [run.path]
    days = PRUNE.fullmatch(prune)
    assert days is not None, f"{prune} was checked when the config was composed"
    youngest = min(age_s(one) for one in (run, *run.evaluations()))
    return [run.path] if youngest >= DAY_S * int(days["days"]) else []


def _unneeded_checkpoints(run: RunDir) -> list[Path]:
    """Return checkpoints that only a resumed run needs, and leftovers of saving."""
    folder = run.checkpoints
    if folder.is_symlink():
        return []
    found = [*folder.glob("step-*"), *folder.glob(".*.tmp")]
    # `.NAME.old` is the former NAME; it is needed as long as there is no new one.
    former = folder.glob(".*.old")
    found += [old for old in former if (folder / old.name[1:-4]).exists()]
    return sorted(path for path in found if path.is_dir() and not path.is_symlink())


def _remove(path: Path) -> None:
    """Delete a folder; an interruption leaves either the whole run or a leftover."""
    renamed = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    os.replace(path, renamed)
    (renamed / RUN).unlink(missing_ok=True)
    shutil.rmtree(renamed)

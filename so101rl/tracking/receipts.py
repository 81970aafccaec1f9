"""What a tracker has been given: one small file in the run, per tracker."""

import hashlib
from pathlib import Path
from typing import Any

from so101rl.files import read_json, to_json, write_atomic
from so101rl.rundir import METRICS, RUN, RunDir

FOLDER = ".delivered"


def receipt(run: RunDir, name: str, config: Any) -> Path:
    """The file that says that a tracker has all of a run.

    Args:
        run: what is delivered.
        name: of the tracker.
        config: its config as plain Python; another store is another tracker.
    """
    digest = hashlib.sha256(repr(config).encode()).hexdigest()[:12]
    return run.file(f"{FOLDER}/{name}-{digest}.json")


def is_signed(run: RunDir, path: Path) -> bool:
    """Whether the receipt is there, and for the run as it is now."""
    return path.exists() and read_json(path) == _contents(run)


def sign(run: RunDir, path: Path) -> None:
    """Write down that all of the run, as it is now, has been delivered."""
    write_atomic(path, to_json(_contents(run)))


def _contents(run: RunDir) -> dict[str, Any]:
    """What changes when a run goes on or is evaluated again."""
    info = hashlib.sha256((run.path / RUN).read_bytes()).hexdigest()
    metrics = run.path / METRICS
    return {"run": info, "metrics": metrics.stat().st_size if metrics.exists() else 0}

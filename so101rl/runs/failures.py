"""Why a run ended early: an error message and its kind, which decides the remedy.

Kinds: `config` (a setting is wrong), `diverged` (a value is not finite),
`infrastructure` (disk, memory, power), `bug` (an error of this package), `stopped` (by
a user or a pruner), `timeout` (stopped by its sweep for taking too long).
"""

import shlex
from collections.abc import Mapping
from pathlib import Path

from so101rl.errors import DivergedError, So101Error
from so101rl.files import FileError
from so101rl.runs.signals import Pruned, Terminated


def error_entry(error: BaseException) -> dict[str, str]:
    """Return the entry `error` of `run.json` for an exception."""
    from so101rl.config.messages import unwrapped

    if isinstance(error, KeyboardInterrupt):
        return _entry("stopped", "KeyboardInterrupt", "stopped by Ctrl+C")
    error = unwrapped(error)
    return _entry(_kind(error), type(error).__name__, str(error))


def _kind(error: BaseException) -> str:
    if isinstance(error, Terminated | Pruned):
        return "stopped"
    if isinstance(error, OSError | MemoryError | FileError):
        return "infrastructure"
    if isinstance(error, DivergedError):
        return "diverged"
    return "config" if isinstance(error, So101Error) else "bug"


def _entry(kind: str, name: str, message: str) -> dict[str, str]:
    return {"kind": kind, "class": name, "message": message}


def format_error(entry: Mapping[str, str]) -> str:
    """Return an entry as one line, `CLASS: MESSAGE`."""
    return " ".join(f"{entry['class']}: {entry['message']}".split())


def timeout_entry(seconds: float) -> dict[str, str]:
    """Return the entry `error` of a run that its sweep stopped after `seconds`."""
    return _entry("timeout", "Timeout", f"stopped after {seconds:g} s")


PROCESS_GONE = _entry(
    "infrastructure",
    "ProcessGone",
    "its process is gone: kill -9, out of memory, or a power cut",
)

# For each kind: what to do, and the name of the job that helps, or None.
REMEDIES: dict[str, tuple[str, str | None]] = {
    "config": ("correct the key that the message names, then train again", None),
    "infrastructure": ("continue where it stopped", "resume"),
    "stopped": ("continue where it stopped", "resume"),
    "timeout": (
        "continue where it stopped; hydra.sweeper.timeout_s allows more time",
        "resume",
    ),
    "bug": ("an error of this program: please report it, with the message", None),
    "diverged": (
        "train with other settings: a resumed run diverges again. To see the cause",
        "explain",
    ),
}


def remedy(kind: str, run: Path) -> tuple[str, str | None]:
    """Return what to do about a kind of failure, and the command for it or None."""
    words, job = REMEDIES[kind]
    return words, None if job is None else on_run(job, run)


def on_run(job: str, run: Path) -> str:
    """Return the command line that starts a job on a run."""
    return f"python main.py job={job} run={shlex.quote(str(run))}"

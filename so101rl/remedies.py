"""What helps a run that ended early, by the kind of its error."""

import shlex
from pathlib import Path

# By kind (see failures.py): what to do, and the job that does it on the run, if any.
REMEDIES: dict[str, tuple[str, str | None]] = {
    "config": ("mend the key that the message names, then train again", None),
    "infrastructure": ("it goes on where it stood", "resume"),
    "stopped": ("it goes on where it stood", "resume"),
    "bug": ("this is ours to mend: please report it, with the message", None),
    "diverged": (
        "resumed, it would diverge again: other settings are a new run. What led to it",
        "explain",
    ),
}


def remedy(kind: str, run: Path) -> tuple[str, str | None]:
    """What to do, and the command for it, if there is one."""
    words, job = REMEDIES[kind]
    return words, None if job is None else on_run(job, run)


def on_run(job: str, run: Path) -> str:
    """The command line of a job that reads a run."""
    return f"python main.py job={job} run={shlex.quote(str(run))}"

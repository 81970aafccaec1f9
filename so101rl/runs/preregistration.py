"""The plan of a study, written before its first run, and every later deviation."""

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from so101rl.files import read_json, to_json, write_atomic
from so101rl.runs.differences import differences
from so101rl.runs.provenance import git_state, now

FILE = "registration.json"


def register(
    folder: Path,
    name: str,
    study: Mapping[str, Any],
    settings: Mapping[str, Any],
    command: str,
) -> tuple[str, list[str]]:
    """Write the plan of a study into its folder, or the deviations from the plan there.

    Returns:
        The hash of the present plan, and the changes since the first one.
    """
    promised = {"study": dict(study), "settings": dict(settings)}
    digest = sha256(promised)
    path = folder / FILE
    if not path.is_file():
        first = {"name": name, "command": command, "sha256": digest}
        when = {"registered": now(), "git": git_state()}
        write_atomic(path, to_json({**first, **when, **promised, "deviations": []}))
        return digest, []
    known = read_json(path)
    if digest == known["sha256"]:
        return digest, []
    changes = differences({key: known[key] for key in promised}, promised)
    if digest not in [one["sha256"] for one in known["deviations"]]:
        known["deviations"].append(
            {"at": now(), "sha256": digest, "git": git_state(), "changes": changes}
        )
        write_atomic(path, to_json(known))
    return digest, changes


def sha256(content: Mapping[str, Any]) -> str:
    """A hash that does not depend on the order of keys."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()

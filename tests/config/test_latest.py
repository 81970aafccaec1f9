"""Which run `run=latest` is."""

import json
import os

import pytest

from so101rl.config.errors import RunNotFoundError
from so101rl.config.from_run import BEST, LOCK_FILE, find_run
from so101rl.runs.lock import Lock

STATUS = {"old": "finished", "no_policy": "finished", "stopped": "killed"}
STATUS |= {"gone": "running", "bug": "failed", "diverged": "failed"}
STATUS |= {"evaluation": "finished", "broken": "finished", "training": "running"}
JOBS = {"broken": "{"}


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """One run of every kind, the last one the newest; finds the name of the latest."""
    monkeypatch.chdir(tmp_path)
    for age, (name, status) in enumerate(STATUS.items()):
        path = tmp_path / "outputs" / name
        config = path / ".hydra/config.yaml"
        for folder in (config.parent, path / BEST):
            folder.mkdir(parents=True)
        job = "evaluate" if name == "evaluation" else "train"
        info = {"status": status, "error": {"kind": name}, "groups": {"job": job}}
        (path / "run.json").write_text(json.dumps(info))
        config.write_text(f"job: {JOBS.get(name, '{}')}\n")
        os.utime(config, (age, age))
    os.rmdir(f"outputs/no_policy/{BEST}")
    lock = Lock(tmp_path / "outputs/training" / LOCK_FILE)
    assert lock.take()
    yield lambda latest: find_run("latest", latest=latest).name
    lock.free()


def test_latest_has_a_policy_can_be_resumed_or_is_any_run(runs, tmp_path):
    assert runs("ended") == "diverged"
    assert runs("resumable") == "gone"
    assert runs("any") == "training"
    os.remove("outputs/gone/run.json")
    assert runs("resumable") == "stopped"
    for name in ("diverged", "bug", "stopped"):
        os.rmdir(f"outputs/{name}/{BEST}")
    assert runs("ended") == "old"
    os.chdir("outputs/old")  # where there is none
    for latest, reason in {
        "ended": "no run with checkpoints/best in outputs/ and multirun/ has ended",
        "resumable": "no run in outputs/ and multirun/ can be resumed",
        "any": "no run in outputs/ and multirun/ yet",
    }.items():
        with pytest.raises(RunNotFoundError, match=f"^run=latest: {reason}"):
            runs(latest)

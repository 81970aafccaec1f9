"""Which run `run=latest` is."""

import json
import os

import pytest

from so101rl.config.errors import RunNotFoundError
from so101rl.config.from_run import BEST, LOCK_FILE, find_run
from so101rl.runs.lock import Lock


def make_run(name, status, *, kind=None, best=True, job="{}"):
    os.makedirs(f"{name}/.hydra")
    if best:
        os.makedirs(f"{name}/{BEST}")
    error = kind and {"kind": kind}
    with open(f"{name}/run.json", "w") as file:
        json.dump({"status": status, "error": error}, file)
    with open(f"{name}/.hydra/config.yaml", "w") as file:
        file.write(f"job: {job}\n")
    age = len(os.listdir("outputs"))  # a later one is newer
    os.utime(f"{name}/.hydra/config.yaml", (age, age))


@pytest.fixture
def runs(tmp_path, monkeypatch):
    """One run of every kind; returns the name of the latest."""
    monkeypatch.chdir(tmp_path)
    os.makedirs("multirun")
    make_run("outputs/old", "finished")
    make_run("outputs/no_policy", "finished", best=False)
    make_run("outputs/killed", "killed", kind="stopped")
    make_run("outputs/gone", "running")
    for name in ("bug", "diverged"):
        make_run(f"outputs/{name}", "failed", kind=name)
    make_run("outputs/evaluation", "finished", job="{loads_run: true}")
    make_run("outputs/broken", "finished", job="{")
    make_run("outputs/training", "running")
    lock = Lock(tmp_path / "outputs/training" / LOCK_FILE)
    assert lock.take()
    yield lambda latest: find_run("latest", latest=latest).name
    lock.free()


def test_latest_has_a_policy_can_be_resumed_or_is_any_run(runs):
    assert runs("ended") == "diverged"
    assert runs("resumable") == "gone"
    assert runs("any") == "training"
    os.remove("outputs/gone/run.json")
    assert runs("resumable") == "killed"
    for name in ("diverged", "bug", "killed"):
        os.rmdir(f"outputs/{name}/{BEST}")
    assert runs("ended") == "old"


def test_without_such_a_run_the_message_says_which_is_missing(runs):
    os.chdir("multirun")
    for latest, reason in [
        ("ended", "no run with checkpoints/best in outputs/ and multirun/ has ended"),
        ("resumable", "no run in outputs/ and multirun/ can be resumed"),
        ("any", "no run in outputs/ and multirun/ yet"),
    ]:
        with pytest.raises(RunNotFoundError, match=f"^run=latest: {reason}"):
            runs(latest)

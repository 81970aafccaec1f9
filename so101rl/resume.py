"""`job=resume`: a run that ended early goes on as if nothing had happened."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from so101rl import checkpoint
from so101rl.errors import So101Error
from so101rl.provenance import code_sha256, versions
from so101rl.rundir import RunDir
from so101rl.train import finish, prepare

# Keys that may differ: they say what to do now, or change nothing of the training.
FREE = (
    "job",
    "run",
    "checkpoint",
    "replay",
    "trust",
    "tracking",
    "n_threads",
    "evaluation.video",
    "evaluation.figure",
)
BEGINNING = {"metrics": 0, "timings": 0}


class ResumeError(So101Error):
    """A run that cannot go on exactly."""


class Start(NamedTuple):
    """Where a run goes on.

    Attributes:
        step: env step.
        training: what the checkpoint holds; None at the beginning.
    """

    step: int
    training: Mapping[str, Any] | None


def resume(cfg: DictConfig) -> float | None:
    """Continue `run=RUN_DIR` from its newest whole checkpoint; safe to repeat.

    Returns:
        The residual's success rate on the held-out episodes; None if there was nothing
        left to do.

    Raises:
        ResumeError: it would not be the same run any more.
        BusyRunError: a process is running it.
    """
    if cfg.run is None:
        raise ResumeError("job=resume needs run=RUN_DIR (or run=latest)")
    run = RunDir.open(cfg.run)
    run.settle()
    if run.info["status"] == "finished":
        print(f"{run.path} is finished: nothing to do")
        return None
    _refuse_changes(cfg, run)
    learner, held_out = prepare(cfg)
    checkpoint.recover(run.checkpoints)
    start = newest(run.checkpoints)
    if run.info.get("resume", "exact") != "exact":
        print(f"resuming is {run.info['resume']}", flush=True)
    logs = start.training["logs"] if start.training else BEGINNING
    run.reopen(step=start.step, **logs)
    return finish(cfg, run, learner, held_out, start=start.training)


def newest(folder: Path) -> Start:
    """The newest whole checkpoint, or the beginning; says what it passes over."""
    for path in checkpoint.steps(folder):
        try:
            step, training = checkpoint.load_training(path)
        except checkpoint.CheckpointError as error:
            print(f"passed over: {error}", flush=True)
            continue
        print(f"going on from {path.name}", flush=True)
        return Start(step, training)
    print("no whole checkpoint: starting again from step 0", flush=True)
    return Start(0, None)


def _refuse_changes(cfg: DictConfig, run: RunDir) -> None:
    """Raise if config, code or versions differ from those of the run."""
    before, now = _leaves(run.config()), _leaves(cfg)
    changes = [
        f"{key}: {before.get(key, 'absent')} -> {now.get(key, 'absent')}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key, "absent") != now.get(key, "absent")
        and not any(f"{key}.".startswith(f"{free}.") for free in FREE)
    ]
    old, new = run.info["versions"], versions()
    changes += [
        f"{name}: {old.get(name)} -> {new.get(name)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name) != new.get(name)
    ]
    if run.info["code_sha256"] != code_sha256():
        commit = (run.info["git"] or {}).get("commit")
        changes.append(f"code: it was that of commit {commit or '(unknown)'}")
    if changes:
        raise ResumeError(
            f"{run.path} would not be the same run any more:\n  "
            + "\n  ".join(changes)
            + "\nTake the change back, or start a new run."
        )


def _leaves(cfg: DictConfig) -> dict[str, Any]:
    """Values of a config by dotted key; lists stay whole, `hydra` is left out."""

    def walk(node: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for key, value in node.items():
            if isinstance(value, dict) and value:
                yield from walk(value, f"{prefix}{key}.")
            else:
                yield f"{prefix}{key}", value

    plain = OmegaConf.to_container(cfg, resolve=True)
    assert isinstance(plain, dict)
    plain.pop("hydra", None)
    return dict(walk(plain, ""))

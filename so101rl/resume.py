"""`job=resume`: a run that ended early goes on as if nothing had happened."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig, OmegaConf

from so101rl import checkpoint
from so101rl.errors import So101Error
from so101rl.learner_state import why_approximate
from so101rl.provenance import changes_since, cpu_name
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
    with run.held():
        if run.info["status"] == "finished":
            print(f"{run.path} is finished: nothing to do")
            return None
        _refuse_changes(cfg, run)
        parts = prepare(cfg)
        reason = why_approximate(parts.learner.model)
        if run.info.get("cpu") != cpu_name():
            reason = f"it began on {run.info.get('cpu')}"
        exactness = f"approximate: {reason}" if reason else "exact"
        if reason:
            print(f"resuming is {exactness}", flush=True)
        checkpoint.recover(run.checkpoints)
        start = newest(run.checkpoints)
        size = start.training["logs"] if start.training else 0
        run.reopen(step=start.step, metrics=size, resume=exactness)
    return finish(cfg, run, parts, start=start.training)


def newest(folder: Path) -> Start:
    """The newest whole checkpoint, or the beginning; removes what it passes over."""
    for path in checkpoint.steps(folder):
        try:
            step, training = checkpoint.load_training(path)
        except checkpoint.CheckpointError as error:
            print(f"passed over: {error}", flush=True)
            checkpoint.remove(path)  # or it would count as one of those to keep
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
    changes += changes_since(run.info)
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

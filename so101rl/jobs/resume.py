"""`job=resume`: a run that ended early goes on as if nothing had happened."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from omegaconf import DictConfig

from so101rl.config.schema import FREE, settings
from so101rl.errors import So101Error
from so101rl.policies import checkpoint
from so101rl.runs.provenance import changes_since, cpu_name
from so101rl.runs.run_dir import RunDir
from so101rl.training.trainer import finish, prepare
from so101rl.training.warm_start import check_same, warm_start


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
        BusyError: a process is running it.
    """
    if cfg.run is None:
        raise ResumeError("job=resume needs run=RUN_DIR (or run=latest)")
    run = RunDir.open(cfg.run)
    with run.locked():
        if run.info["status"] == "finished":
            print(f"{run.path} is finished: nothing to do")
            return None
        _refuse_changes(cfg, run)
        parts = prepare(cfg)
        exactness = parts.exactness
        if run.info.get("cpu") != cpu_name():
            exactness = f"approximate: it began on {run.info.get('cpu')}"
        if exactness != "exact":
            print(f"resuming is {exactness}", flush=True)
        checkpoint.repair_interrupted_saves(run.checkpoints)
        start = load_newest(run.checkpoints)
        if start.training is None:
            check_same(run.info, warm_start(cfg, parts.learner.model))
        size = start.training["logs"] if start.training else 0
        run.reopen(step=start.step, metrics=size, resume=exactness)
    return finish(cfg, run, parts, start=start.training)


def load_newest(folder: Path) -> Start:
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
    free = ["hydra", *FREE]
    if run.info.get("init_from") and cfg.init_from:
        free.append("init_from")  # where it lies now; `check_same` looks what it is
    before, now = settings(run.config(), without=free), settings(cfg, without=free)
    changes = [
        f"{key}: {before.get(key, 'absent')} -> {now.get(key, 'absent')}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key, "absent") != now.get(key, "absent")
    ]
    changes += changes_since(run.info)
    if changes:
        raise ResumeError(
            f"{run.path} would not be the same run any more:\n  "
            + "\n  ".join(changes)
            + "\nTake the change back, or start a new run."
        )

"""`job=resume`: continue a run that ended early; it ends as if never interrupted."""

from collections.abc import Mapping
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from so101rl.config.schema import NEUTRAL_KEYS, settings
from so101rl.errors import So101Error
from so101rl.policies import checkpoint
from so101rl.runs.differences import differences
from so101rl.runs.provenance import changes_since, cpu_name
from so101rl.runs.run_dir import RunDir
from so101rl.training.trainer import Trainer
from so101rl.training.warm_start import check_same_source, warm_start


class ResumeError(So101Error):
    """A run cannot be continued exactly."""


def resume(cfg: DictConfig) -> float | None:
    """Continue `run=RUN_DIR` from its newest whole checkpoint; safe to repeat.

    Returns:
        The residual's success rate on the held-out episodes; None if the run is
        finished already.

    Raises:
        ResumeError: config, code or versions have changed since the run started.
        BusyError: a process is running it.
    """
    if cfg.run is None:
        raise ResumeError("job=resume needs run=RUN_DIR (or run=latest)")
    run = RunDir.open(cfg.run)
    with ExitStack() as stack:
        with run.locked():
            if run.info["status"] == "finished":
                print(f"{run.path} is finished: nothing to do")
                return None
            _refuse_changes(cfg, run)
            trainer = stack.enter_context(closing(Trainer(cfg)))
            _refuse_other_base(run, trainer.identity)
            exactness = trainer.exactness
            if run.info.get("cpu") != cpu_name():
                exactness = f"approximate: it began on {run.info.get('cpu')}"
            if exactness != "exact":
                print(f"resuming is {exactness}", flush=True)
            checkpoint.repair_interrupted_saves(run.checkpoints)
            step, state = load_newest_checkpoint(run.checkpoints)
            if state is None:
                check_same_source(
                    run.info, warm_start(cfg, trainer.model, trainer.identity)
                )
            size = state["logs"] if state else 0
            run.reopen(step=step, metrics=size, resume=exactness)
        return trainer.run(run, start=state)


def load_newest_checkpoint(folder: Path) -> tuple[int, Mapping[str, Any] | None]:
    """Load the newest whole checkpoint, and delete damaged ones that are newer.

    Returns:
        Env step and training state of the checkpoint; 0 and None if none is whole.
    """
    for path in checkpoint.steps(folder):
        try:
            step, state = checkpoint.load_training(path)
        except checkpoint.CheckpointError as error:
            print(f"passed over: {error}", flush=True)
            checkpoint.remove(path)  # or it would count as one of those to keep
            continue
        print(f"going on from {path.name}", flush=True)
        return step, state
    print("no whole checkpoint: starting again from step 0", flush=True)
    return 0, None


def _refuse_changes(cfg: DictConfig, run: RunDir) -> None:
    """Raise if config, code or versions differ from those of the run."""
    free = ["hydra", *NEUTRAL_KEYS]
    if run.info.get("init_from") and cfg.init_from:
        free.append("init_from")  # a path that may change; `check_same_source` follows
    before, now = settings(run.config(), without=free), settings(cfg, without=free)
    changes = differences(before, now) + changes_since(run.info)
    if changes:
        raise ResumeError(
            f"{run.path} would not be the same run any more:\n  "
            + "\n  ".join(changes)
            + "\nTake the change back, or start a new run."
        )


def _refuse_other_base(run: RunDir, identity: Mapping[str, Any]) -> None:
    """Raise if the base policy is not the one with which the run began."""
    before = run.info.get("base_policy")
    if before is not None and before != identity:
        raise ResumeError(
            f"{run.path} began with the base policy {before}, this one is {identity}: "
            "it would not be the same run any more"
        )

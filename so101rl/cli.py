"""The command line: runs Hydra's entry point and says in short what went wrong."""

import gc
import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from so101rl import explain
from so101rl.composition import checked_loader
from so101rl.errors import ConfigError, OverrideSyntaxError

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
GC_THRESHOLD = 50_000  # new objects between two garbage collections


def guarded(main: Callable[[], Any]) -> int:
    """Run Hydra's entry point and turn what it raises into an exit code.

    Args:
        main: The function decorated with `hydra.main`.

    Returns:
        0, 2 for a user's mistake, 130 for Ctrl+C, or what the job itself asked for.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing
    # Imports make 300,000 objects that stay. At Python's 700 the collector looks at
    # them so often that it takes a fifth of the time until training starts.
    gc.set_threshold(GC_THRESHOLD)
    try:
        _check_flags(sys.argv[1:])
        with checked_loader():
            main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        return _report(error)
    return 0


def run_job(cfg: DictConfig) -> float | None:
    """Call the function that `cfg.job._target_` names.

    Args:
        cfg: Composed and checked config.

    Returns:
        What the job returns: a sweep's objective, or None.
    """
    call = HydraConfig.get()
    in_sweep = call.mode == RunMode.MULTIRUN
    if in_sweep:
        print(f"--- job {call.job.num}: {' '.join(call.overrides.task)}", flush=True)
    if "run=latest" in call.overrides.task:
        print(f"run=latest is {cfg.run}", flush=True)
    try:
        return _locate(str(cfg.job._target_))(cfg)
    except Exception as error:
        if in_sweep:  # Hydra runs the other jobs, then raises the first failure
            reason = explain.unwrapped(error)
            print(f"--- job {call.job.num} failed: {reason}", file=sys.stderr)
            raise
        if explain.user_error(error) is None:
            raise
        # Leave before Hydra prints its own line about the failed job.
        raise SystemExit(_report(error)) from error


def _report(error: Exception) -> int:
    """Print a user's mistake in one short message; raise anything else again."""
    reason = explain.user_error(error)
    if reason is None or os.environ.get("SO101RL_DEBUG") == "1":
        raise error
    print(f"error: {reason}", file=sys.stderr)
    return EXIT_USER_ERROR


def _locate(target: str) -> Callable[[DictConfig], float | None]:
    """Import the job function; only our own package may be named."""
    module, _, name = target.rpartition(".")
    expected = "a function of so101rl, as in conf/job/train.yaml"
    if not target.startswith("so101rl."):
        raise ConfigError("job._target_", got=target, expected=expected)
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise ConfigError("job._target_", got=target, expected=expected) from error
    if not hasattr(found, name):
        raise ConfigError("job._target_", got=target, expected=expected)
    return getattr(found, name)


def _check_flags(argv: list[str]) -> None:
    """Refuse `--seed 3` and words that argparse would report in ten lines."""
    unknown = get_args_parser().parse_known_args(argv)[1]
    if not unknown:
        return
    word = unknown[0]
    if word.startswith("-"):
        key = word.lstrip("-").replace("-", "_")
        raise OverrideSyntaxError(
            word,
            reason="there is no such flag; settings are written without dashes",
            guess=key if "=" in key else f"{key}=VALUE",
        )
    raise OverrideSyntaxError(
        word, reason="write all settings together, before or after the flags"
    )

"""The command line: runs Hydra's entry point and says in short what went wrong."""

import contextlib
import gc
import os
import re
import sys
import warnings
from collections.abc import Callable, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any

from hydra._internal.utils import get_args_parser
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from so101rl.config import messages
from so101rl.config.compose import checked_loader
from so101rl.errors import ConfigError, OverrideSyntaxError
from so101rl.runs import signals

EXIT_USER_ERROR = 2
COMPLETION = {"-sc", "--shell-completion"}
EXIT_INTERRUPTED = 130
DRY_RUN = "--dry-run"  # our only flag, and what Hydra has for it
MEANS = ("-m", "hydra.sweeper.dry_run=true")
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
    usual, warnings.formatwarning = warnings.formatwarning, _short_warning
    try:
        sys.argv[1:] = _checked_words(sys.argv[1:])
        with checked_loader():
            main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        return _report(error)
    finally:
        warnings.formatwarning = usual
    return 0


def run_job(cfg: DictConfig) -> float | None:
    """Call the function that `cfg.job._target_` names.

    Args:
        cfg: Composed and checked config.

    Returns:
        What the job returns: a sweep's objective, or None.
    """
    signals.follow_parent()
    call = HydraConfig.get()
    in_sweep = call.mode == RunMode.MULTIRUN
    if in_sweep:
        print(f"--- job {call.job.num}: {' '.join(call.overrides.task)}", flush=True)
    if "run=latest" in call.overrides.task:
        print(f"run=latest is {cfg.run}", flush=True)
    try:
        return _locate(str(cfg.job._target_))(cfg)
    except Exception as error:
        if messages.user_error(error) is not None:
            _remove_traces(call)
        if in_sweep:  # Hydra runs the other jobs, then raises the first failure
            reason = messages.unwrapped(error)
            print(f"--- job {call.job.num} failed: {reason}", file=sys.stderr)
            raise
        if messages.user_error(error) is None:
            raise
        # Leave before Hydra prints its own line about the failed job.
        raise SystemExit(_report(error)) from error


def _report(error: Exception) -> int:
    """Print a user's mistake in one short message; raise anything else again."""
    reason = messages.user_error(error)
    if reason is None or os.environ.get("SO101RL_DEBUG") == "1":
        raise error
    if not COMPLETION & set(sys.argv):  # a message would land in the middle of a line
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


def _remove_traces(call: HydraConf) -> None:
    """Remove the directory that Hydra made for a job that was then refused.

    Only Hydra's own files and folders that are empty without them.
    """
    folder = Path(call.runtime.output_dir)
    if call.output_subdir is None or (folder / "run.json").exists():
        return
    notes = folder / call.output_subdir
    for name in ("config", "hydra", "overrides"):
        (notes / f"{name}.yaml").unlink(missing_ok=True)
    above = [path for path in folder.parents if Path.cwd() in path.parents]
    with contextlib.suppress(OSError):  # the first that is not empty
        for path in (notes, folder, *above):
            path.rmdir()


def _short_warning(message: object, *where: object, **more: object) -> str:
    """Write a warning without the place in a library that it comes from."""
    del where, more
    return f"warning: {message}\n"


def _checked_words(argv: Sequence[str]) -> list[str]:
    """Return the command line with all its `key=value` together, as argparse wants it.

    Raises:
        OverrideSyntaxError: For `--seed 3`, `key = value` and the like.
    """
    if DRY_RUN in argv:
        argv = [*(word for word in argv if word != DRY_RUN), *MEANS]
    known, unknown = get_args_parser().parse_known_args(list(argv))
    for word in unknown:
        if word.startswith("-"):
            raise _no_such_flag(word, argv)
    words = [*known.overrides, *unknown]
    _check_spaces(words)
    if not unknown:
        return list(argv)
    return [*words, *(word for word in argv if word not in words)]


def _no_such_flag(word: str, argv: Sequence[str]) -> OverrideSyntaxError:
    """Explain `--seed 3` and `--seed=3`."""
    guess = word.lstrip("-").replace("-", "_")
    if "=" not in guess:
        after = [*argv, ""][list(argv).index(word) + 1]
        value = "VALUE" if not after or "=" in after or after[0] == "-" else after
        guess = f"{guess}={value}"
    reason = "there is no such flag; settings are written without dashes"
    return OverrideSyntaxError(word, reason=reason, guess=guess)


def _check_spaces(words: Sequence[str]) -> None:
    """Refuse `key = value` and `key value`, of which the shell makes several words."""
    for index, (word, after) in enumerate(pairwise([*words, "", ""])):
        name_and_value = re.fullmatch(r"[a-z_][\w./]* [\w.]+", f"{word} {after}")
        if word.startswith("=") and index:
            parts = [words[index - 1], word, after if word == "=" else ""]
        elif name_and_value or (word.endswith("=") and after and "=" not in after):
            parts = [word, after]
        else:
            continue
        key, *rest = (part.strip("=") for part in parts)
        raise OverrideSyntaxError(
            " ".join(parts).strip(),
            reason="a setting is one word, key=value without spaces",
            guess=f"{key}={''.join(rest)}",
        )

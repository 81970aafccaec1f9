"""The command line: composes the config, runs its job, and reports mistakes briefly.

`python main.py --help` lists the groups, the keys and examples.
"""

import contextlib
import gc
import os
import re
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from importlib import import_module
from itertools import pairwise
from pathlib import Path
from typing import Any, TextIO

import hydra
from hydra.conf import HydraConf
from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode
from omegaconf import DictConfig

from so101rl.config import messages
from so101rl.config.compose import checked_loader
from so101rl.config.errors import OverrideSyntaxError
from so101rl.config.hydra_internal import parse_flags
from so101rl.errors import ConfigError
from so101rl.files import shipped
from so101rl.runs import signals

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130
COMPLETION = {"-sc", "--shell-completion"}
DRY_RUN = "--dry-run"  # our only flag, and what it stands for
DRY_RUN_WORDS = ("-m", "hydra.sweeper.dry_run=true")
GC_THRESHOLD = 50_000  # new objects between two garbage collections


@hydra.main(version_base="1.3", config_path=str(shipped("conf")), config_name="config")
def job(cfg: DictConfig) -> float | None:
    """Run the chosen job; the float is what a sweep optimises."""
    return run_job(cfg)


def main(task: Callable[[], Any] = job) -> int:
    """Run the command line in `sys.argv`.

    Args:
        task: A function decorated with `hydra.main`.

    Returns:
        The exit code: 0, 2 for a user's mistake, 130 for Ctrl+C.
    """
    if Path(sys.argv[0]).name in ("__main__.py", "so101rl"):
        sys.argv[0] = "so101rl"  # part of the command line that a run records
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing
    # Imports make 300,000 objects that stay. At Python's threshold of 700 the garbage
    # collector takes a fifth of the time until training starts.
    gc.set_threshold(GC_THRESHOLD)
    formatwarning, warnings.formatwarning = warnings.formatwarning, _short_warning
    try:
        with _output_may_fail():
            return _run(task)
    finally:
        warnings.formatwarning = formatwarning


def _run(task: Callable[[], Any]) -> int:
    """Call Hydra, and turn what it raises into an exit code."""
    try:
        sys.argv[1:] = _checked_words(sys.argv[1:])
        with checked_loader():
            task()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        return _report(error)
    return 0


class _Output:
    """Wraps standard output or error; after a failed write it discards all text.

    So `| head` causes no error, and a training continues if its terminal is closed.
    """

    def __init__(self, stream: TextIO):
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text, if that is possible."""
        with self._discarded_on_error():
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        """Flush what was written, if that is possible."""
        with self._discarded_on_error():
            self._stream.flush()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    @contextlib.contextmanager
    def _discarded_on_error(self) -> Iterator[None]:
        try:
            yield
        except OSError:  # the reader has gone, or the disk is full
            with open(os.devnull, "wb") as nowhere:
                os.dup2(nowhere.fileno(), self._stream.fileno())


@contextlib.contextmanager
def _output_may_fail() -> Iterator[None]:
    """Discard output that cannot be written instead of raising an error."""
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = (one and _Output(one) for one in before)  # type: ignore
    try:
        yield
    finally:
        for stream in filter(None, (sys.stdout, sys.stderr)):
            stream.flush()  # at its exit, the interpreter would report a failure
        sys.stdout, sys.stderr = before


@_output_may_fail()  # because a launcher's process does not call `main`
def run_job(cfg: DictConfig) -> float | None:
    """Call the function that `cfg.job._target_` names, and return its result."""
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
        is_bug = messages.user_error(error) is None
        if not is_bug:
            _remove_output(call)
        if in_sweep:  # Hydra runs the other jobs, then raises the first failure
            reason = messages.unwrapped(error)
            print(f"--- job {call.job.num} failed: {reason}", file=sys.stderr)
        if in_sweep or is_bug:
            raise
        # Exit before Hydra prints its own line about the failed job.
        raise SystemExit(_report(error)) from error


def _report(error: Exception) -> int:
    """Print a user's mistake and return the exit code; raise any other error again."""
    reason = messages.user_error(error)
    if reason is None or os.environ.get("SO101RL_DEBUG") == "1":
        raise error
    if not COMPLETION & set(sys.argv):  # it would garble the line being completed
        print(f"error: {reason}", file=sys.stderr)
    return EXIT_USER_ERROR


def _locate(target: str) -> Callable[[DictConfig], float | None]:
    """Import the job's function, which must be in our package."""
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


def _remove_output(call: HydraConf) -> None:
    """Remove Hydra's files of a failed job, and the folders that are then empty."""
    folder = Path(call.runtime.output_dir)
    if call.output_subdir is None or (folder / "run.json").exists():
        return
    subfolder = folder / call.output_subdir
    for name in ("config", "hydra", "overrides"):
        (subfolder / f"{name}.yaml").unlink(missing_ok=True)
    parents = [path for path in folder.parents if Path.cwd() in path.parents]
    with contextlib.suppress(OSError):  # ends at the first that is not empty
        for path in (subfolder, folder, *parents):
            path.rmdir()


def _short_warning(message: object, *args: object, **kwargs: object) -> str:
    """Format a warning without the line of code that it comes from."""
    del args, kwargs
    return f"warning: {message}\n"


def _checked_words(argv: Sequence[str]) -> list[str]:
    """Return the command line with all `key=value` words first, as argparse needs it.

    Raises:
        OverrideSyntaxError: For `--seed 3`, `key = value` and the like.
    """
    if DRY_RUN in argv:
        argv = [*(word for word in argv if word != DRY_RUN), *DRY_RUN_WORDS]
    flags, unknown = parse_flags(argv)
    path = flags.config_path
    if path and "://" not in path and not os.path.isabs(path):
        # Hydra would look for it in our package, not in the working directory.
        argv = [*argv, "--config-path", os.path.abspath(path)]
    for word in unknown:
        if word.startswith("-"):
            raise _no_such_flag(word, argv)
    words = [*flags.overrides, *unknown]
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
    """Refuse `key = value` and `key value`, which the shell splits into words."""
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

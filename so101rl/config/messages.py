"""Translates the errors of Hydra and OmegaConf into short messages of ours."""

import errno
import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from hydra.errors import (
    ConfigCompositionException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf import DictConfig
from omegaconf.errors import (
    ConfigAttributeError,
    ConfigKeyError,
    ConfigTypeError,
    MissingMandatoryValue,
    OmegaConfBaseException,
    ValidationError,
)
from yaml import MarkedYAMLError, YAMLError

from so101rl.config.errors import (
    OverrideSyntaxError,
    UnknownKeyError,
    UnknownOptionError,
    did_you_mean,
    nearest,
    nearest_key,
)
from so101rl.errors import ConfigError, So101Error

Options = Mapping[str, Sequence[str]]  # of each config group

_DISK = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOTDIR)
_MAX_LINES = 4
_GLOBAL = "# @package _global_"
_TYPES = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}


def translated(error: Exception, options: Options) -> So101Error:
    """Return an error of Hydra, OmegaConf or the yaml parser as one short message."""
    if isinstance(error, OverrideParseException):
        return _syntax_error(error.override, options)
    if isinstance(error, YAMLError):
        return _yaml_error(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing_option(error, error.missing_cfg_file, options)
    text = str(error)
    if text.startswith(("Ambiguous value for argument", "Sweep parameters")):
        reason = "several values need -m (one run each)"
        return OverrideSyntaxError(text.split("'")[1], reason=reason)
    cause: BaseException | None = error
    if isinstance(error, ConfigCompositionException):
        cause = error.__cause__ or error.__context__
    if isinstance(cause, OmegaConfBaseException):
        return _omegaconf_error(text, cause)
    return So101Error(_shortened(text))


def user_error(error: BaseException) -> So101Error | None:
    """Return what the user has to correct, or None if `error` is a bug.

    Hydra wraps whatever a constructor raises; a `So101Error` inside is found.
    """
    if isinstance(error, So101Error):
        return error
    if isinstance(error, InstantiationException):
        inner = error.__cause__
        while inner is not None:
            if isinstance(inner, So101Error):
                return inner
            inner = inner.__cause__
        return _no_such_class(error) or _wrong_arguments(error)
    if isinstance(error, MissingMandatoryValue):
        return ConfigError(str(error.full_key), got="???", expected="a value")
    if isinstance(error, OSError) and error.filename and _is_disk_error(error):
        return So101Error(f"{error.filename}: {error.strerror}.")
    if "MUJOCO_GL" in os.environ and _is_graphics_error(error):
        value = os.environ["MUJOCO_GL"]
        expected = f"egl, osmesa or glfw, if it is installed, or unset ({error})"
        return ConfigError("MUJOCO_GL", got=value, expected=expected)
    return None


def unwrapped(error: BaseException) -> BaseException:
    """Return what the user has to correct, or the bug that Hydra has wrapped."""
    found = user_error(error) or error
    while isinstance(found, InstantiationException) and found.__cause__ is not None:
        found = found.__cause__
    return found


@contextmanager
def user_errors() -> Iterator[None]:
    """Raise a constructor's `So101Error` itself instead of what Hydra makes of it."""
    try:
        yield
    except InstantiationException as error:
        raise (user_error(error) or error) from error


def _is_disk_error(error: OSError) -> bool:
    """Tell a refusal of the disk (rights, space, no new directory) from a bug."""
    frames = traceback.extract_tb(error.__traceback__)
    return error.errno in _DISK or bool(frames and frames[-1].name == "mkdir")


def _is_graphics_error(error: BaseException) -> bool:
    """Tell whether MuJoCo found no graphics when it was imported."""
    frames = traceback.extract_tb(error.__traceback__)
    files = [Path(frame.filename) for frame in frames]
    return any(f.match("mujoco/osmesa/*") or f.name == "gl_context.py" for f in files)


def _syntax_error(word: str, options: Options) -> OverrideSyntaxError:
    """Explain a word that is not `key=value`."""
    if "=" not in word:
        guess = _guess(word, options)
        return OverrideSyntaxError(word, reason="expected key=value", guess=guess)
    reason = "cannot be read; quote text with special signs: 'key=\"text\"'"
    if any(word.count(left) != word.count(right) for left, right in ("[]", "{}")):
        reason = "a bracket is open; write lists without spaces, or quote: 'key=[1, 2]'"
    return OverrideSyntaxError(word, reason=reason)


def _guess(word: str, options: Options) -> str | None:
    """Guess what a word without `=` means: `key:value`, a run, a job, an option."""
    if ":" in word:
        return word.replace(":", "=", 1)
    if Path(word).exists():
        return f"run={word}"
    pairs: dict[str, str] = {}
    for group in sorted(options, key=lambda group: group != "job"):
        for name in options[group]:
            pairs.setdefault(name, f"{group}={name}")
    like = nearest(word, pairs, cutoff=0.75)  # strict: all groups have many options
    return pairs[like] if like else None


def _missing_option(
    error: MissingConfigException, path: str, options: Options
) -> So101Error:
    """Explain an option, or a whole config, that no file has."""
    group, _, name = path.rpartition("/")
    if not group:
        reason = "there is no such config; leave the flag out and choose options"
        word, guess = f"--config-name={name}", _guess(name, options)
        return OverrideSyntaxError(word, reason=reason, guess=guess)
    inner = group.rpartition("/")[2]
    if group not in options and inner in options:  # a preset without `override /`
        hint = did_you_mean(f"`- override /{inner}: {name}`")
        return So101Error(f"{group}: {name}: there is no such group.{hint}")
    known = options.get(group, error.options or ())
    return UnknownOptionError(group, got=name, options=known)


def _yaml_error(error: YAMLError) -> So101Error:
    """Explain a file that is no yaml, with its line."""
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return So101Error(_shortened(str(error)))
    mark = error.problem_mark
    problem = error.problem or "cannot be read"
    hint = "; indent with spaces" if "'\\t'" in problem else ""
    return So101Error(f"{mark.name}, line {mark.line + 1}: {problem}{hint}.")


def _omegaconf_error(text: str, cause: OmegaConfBaseException) -> So101Error:
    """Explain a key or value that the typed schema refuses, and name the file."""
    found = re.match(r"In '([^']+)'", text)
    source = f"conf/{found[1]}.yaml: " if found else ""
    key, parent = str(cause.full_key or ""), cause.parent_node
    reason = str(cause.msg or cause).splitlines()[0]
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and key:
        if source.startswith(f"conf/{key}/"):
            return So101Error(f"{source}the first line has to be `{_GLOBAL}`.")
        names = [str(name) for name in parent] if isinstance(parent, DictConfig) else []
        names = [name for name in names if name != "hydra"]
        above, dot, _ = key.rpartition(".")
        known = [f"{above}{dot}{name}" for name in names]
        where = {"parent": above, "source": source}
        return UnknownKeyError(key, keys=known, siblings=names, **where)
    kind = reason.rpartition("could not be converted to ")[2]
    if isinstance(cause, ValidationError) and kind in _TYPES and key:
        return ConfigError(f"{source}{key}", got=cause.value, expected=_TYPES[kind])
    if isinstance(cause, ConfigTypeError) and source:
        return So101Error(f"{source}expected `key: value` lines ({reason}).")
    if key or source:
        return So101Error(f"{source}{key}{': ' * bool(key)}{reason}.")
    return So101Error(_shortened(f"{text}\n{reason}"))


def _no_such_class(error: InstantiationException) -> So101Error | None:
    """Explain a `_target_` that no module has."""
    found = re.match(r"Error locating target '([^']+)'", str(error))
    if found is None:
        return None
    expected = "a class that exists, with its module in front"
    return ConfigError(_key_in(error, "_target_"), got=found[1], expected=expected)


def _wrong_arguments(error: InstantiationException) -> So101Error | None:
    """Explain a key that a class does not take, or one that it lacks."""
    text = str(error.__cause__)
    extra = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword .*'(\w+)'", text)
    if extra:
        guess = nearest_key(extra[2], _parameters(error))
        key = _key_in(error, extra[2])
        return So101Error(f"{key}: {extra[1]} has no such key.{did_you_mean(guess)}")
    lacks = re.search(r"(\w+)\.__init__\(\) missing .* arguments?: (.*)", text)
    if lacks:
        expected = lacks[2].replace("'", "")
        where = _key_in(error, "") or "yaml"
        return So101Error(f"{where}: {lacks[1]} also needs {expected}.")
    return None


def _key_in(error: InstantiationException, name: str) -> str:
    """Return the dotted key `name` of the node that Hydra wanted to build."""
    node = str(error).partition("full_key: ")[2].strip()
    return f"{node}.{name}".strip(".")


def _parameters(error: InstantiationException) -> Iterator[str]:
    """Yield the parameters of the class that Hydra wanted to build."""
    found = re.match(r"Error in call to target '([\w.]+)\.(\w+)'", str(error))
    target = getattr(sys.modules.get(found[1]), found[2], None) if found else None
    for base in getattr(target, "__mro__", ()):
        names = inspect.signature(base.__init__).parameters
        yield from (name for name in names if name != "self")


def _shortened(text: str) -> str:
    """Return the first lines that are not empty."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[:_MAX_LINES])

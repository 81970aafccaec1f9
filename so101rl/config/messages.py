"""Says in our words what Hydra and OmegaConf complain about."""

import errno
import inspect
import os
import re
import sys
import traceback
from collections.abc import Iterator, Mapping, Sequence
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

from so101rl.errors import (
    ConfigError,
    OverrideSyntaxError,
    So101Error,
    UnknownKeyError,
    UnknownOptionError,
    did_you_mean,
    nearest,
    nearest_key,
)

_DISK = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOTDIR)
_MAX_LINES = 4
_GLOBAL = "# @package _global_"
_KINDS = {"Integer": "a whole number", "Float": "a number", "Boolean": "true or false"}


def explained(error: Exception, options: Mapping[str, Sequence[str]]) -> So101Error:
    """Translate an error raised while the config was composed.

    Args:
        error: What Hydra, OmegaConf or the yaml parser raised.
        options: The options of each config group.

    Returns:
        The same in one short message.
    """
    if isinstance(error, OverrideParseException):
        return _syntax(error.override, options)
    if isinstance(error, YAMLError):
        return _yaml(error)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        return _missing(error, options)
    text = str(error)
    if text.startswith(("Ambiguous value for argument", "Sweep parameters")):
        reason = "several values need -m (one run each)"
        return OverrideSyntaxError(text.split("'")[1], reason=reason)
    cause: BaseException | None = error
    if isinstance(error, ConfigCompositionException):
        cause = error.__cause__ or error.__context__
    if isinstance(cause, OmegaConfBaseException):
        return _omegaconf(text, cause)
    return So101Error(_short(text))


def user_error(error: BaseException) -> So101Error | None:
    """Return what the user has to mend, or None if `error` is a bug.

    Hydra wraps whatever a constructor raises: a `So101Error` inside is found.
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
    if isinstance(error, OSError) and error.filename and _is_about_the_disk(error):
        return So101Error(f"{error.filename}: {error.strerror}.")
    if "MUJOCO_GL" in os.environ and _is_about_graphics(error):
        value = os.environ["MUJOCO_GL"]
        expected = f"egl, osmesa or glfw, if it is installed, or unset ({error})"
        return ConfigError("MUJOCO_GL", got=value, expected=expected)
    return None


def unwrapped(error: BaseException) -> BaseException:
    """Return what the user has to mend, or the bug itself, without Hydra's words."""
    found = user_error(error) or error
    while isinstance(found, InstantiationException) and found.__cause__ is not None:
        found = found.__cause__
    return found


def _is_about_the_disk(error: OSError) -> bool:
    """Tell a disk that refuses from a bug: rights, space, or no directory made."""
    frames = traceback.extract_tb(error.__traceback__)
    return error.errno in _DISK or bool(frames and frames[-1].name == "mkdir")


def _is_about_graphics(error: BaseException) -> bool:
    """Tell whether MuJoCo could not be imported for want of its graphics."""
    files = [frame.filename for frame in traceback.extract_tb(error.__traceback__)]
    return any(
        Path(file).match("mujoco/osmesa/*") or Path(file).name == "gl_context.py"
        for file in files
    )


def _syntax(word: str, options: Mapping[str, Sequence[str]]) -> OverrideSyntaxError:
    """Explain a word that is not `key=value`."""
    if "=" not in word:
        guess = _meant_by(word, options)
        return OverrideSyntaxError(word, reason="expected key=value", guess=guess)
    if any(word.count(left) != word.count(right) for left, right in ("[]", "{}")):
        reason = "a bracket is open; write lists without spaces, or quote: 'key=[1, 2]'"
        return OverrideSyntaxError(word, reason=reason)
    return OverrideSyntaxError(
        word, reason="cannot be read; quote text with special signs: 'key=\"text\"'"
    )


def _meant_by(word: str, options: Mapping[str, Sequence[str]]) -> str | None:
    """Guess what a word without `=` stands for: a pair, a run, an option, a job first.

    An option has to be rather like the word: all groups together have many.
    """
    if ":" in word:
        return word.replace(":", "=", 1)
    if Path(word).exists():
        return f"run={word}"
    groups = sorted(options, key=lambda group: group != "job")
    pairs: dict[str, str] = {}
    for group in groups:
        for name in options[group]:
            pairs.setdefault(name, f"{group}={name}")
    like = nearest(word, pairs, cutoff=0.75)
    return pairs[like] if like else None


def _missing(
    error: MissingConfigException, options: Mapping[str, Sequence[str]]
) -> So101Error:
    """Explain an option, or a whole config, that no file holds."""
    assert error.missing_cfg_file is not None
    group, _, name = error.missing_cfg_file.rpartition("/")
    if not group:
        guess = _meant_by(name, options)
        reason = "there is no such config; leave the flag out and choose options"
        return OverrideSyntaxError(f"--config-name={name}", reason=reason, guess=guess)
    inner = group.rpartition("/")[2]
    if group not in options and inner in options:  # a preset without `override /`
        right = f"- override /{inner}: {name}"
        return So101Error(
            f"{group}: {name}: there is no such group. Did you mean `{right}`?"
        )
    known = options.get(group, error.options or ())
    return UnknownOptionError(group, got=name, options=known)


def _yaml(error: YAMLError) -> So101Error:
    """Explain a file that is no yaml, with its line."""
    if not isinstance(error, MarkedYAMLError) or error.problem_mark is None:
        return So101Error(_short(str(error)))
    mark = error.problem_mark
    problem = error.problem or "cannot be read"
    hint = "; indent with spaces" if "'\\t'" in problem else ""
    return So101Error(f"{mark.name}, line {mark.line + 1}: {problem}{hint}.")


def _omegaconf(text: str, cause: OmegaConfBaseException) -> So101Error:
    """Explain a key or value that the typed schema refuses, and in which file."""
    found = re.match(r"In '([^']+)'", text)
    place = f"conf/{found[1]}.yaml: " if found else ""
    key, parent = str(cause.full_key or ""), cause.parent_node
    reason = str(cause.msg or cause).splitlines()[0]
    if isinstance(cause, ConfigKeyError | ConfigAttributeError) and key:
        if place.startswith(f"conf/{key}/"):
            return So101Error(f"{place}the first line has to be `{_GLOBAL}`.")
        names = [str(name) for name in parent] if isinstance(parent, DictConfig) else []
        names = [name for name in names if name != "hydra"]
        above, dot, _ = key.rpartition(".")
        known = [f"{above}{dot}{name}" for name in names]
        return UnknownKeyError(
            key, parent=above, keys=known, siblings=names, place=place
        )
    kind = reason.rpartition("could not be converted to ")[2]
    if isinstance(cause, ValidationError) and kind in _KINDS and key:
        return ConfigError(f"{place}{key}", got=cause.value, expected=_KINDS[kind])
    if isinstance(cause, ConfigTypeError) and place:
        return So101Error(f"{place}expected `key: value` lines ({reason}).")
    if key or place:
        return So101Error(f"{place}{key}{': ' * bool(key)}{reason}.")
    return So101Error(_short(f"{text}\n{reason}"))


def _no_such_class(error: InstantiationException) -> So101Error | None:
    """Explain a `_target_` that no module has."""
    found = re.match(r"Error locating target '([^']+)'", str(error))
    if found is None:
        return None
    expected = "a class that exists, with its module in front"
    return ConfigError(_within(error, "_target_"), got=found[1], expected=expected)


def _wrong_arguments(error: InstantiationException) -> So101Error | None:
    """Explain a key that a class does not take, or one that it lacks."""
    text = str(error.__cause__)
    extra = re.search(r"(\w+)\.__init__\(\) got an unexpected keyword .*'(\w+)'", text)
    if extra:
        guess = nearest_key(extra[2], _parameters(error))
        key = _within(error, extra[2])
        return So101Error(f"{key}: {extra[1]} has no such key.{did_you_mean(guess)}")
    lacks = re.search(r"(\w+)\.__init__\(\) missing .* arguments?: (.*)", text)
    if lacks:
        expected = lacks[2].replace("'", "")
        where = _within(error, "") or "yaml"
        return So101Error(f"{where}: {lacks[1]} also needs {expected}.")
    return None


def _within(error: InstantiationException, name: str) -> str:
    """Return the dotted key `name` of the node that Hydra wanted to build."""
    node = str(error).partition("full_key: ")[2].strip()
    return f"{node}.{name}".strip(".")


def _parameters(error: InstantiationException) -> Iterator[str]:
    """Yield what the class takes that Hydra wanted to build."""
    found = re.match(r"Error in call to target '([\w.]+)\.(\w+)'", str(error))
    target = getattr(sys.modules.get(found[1]), found[2], None) if found else None
    for base in getattr(target, "__mro__", ()):
        names = inspect.signature(base.__init__).parameters
        yield from (name for name in names if name != "self")


def _short(text: str) -> str:
    """Keep the first lines that say something."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[:_MAX_LINES])

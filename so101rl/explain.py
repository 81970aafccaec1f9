"""Says in our words what Hydra and OmegaConf complain about."""

import errno
import traceback
from collections.abc import Mapping, Sequence

from hydra.errors import (
    ConfigCompositionException,
    InstantiationException,
    MissingConfigException,
    OverrideParseException,
)
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from so101rl.errors import (
    ConfigError,
    OverrideSyntaxError,
    So101Error,
    UnknownOptionError,
    nearest,
)

_DISK = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.ENOTDIR)
_MAX_LINES = 4


def explained(error: Exception, options: Mapping[str, Sequence[str]]) -> So101Error:
    """Translate an error raised while the config was composed.

    Args:
        error: What Hydra or OmegaConf raised.
        options: The options of each config group.

    Returns:
        The same in one short message.
    """
    if isinstance(error, OverrideParseException):
        return _syntax(error, options)
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, name = error.missing_cfg_file.rpartition("/")
        if group:
            known = options.get(group, error.options or ())
            return UnknownOptionError(group, got=name, options=known)
    text = str(error)
    if text.startswith(("Ambiguous value for argument", "Sweep parameters")):
        reason = "several values need -m (one run each)"
        return OverrideSyntaxError(text.split("'")[1], reason=reason)
    cause = error.__cause__ if isinstance(error, ConfigCompositionException) else error
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
        return _wrong_arguments(error)
    if isinstance(error, MissingMandatoryValue):
        return ConfigError(str(error.full_key), got="???", expected="a value")
    if isinstance(error, OSError) and error.filename and _is_about_the_disk(error):
        return So101Error(f"{error.filename}: {error.strerror}.")
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


def _syntax(
    error: OverrideParseException, options: Mapping[str, Sequence[str]]
) -> OverrideSyntaxError:
    """Explain a word that is not `key=value`."""
    word = error.override
    if "=" not in word:
        pairs = {
            name: f"{group}={name}" for group in options for name in options[group]
        }
        like = nearest(word, pairs)
        return OverrideSyntaxError(
            word, reason="expected key=value", guess=pairs[like] if like else None
        )
    return OverrideSyntaxError(
        word, reason="cannot be read; quote text with special signs: 'key=\"text\"'"
    )


def _omegaconf(text: str, cause: OmegaConfBaseException) -> So101Error:
    """Explain a value that the typed schema refuses."""
    kind = getattr(cause.ref_type, "__name__", None)
    reason = str(cause.msg or cause).splitlines()[0]
    where = f"{cause.full_key}: " if cause.full_key else ""
    if kind is None or where:
        return So101Error(f"{where}{reason}.")
    return So101Error(_short(f"{text}\n{reason}"))


def _wrong_arguments(error: InstantiationException) -> So101Error | None:
    """Explain a key that was added (`+`) or removed (`~`) against a class's will."""
    text = str(error.__cause__)
    told = "unexpected keyword" in text or "required keyword-only" in text
    if isinstance(error.__cause__, TypeError) and told:
        where = str(error).partition("full_key: ")[2].strip()
        return So101Error(_short(f"{where}: {text}" if where else text))
    return None


def _short(text: str) -> str:
    """Keep the first lines that say something."""
    lines = [line.rstrip() for line in text.splitlines() if line.strip()]
    return "\n".join(lines[:_MAX_LINES])

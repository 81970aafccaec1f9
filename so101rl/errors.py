"""Errors that the user can correct: one short message, exit code 2, no traceback.

Every message names the key, its value and what is expected. A subclass takes data and
writes its own sentence. Any other exception is a bug and keeps its traceback.
"""

import contextlib
import math
from collections.abc import Mapping, Sequence


class So101Error(Exception):
    """Base class of every error that the user can correct."""


class ConfigError(So101Error):
    """A config key has a value that is not allowed.

    Args:
        key: Dotted config key, for example `residual.alpha`.
        got: Its value.
        expected: What is allowed, for example `a number in [0, 1]`.
    """

    def __init__(self, key: str, *, got: object, expected: str) -> None:
        super().__init__(f"{key}={_shown(got)}: expected {expected}.")
        self.key = key


class DivergedError(So101Error):
    """A number is not finite, so training and evaluation cannot continue.

    Attributes:
        point: What is not finite, for example `the reward`.
        detail: The values found.
        env: Index of the environment, if it is one.
    """

    def __init__(self, point: str, detail: str, *, env: int | None = None) -> None:
        where = "" if env is None else f" in environment {env}"
        super().__init__(f"{point} is not finite{where}: {detail}")
        self.point, self.detail, self.env = point, detail, env


def check_positive(values: Mapping[str, float]) -> None:
    """Raise if a config value (by dotted key) is not a finite number above zero."""
    for key, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < math.inf:
            raise ConfigError(key, got=value, expected="a number > 0")


def check_length(key: str, values: Sequence[object], n: int) -> None:
    """Raise if a config value is not a list of `n` elements."""
    if isinstance(values, str) or not hasattr(values, "__len__") or len(values) != n:
        raise ConfigError(key, got=values, expected=f"{n} values")


def _shown(value: object) -> object:
    """Return a value as messages show it: text that reads as a number in quotes."""
    if value is None:
        return "null"
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            float(value)
            return repr(value)
    return value

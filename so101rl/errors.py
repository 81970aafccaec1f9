"""Errors that a user can mend: one short message, exit code 2, no traceback.

Every error names the thing, the value it got and what would be right. A subclass takes
data and writes its own sentence; `main.py` prints it and nothing else. Anything that is
not a `So101Error` is a bug and keeps its traceback.
"""

import contextlib
import difflib
import math
from collections.abc import Iterable, Mapping, Sequence

# What other tools call a key, and what it is called here: a last name, or all of it.
_SYNONYMS = {
    "lr": "learning_rate",
    "steps": "total_timesteps",
    "num_steps": "total_timesteps",
    "max_steps": "total_timesteps",
    "hidden_sizes": "net_arch",
    "out": "hydra.run.dir",
    "output_dir": "hydra.run.dir",
}
# Ways to say "nothing", and the options that mean it.
_NOTHING = ("none", "off", "no", "false", "null", "0", "")
_MEANS_NOTHING = ("none", "zero")


class So101Error(Exception):
    """Base class of every error that is the user's to mend."""


class ConfigError(So101Error):
    """A config key has a value that it cannot have."""

    def __init__(self, key: str, *, got: object, expected: str) -> None:
        """Write the sentence.

        Args:
            key: Dotted config key, for example `residual.alpha`.
            got: The value found there.
            expected: What would be right, for example `a number in [0, 1]`.
        """
        super().__init__(f"{key}={_shown(got)}: expected {expected}.")
        self.key = key


class DivergedError(So101Error):
    """Numbers are no longer finite: what is learned from here on means nothing.

    Attributes:
        point: Where it was seen, for example `the reward`.
        detail: What was seen.
        env: Number of the environment, if it was one.
    """

    def __init__(self, point: str, detail: str, *, env: int | None = None) -> None:
        """Write the sentence."""
        where = "" if env is None else f" in environment {env}"
        super().__init__(f"{point} is not finite{where}: {detail}")
        self.point, self.detail, self.env = point, detail, env


def check_positive(values: Mapping[str, float]) -> None:
    """Refuse config values, by dotted key, that are not finite numbers above zero."""
    for key, value in values.items():
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if not number or not 0 < value < math.inf:
            raise ConfigError(key, got=value, expected="a number > 0")


def check_length(key: str, values: Sequence[object], n: int) -> None:
    """Refuse a list in the config that has not `n` elements."""
    if isinstance(values, str) or not hasattr(values, "__len__") or len(values) != n:
        raise ConfigError(key, got=values, expected=f"{n} values")


class UnknownKeyError(So101Error):
    """The command line names a key that the composed config does not have."""

    def __init__(
        self,
        key: str,
        *,
        parent: str,
        keys: Iterable[str],
        siblings: Iterable[str],
        place: str = "",
    ) -> None:
        """Write the sentence.

        Args:
            key: The key that was typed.
            parent: The longest beginning of it that exists; empty for the root.
            keys: Every dotted key of the composed config.
            siblings: The names that exist below `parent`.
            place: What names the key if it was not typed, for example a file, with
                a colon or so behind.
        """
        guess = nearest_key(key, keys)
        known_names = sorted(siblings)
        where = f"keys of {parent}" if parent else "top-level keys"
        known = ", ".join(known_names) or "none, it is a single value"
        super().__init__(
            f"{place}{key}: there is no such key.{did_you_mean(guess)}"
            f"\n{where}: {known}"
        )
        self.key, self.parent, self.siblings = key, parent, known_names


class MisplacedKeyError(So101Error):
    """The command line names a key that another option of its group has."""

    def __init__(self, key: str, *, chosen: str, homes: Sequence[str]) -> None:
        """Write the sentence.

        Args:
            key: The key that was typed, for example `algo.n_steps`.
            chosen: The option that lacks it, for example `algo=sac`.
            homes: The options that have it, for example `["algo=ppo"]`.
        """
        verb = "has" if len(homes) == 1 else "have"
        super().__init__(
            f"{key}: {chosen} has no such key; {', '.join(homes)} {verb} it."
        )


class UnknownOptionError(So101Error):
    """The command line chooses an option that a config group does not have."""

    def __init__(self, group: str, *, got: str, options: Iterable[str]) -> None:
        """Write the sentence.

        Args:
            group: Config group, for example `algo`.
            got: The option that was typed.
            options: The options that exist.
        """
        names = sorted(options)
        guess = _nothing(names) if got.lower() in _NOTHING else nearest(got, names)
        super().__init__(
            f"{group}={got}: there is no such option."
            f"{did_you_mean(guess and f'{group}={guess}')}"
            f"\noptions of {group}: {', '.join(names) or '(none yet)'}"
        )


class OverrideSyntaxError(So101Error):
    """A word on the command line cannot be read as `key=value`."""

    def __init__(self, word: str, *, reason: str, guess: str | None = None) -> None:
        """Write the sentence.

        Args:
            word: The word that was typed.
            reason: What is wrong with it.
            guess: What was probably meant.
        """
        super().__init__(f"{word}: {reason}.{did_you_mean(guess)}")


class RunNotFoundError(So101Error):
    """`run=` does not lead to a run directory."""

    def __init__(self, run: str, *, reason: str, key: str = "run") -> None:
        """Write the sentence.

        Args:
            run: The directory (or `latest`) that was asked for.
            reason: Why it is not a run.
            key: The config key that names it.
        """
        super().__init__(f"{key}={run}: {reason}.")


def nearest(word: str, options: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the option most like `word`, capitals aside, or None if none is."""
    small = {option.lower(): option for option in options}
    found = difflib.get_close_matches(word.lower(), list(small), n=1, cutoff=cutoff)
    return small[found[0]] if found else None


def nearest_key(key: str, keys: Iterable[str]) -> str | None:
    """Return the dotted key most like `key`, as a whole or by its last name.

    `env.act_scal` and a bare `act_scale` both find `env.act_scale`.
    """
    parent, dot, leaf = key.rpartition(".")
    leaf = _SYNONYMS.get(leaf, leaf)
    if "." in leaf:
        return leaf
    key, every = f"{parent}{dot}{leaf}", list(keys)
    # A node above the key is there, and no guess: who types algo.x does not mean algo.
    nodes = {name.rpartition(".")[0] for name in every}
    above = {name for name in nodes if key.startswith(f"{name}.")}
    known = [name for name in every if name not in above]
    alike = nearest(key, known, cutoff=0.75)
    if alike is not None:
        return alike
    leaves: dict[str, str] = {}
    for known_key in known:
        leaves.setdefault(known_key.rpartition(".")[2], known_key)
    like = leaf if leaf in leaves else nearest(leaf, leaves)
    return leaves[like] if like is not None else nearest(key, known)


def _nothing(options: Sequence[str]) -> str | None:
    """Return the option that chooses nothing, if there is one."""
    return next((name for name in _MEANS_NOTHING if name in options), None)


def _shown(value: object) -> object:
    """Return a value as a message shows it: text that reads as a number in quotes."""
    if value is None:
        return "null"
    if isinstance(value, str):
        with contextlib.suppress(ValueError):
            float(value)
            return repr(value)
    return value


def did_you_mean(guess: str | None) -> str:
    """Return ` Did you mean guess?`, or nothing without a guess."""
    return f" Did you mean {guess}?" if guess else ""

"""Errors about what was typed: keys, options, words and runs that do not exist."""

import difflib
from collections.abc import Iterable, Sequence

from so101rl.errors import So101Error

# Keys of other tools -> the last part of our key, or all of it.
_SYNONYMS = {
    "lr": "learning_rate",
    "steps": "total_timesteps",
    "num_steps": "total_timesteps",
    "max_steps": "total_timesteps",
    "hidden_sizes": "net_arch",
    "out": "hydra.run.dir",
    "output_dir": "hydra.run.dir",
}
# Words for "nothing", and the options that mean it.
_NOTHING_WORDS = ("none", "off", "no", "false", "null", "0", "")
_NOTHING_OPTIONS = ("none", "zero")


class UnknownKeyError(So101Error):
    """A key that the composed config does not have.

    Args:
        key: Dotted key.
        parent: The longest beginning of it that exists; empty for the root.
        keys: Every dotted key of the config.
        siblings: The names that exist below `parent`.
        source: Where the key stands if it was not typed, ending in a separator, for
            example `conf/experiment/mine.yaml: `.
    """

    def __init__(
        self,
        key: str,
        *,
        parent: str,
        keys: Iterable[str],
        siblings: Iterable[str],
        source: str = "",
    ) -> None:
        guess = nearest_key(key, keys)
        names = sorted(siblings)
        where = f"keys of {parent}" if parent else "top-level keys"
        known = ", ".join(names) or "none, it is a single value"
        super().__init__(
            f"{source}{key}: there is no such key.{did_you_mean(guess)}"
            f"\n{where}: {known}"
        )
        self.key, self.parent, self.siblings = key, parent, names


class MisplacedKeyError(So101Error):
    """A key such as `algo.n_steps` that `chosen` lacks, such as `algo=sac`."""

    def __init__(self, key: str, *, chosen: str, owners: Sequence[str]) -> None:
        verb = "has" if len(owners) == 1 else "have"
        super().__init__(
            f"{key}: {chosen} has no such key; {', '.join(owners)} {verb} it."
        )


class UnknownOptionError(So101Error):
    """An option that a config group does not have."""

    def __init__(self, group: str, *, got: str, options: Iterable[str]) -> None:
        names = sorted(options)
        if got.lower() in _NOTHING_WORDS:
            guess = next((name for name in _NOTHING_OPTIONS if name in names), None)
        else:
            guess = nearest(got, names)
        super().__init__(
            f"{group}={got}: there is no such option."
            f"{did_you_mean(guess and f'{group}={guess}')}"
            f"\noptions of {group}: {', '.join(names) or '(none yet)'}"
        )


class OverrideSyntaxError(So101Error):
    """A word on the command line that is not `key=value`."""

    def __init__(self, word: str, *, reason: str, guess: str | None = None) -> None:
        super().__init__(f"{word}: {reason}.{did_you_mean(guess)}")


class RunNotFoundError(So101Error):
    """`run=`, or another `key`, does not name a run directory that can be read."""

    def __init__(self, run: str, *, reason: str, key: str = "run") -> None:
        super().__init__(f"{key}={run}: {reason}.")


def nearest(word: str, options: Iterable[str], *, cutoff: float = 0.6) -> str | None:
    """Return the option most like `word`, ignoring case, or None if none is."""
    by_lower_case = {option.lower(): option for option in options}
    found = difflib.get_close_matches(word.lower(), by_lower_case, n=1, cutoff=cutoff)
    return by_lower_case[found[0]] if found else None


def nearest_key(key: str, keys: Iterable[str]) -> str | None:
    """Return the dotted key most like `key`, as a whole or by its last part.

    `env.act_scal` and a bare `act_scale` both find `env.act_scale`.
    """
    parent, dot, leaf = key.rpartition(".")
    leaf = _SYNONYMS.get(leaf, leaf)
    if "." in leaf:
        return leaf
    key, every = f"{parent}{dot}{leaf}", list(keys)
    # A parent of the key exists, so it is no guess: algo.x does not mean algo.
    nodes = {name.rpartition(".")[0] for name in every}
    parents = {name for name in nodes if key.startswith(f"{name}.")}
    known = [name for name in every if name not in parents]
    whole = nearest(key, known, cutoff=0.75)
    if whole is not None:
        return whole
    leaves: dict[str, str] = {}
    for name in known:
        leaves.setdefault(name.rpartition(".")[2], name)
    same_leaf = leaf if leaf in leaves else nearest(leaf, leaves)
    return leaves[same_leaf] if same_leaf is not None else nearest(key, known)


def did_you_mean(guess: str | None) -> str:
    """Return ` Did you mean guess?`, or nothing without a guess."""
    return f" Did you mean {guess}?" if guess else ""

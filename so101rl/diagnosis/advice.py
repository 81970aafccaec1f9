"""Which keys to try next: from a symptom's `try` in yaml to a command line."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from so101rl.config.schema import CALL_KEYS, RANGES
from so101rl.diagnosis.facts import Facts


@dataclass(frozen=True)
class Change:
    """One key, the run's value and the one to try."""

    key: str
    old: Any
    new: Any

    @property
    def word(self) -> str:
        """What to type."""
        return f"{self.key}={shown(self.new)}"

    def __str__(self) -> str:
        """The change in words that can be typed."""
        return f"{self.word} (now {shown(self.old)})"


def changes(
    wanted: Mapping[str, Mapping[str, Any]], facts: Facts, measured: float | None
) -> list[Change]:
    """The changes that make sense for a run, in the order of the yaml.

    Left out are keys that the run's config lacks, values that are no numbers, and
    values that are as far as they may go.

    Args:
        wanted: by key, how it is to change: `times`, `plus`, `horizon` or `to`,
            whether it is a `whole` number, and the `least` and `most` it may become.
        facts: of the run.
        measured: what `times: measured` stands for.
    """
    known = {**facts.values, **facts.groups}
    found = []
    for key, how in wanted.items():
        if key not in known:
            continue
        old, (low, high) = known[key], _range(key, facts)
        moved = _moved(old, how, measured)
        new = _clipped(moved, how.get("least", low), how.get("most", high))
        if new != old and _same_way(old, moved, new):
            found.append(Change(key, old, new))
    return found


def command(facts: Facts, change: Change | None = None) -> str:
    """The command line that trains a run again, with at most one thing changed.

    Of a run that did not keep what was typed, only the change.
    """
    if facts.typed is None:
        return change.word if change else ""
    left_out = {*CALL_KEYS, change.key if change else ""}
    kept = [word for word in facts.typed if word.partition("=")[0] not in left_out]
    return shlex.join(["python", "main.py", *kept, *([change.word] if change else [])])


def shown(value: Any) -> str:
    """A value as one types it."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(shown, value))}]"
    return str(value)


def _moved(value: Any, how: Mapping[str, Any], measured: float | None) -> Any:
    """The value to try; None if there is nothing to calculate with."""
    if "to" in how:
        return how["to"]
    if isinstance(value, list):
        moved = [_moved(item, how, measured) for item in value]
        return None if None in moved or not moved else moved
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    if "plus" in how:
        return _rounded(value + how["plus"])
    if "horizon" in how:  # of a discount: 1 / (1 - gamma) steps
        return 1 - _rounded((1.0 - value) / how["horizon"])
    factor = measured if how["times"] == "measured" else how["times"]
    if factor is None:
        return None
    # Not by the value's own type: 1 may be a share, and half of it is no whole number.
    return round(value * factor) if how.get("whole") else _rounded(value * factor)


def _rounded(value: float) -> float:
    """Two digits: nobody tunes the third."""
    return float(f"{value:.2g}")


def _range(key: str, facts: Facts) -> tuple[float | None, float | None]:
    """What the config allows; a minibatch is no larger than what it is drawn from."""
    low, high = RANGES.get(key, (None, None))
    if key == "algo.batch_size" and "algo.n_steps" in facts.values:
        high = facts.values["algo.n_steps"] * facts.values["n_envs"]
    if key.startswith("residual.alpha"):
        low, high = 0.0, 1.0
    return low, high


def _clipped(value: Any, least: float | None, most: float | None) -> Any:
    if isinstance(value, list):
        return [_clipped(item, least, most) for item in value]
    if isinstance(value, int | float):
        value = value if least is None else max(value, least)
        value = value if most is None else min(value, most)
    return value


def _same_way(old: Any, moved: Any, new: Any) -> bool:
    """Whether a limit has not turned a change round: the run was beyond it."""
    if isinstance(new, list):
        return all(map(_same_way, old, moved, new))
    if isinstance(old, int | float) and isinstance(new, int | float):
        return (new - old) * (moved - old) >= 0
    return new is not None

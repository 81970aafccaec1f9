"""Which keys to try next: from a symptom's `try` in the yaml to a command line."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from so101rl.config.schema import CALL_KEYS, RANGES
from so101rl.diagnosis.facts import Facts


@dataclass(frozen=True)
class Change:
    """A key, its value in the run, and the value to try."""

    key: str
    old: Any
    new: Any

    @property
    def override(self) -> str:
        """The change as an argument of the command line."""
        return f"{self.key}={format_value(self.new)}"

    def __str__(self) -> str:
        """The change with the old value behind it."""
        return f"{self.override} (now {format_value(self.old)})"


def changes(
    wanted: Mapping[str, Mapping[str, Any]], facts: Facts, measured: float | None
) -> list[Change]:
    """The possible changes of a run's config, in the order of the yaml.

    Keys that the config lacks, values that are not numbers, and values that are already
    at their limit are left out.

    Args:
        wanted: by key, how it changes: `times`, `plus`, `horizon` or `to`, whether it
            is a `whole` number, and the `least` and `most` it may become.
        facts: of the run.
        measured: the factor that `times: measured` stands for.
    """
    known = {**facts.values, **facts.info["groups"]}
    found = []
    for key, how in wanted.items():
        if key not in known:
            continue
        old, (low, high) = known[key], _range(key, facts)
        moved = _moved(old, how, measured)
        new = _clipped(moved, how.get("least", low), how.get("most", high))
        if new != old and _same_direction(old, moved, new):
            found.append(Change(key, old, new))
    return found


def command(facts: Facts, change: Change | None = None) -> str:
    """The command line that trains a run again, with at most one change.

    Only the change if the run did not keep its command line.
    """
    if facts.typed is None:
        return change.override if change else ""
    left_out = {*CALL_KEYS, change.key if change else ""}
    kept = [word for word in facts.typed if word.partition("=")[0] not in left_out]
    return shlex.join(
        ["python", "main.py", *kept, *([change.override] if change else [])]
    )


def format_value(value: Any) -> str:
    """A value as it is typed on the command line."""
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, Sequence) and not isinstance(value, str):
        return f"[{','.join(map(format_value, value))}]"
    return str(value)


def _moved(value: Any, how: Mapping[str, Any], measured: float | None) -> Any:
    """The value to try; None if it cannot be computed."""
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
    # Not by the type of the value: a share may be written as 1.
    return round(value * factor) if how.get("whole") else _rounded(value * factor)


def _rounded(value: float) -> float:
    """Round to two significant digits."""
    return float(f"{value:.2g}")


def _range(key: str, facts: Facts) -> tuple[float | None, float | None]:
    """The values that the config allows; a minibatch is not larger than a rollout."""
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


def _same_direction(old: Any, moved: Any, new: Any) -> bool:
    """Whether clipping kept the direction of a change; not if `old` was outside."""
    if isinstance(new, list):
        return all(map(_same_direction, old, moved, new))
    if isinstance(old, int | float) and isinstance(new, int | float):
        return (new - old) * (moved - old) >= 0
    return new is not None

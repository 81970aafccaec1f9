"""Turns a symptom's `try` in the yaml into new values of keys and a command line."""

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
        """The override, followed by the old value."""
        return f"{self.override} (now {format_value(self.old)})"


def changes(
    wanted: Mapping[str, Mapping[str, Any]], facts: Facts, measured: float | None
) -> list[Change]:
    """The possible changes of a run's config, in the order of the yaml.

    Keys that the config lacks, values that are not numbers, and values that are already
    at their limit are left out.

    Args:
        wanted: by key: one of `times`, `plus`, `horizon` and `to`; optionally `whole`
            to round, limits `least` and `most` of the new value, and `when`, values by
            key that the run must have.
        facts: facts of the run.
        measured: the factor used for `times: measured`.
    """
    known = {**facts.values, **facts.info["groups"]}
    found = []
    for key, how in wanted.items():
        when = how.get("when", {})
        if key in known and all(known.get(k) == value for k, value in when.items()):
            new = _new_value(known[key], how, _range(key, how, facts), measured)
            if new not in (None, known[key]):
                found.append(Change(key, known[key], new))
    return found


def command(facts: Facts, change: Change | None = None) -> str:
    """The command line that trains a run again, with at most one change.

    If the run has no recorded command line, only the override of the change.
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


def _new_value(
    old: Any,
    how: Mapping[str, Any],
    limits: tuple[float | None, float | None],
    measured: float | None,
) -> Any:
    """The value to try; None if there is none."""
    if "to" in how:
        return how["to"]
    if isinstance(old, list):
        values = [_new_value(item, how, limits, measured) for item in old]
        return None if None in values or not values else values
    if isinstance(old, bool) or not isinstance(old, int | float):
        return None
    if "plus" in how:
        wanted = _rounded(old + how["plus"])
    elif "horizon" in how:  # a discount's 1 / (1 - gamma) [steps] is multiplied
        wanted = 1 - _rounded((1.0 - old) / how["horizon"])
    else:
        factor = measured if how["times"] == "measured" else how["times"]
        if factor is None:
            return None
        # The type of the value does not tell: a share may be written as 1.
        wanted = round(old * factor) if how.get("whole") else _rounded(old * factor)
    low, high = limits
    new = wanted if low is None else max(wanted, low)
    new = new if high is None else min(new, high)
    # No change if the limit would move the value the other way than wanted.
    return new if (new - old) * (wanted - old) >= 0 else None


def _rounded(value: float) -> float:
    """Round to two significant digits."""
    return float(f"{value:.2g}")


def _range(
    key: str, how: Mapping[str, Any], facts: Facts
) -> tuple[float | None, float | None]:
    """Return the least and the greatest value to try; None: no limit."""
    low, high = RANGES.get(key, (None, None))
    if key == "algo.batch_size" and "algo.n_steps" in facts.values:
        high = facts.values["algo.n_steps"] * facts.values["n_envs"]  # a rollout
    if key.startswith("residual.alpha"):
        low, high = 0.0, 1.0
    return how.get("least", low), how.get("most", high)

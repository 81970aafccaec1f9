"""Differences between two settings, worded in the same way in all reports."""

from collections.abc import Iterator, Mapping
from typing import Any

ABSENT = "absent"


def changed_values(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> dict[str, tuple[Any, Any]]:
    """Return (before, after) of each value that differs, by sorted dotted key."""

    def walk(old: Any, new: Any, key: str) -> Iterator[tuple[str, tuple[Any, Any]]]:
        if not isinstance(old, Mapping) or not isinstance(new, Mapping):
            if old != new:
                yield key, (old, new)
            return
        for name in sorted(old.keys() | new.keys(), key=str):
            inner = f"{key}.{name}" if key else str(name)
            yield from walk(old.get(name, ABSENT), new.get(name, ABSENT), inner)

    return dict(walk(before, after, ""))


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[str]:
    """Return one line per key that differs, such as `study.seeds: 10 -> 5`."""
    changed = changed_values(before, after)
    return [f"{key}: {old} -> {new}" for key, (old, new) in changed.items()]

"""Which settings make an arm of a study, and in which ones runs differ."""

from collections.abc import Mapping, Sequence
from typing import Any

from so101rl.config.schema import CALL_KEYS, settings
from so101rl.errors import So101Error
from so101rl.runs.differences import ABSENT
from so101rl.runs.run_dir import RunDir

# Keys and groups of the config that may differ within an arm: the seed, where it ran,
# what was written, and the episodes that judge it, which a report checks by itself.
SAME_ARM = (
    *CALL_KEYS,
    "seed",
    "tracking",
    "n_threads",
    "torch_threads",
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "evaluation.role",
    "evaluation.video",
    "evaluation.figure",
)


class StudyError(So101Error):
    """Runs that cannot stand in one table, or be compared."""


def arm_settings(run: RunDir) -> dict[str, str]:
    """The keys of a run's resolved config that make its arm, with dotted names."""
    return arm_values(settings(run.config()))


def arm_values(values: Mapping[str, Any]) -> dict[str, str]:
    """The settings that make an arm, by dotted key, each as one types it."""
    return {
        key: as_typed(value)
        for key, value in values.items()
        if not any(key == free or _is_below(key, free) for free in SAME_ARM)
    }


def evaluates_base_only(run: RunDir) -> bool:
    """Whether a run is `job=evaluate` of a base policy alone: no arm of a study."""
    if run.info["groups"].get("job") != "evaluate":
        return False
    cfg = run.config()
    return not any(cfg.get(key) for key in ("run", "checkpoint"))


def distinguishing_settings(runs: Sequence[RunDir]) -> list[dict[str, str]]:
    """Per run the choices and keys in which it differs from the others.

    A group's choice stands for the keys below it, unless runs with the same choice
    differ there too. Runs with the same result are seeds of one arm.
    """
    configs = [arm_settings(run) for run in runs]
    keys = sorted(name for name in set().union(*configs) if _differs(name, configs))
    choices = [run.info["groups"] for run in runs]
    groups = [
        group
        for group in sorted(set().union(*choices))
        if _differs(group, choices) and any(_is_below(key, group) for key in keys)
    ]
    found = []
    for config, own in zip(configs, choices, strict=True):
        parts = {group: as_typed(own.get(group, ABSENT)) for group in groups}
        for key in keys:
            above = [group for group in groups if _is_below(key, group)]
            peers = [
                peer
                for peer, other in zip(configs, choices, strict=True)
                if all(other.get(group) == own.get(group) for group in above)
            ]
            if _differs(key, peers):
                parts[key] = config.get(key, ABSENT)
        found.append(parts)
    return found


def arm_texts(runs: Sequence[RunDir]) -> list[str]:
    """The `distinguishing_settings` of each run as one text, `a=1 b=2`."""
    return [
        " ".join(f"{key}={value}" for key, value in own.items())
        for own in distinguishing_settings(runs)
    ]


def as_typed(value: object) -> str:
    """A value as one types it; 1 and 1.0 are the same."""
    if isinstance(value, Mapping):
        inner = ",".join(f"{name}:{as_typed(own)}" for name, own in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(map(as_typed, value))}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _differs(name: str, mappings: Sequence[Mapping[str, Any]]) -> bool:
    return len({as_typed(mapping.get(name, ABSENT)) for mapping in mappings}) > 1


def _is_below(key: str, group: str) -> bool:
    return key.startswith(group.replace("/", ".") + ".")

"""What makes an arm of a study, and what tells runs of different arms apart."""

from collections.abc import Mapping, Sequence
from typing import Any

from so101rl.config.schema import CALL_KEYS, settings
from so101rl.errors import So101Error
from so101rl.runs.run_dir import RunDir

ABSENT = "absent"
# Keys and groups of the config that leave the arm what it is: which seed, where it
# ran, what was written down, and which episodes judge it, which a report checks by
# itself. Everything else makes another arm.
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
    """Runs that cannot make one honest table."""


def arm_settings(run: RunDir) -> dict[str, str]:
    """The keys of a run's resolved config that make its arm, with dotted names."""
    return spoken(settings(run.config()))


def spoken(values: Mapping[str, Any]) -> dict[str, str]:
    """Settings by dotted key as one types them, without those that make no arm."""
    return {
        key: said(value)
        for key, value in values.items()
        if not any(key == free or key.startswith(f"{free}.") for free in SAME_ARM)
    }


def changes(
    first: Mapping[str, str], second: Mapping[str, str]
) -> list[tuple[str, str, str]]:
    """Key, first and second value wherever two runs' settings are not the same."""
    pairs = [
        (key, first.get(key, ABSENT), second.get(key, ABSENT))
        for key in sorted(first.keys() | second.keys())
    ]
    return [pair for pair in pairs if pair[1] != pair[2]]


def bare_base(run: RunDir) -> bool:
    """Whether a run is `job=evaluate` of a base policy alone: no arm of a study."""
    if run.info["groups"].get("job") != "evaluate":
        return False
    cfg = run.config()
    return not any(cfg.get(key) for key in ("run", "checkpoint"))


def told_apart(runs: Sequence[RunDir]) -> list[dict[str, str]]:
    """Per run the choices and keys in which it differs from the others.

    A group's choice stands for the keys below it, unless runs with the same choice
    differ there too. Runs of which the same is told are seeds of one arm.
    """
    configs = [arm_settings(run) for run in runs]
    names = sorted({name for config in configs for name in config})
    keys = [name for name in names if _values(name, configs) > 1]
    choices = [run.info["groups"] for run in runs]
    groups = [
        group
        for group in sorted({group for own in choices for group in own})
        if _values(group, choices) > 1 and any(_below(key, group) for key in keys)
    ]
    told = []
    for config, own in zip(configs, choices, strict=True):
        parts = {group: said(own.get(group, ABSENT)) for group in groups}
        for key in keys:
            above = [group for group in groups if _below(key, group)]
            peers = [
                peer
                for peer, other in zip(configs, choices, strict=True)
                if all(other.get(group) == own.get(group) for group in above)
            ]
            if _values(key, peers) > 1:
                parts[key] = config.get(key, ABSENT)
        told.append(parts)
    return told


def said(value: object) -> str:
    """A value as one types it; 1 and 1.0 are the same."""
    if isinstance(value, Mapping):
        inner = ",".join(f"{name}:{said(own)}" for name, own in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list | tuple):
        return f"[{','.join(said(own) for own in value)}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)


def _values(name: str, mappings: Sequence[Mapping[str, Any]]) -> int:
    return len({said(mapping.get(name, ABSENT)) for mapping in mappings})


def _below(key: str, group: str) -> bool:
    return key.startswith(group.replace("/", ".") + ".")

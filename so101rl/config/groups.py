"""Checks what was typed against groups, jobs and runs.

`overrides` checks whether a key exists and whether its value fits.
"""

from collections.abc import Iterable
from pathlib import Path

from hydra.core.override_parser.types import Override
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf

from so101rl.config.errors import (
    MisplacedKeyError,
    OverrideSyntaxError,
    UnknownOptionError,
)
from so101rl.config.hydra_internal import Loader
from so101rl.config.schema import GROUPS
from so101rl.errors import ConfigError, So101Error

# Keys that only some jobs read.
JOBS_OF_KEY = {
    "replay": ("view",),
    "runs": ("compare", "report"),
    "out": ("report",),
    "verify": ("report",),
}


def options(loader: Loader) -> dict[str, list[str]]:
    """Return the options of each of our config groups."""
    groups = [name for name in loader.list_groups("") if name != "hydra"]
    return {group: loader.get_group_options(group) for group in groups}


def check_search_path(loader: Loader) -> None:
    """Refuse a `hydra.searchpath` with a folder or package that does not exist."""
    for source in loader.get_sources():
        if source.provider.startswith("hydra.searchpath") and not source.available():
            expected = "a list of file:///FOLDER or pkg://PACKAGE that exist"
            raise ConfigError("hydra.searchpath", got=source.path, expected=expected)


def check_choice(loader: Loader, typed: Override) -> None:
    """Refuse `group=null`, `+group=option` and `env.observation=` for a group.

    Raises:
        So101Error: With what was probably meant.
    """
    line, key, value = typed.input_line or "", typed.key_or_group, typed.value()
    if typed.is_hydra_override():
        return
    known = loader.get_group_options(key)
    if known and typed.is_delete():
        expected = f"one of its options: {', '.join(known)}"
        raise ConfigError(key, got="(removed)", expected=expected)
    if known and (value is None or isinstance(value, bool | int | float)):
        got = line.partition("=")[2]
        raise UnknownOptionError(key, got=got, options=known)
    if known and typed.package is None and (typed.is_add() or typed.is_force_add()):
        reason = "every config has this group"
        raise OverrideSyntaxError(line, reason=reason, guess=line.lstrip("+"))
    path = key.replace(".", "/")
    if path != key and isinstance(value, str) and loader.get_group_options(path):
        guess = f"{path}={value}"
        raise OverrideSyntaxError(line, reason="that is a group", guess=guess)


def check_directory(typed: Override) -> None:
    """Refuse `hydra.run.dir=` for a directory that holds a run."""
    key, value = typed.key_or_group, typed.value()
    if key != "hydra.run.dir" or not isinstance(value, str):
        return
    if (Path(value) / "run.json").exists():
        reason = "it already holds a run; choose another, or job=resume run=RUN_DIR"
        raise OverrideSyntaxError(f"{key}={value}", reason=reason)


def check_job(typed: Iterable[Override], base: DictConfig, run_mode: RunMode) -> None:
    """Refuse what the chosen job does not read, such as `replay=` for a training.

    `typed` is every `key=value`, and `base` the config composed without them.
    """
    job = base.hydra.runtime.choices.job
    trains = base.job.get("trains", False)
    for item in typed:
        key = item.key_or_group
        jobs = JOBS_OF_KEY.get(key, (job,))
        if key == "checkpoint" and trains:
            jobs = ("evaluate",)
        expected = ""
        if job not in jobs and item.value() not in (None, False):
            names = " and ".join(f"job={name}" for name in jobs)
            expected = f"to be left out: it is for {names}, and this is job={job}"
        elif key == "init_from" and not trains:
            expected = "to be left out: only a training begins with a run's policy"
        if expected:
            got = item.get_value_element_as_str()
            raise ConfigError(key, got=got, expected=expected)
        if key == "init_from" and run_mode == RunMode.MULTIRUN:
            is_sweep = item.is_sweep_override()
            values = list(item.sweep_iterator()) if is_sweep else [item.value()]
            if "latest" in values:
                expected = "a path: in a sweep, each run would begin with the last one"
                raise ConfigError(key, got="latest", expected=expected)


def misplaced(
    loader: Loader, key: str, *, typed: str, chosen: str | None
) -> So101Error | None:
    """Find the group or option that has a key which the config lacks.

    Args:
        loader: Reads the yaml files.
        key: Dotted key that the composed config lacks.
        typed: The word that names it.
        chosen: The option chosen in the group that the key begins with.

    Returns:
        The error to raise, or None if no other option of that group has the key.
    """
    for group in GROUPS:
        if key in loader.list_groups(group):
            guess = f"{group}/{typed.lstrip('+')}"
            return OverrideSyntaxError(typed, reason="that is a group", guess=guess)
    group, _, inner = key.partition(".")
    if group not in GROUPS or not inner:
        return None
    owners = [
        name
        for name in loader.get_group_options(group)
        if any(_writes(loader, f"{group}/{name}", path) for path in (inner, key))
    ]
    if not owners or chosen in owners:
        return None
    return MisplacedKeyError(
        key, chosen=f"{group}={chosen}", owners=[f"{group}={name}" for name in owners]
    )


def _writes(loader: Loader, option: str, key: str) -> bool:
    """Tell whether an option's own yaml writes a dotted key."""
    config = loader.yaml_of(option)
    parent, _, name = key.rpartition(".")
    holder = OmegaConf.select(config, parent) if config and parent else config
    return isinstance(holder, DictConfig) and name in holder

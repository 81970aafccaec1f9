"""Checks what was typed against groups, jobs and runs: does it stand where it should?

Whether a key is there and its value fits is checked in `overrides`.
"""

from collections.abc import Iterable
from pathlib import Path

from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig, OmegaConf

from so101rl.config.schema import GROUPS
from so101rl.errors import (
    ConfigError,
    MisplacedKeyError,
    OverrideSyntaxError,
    So101Error,
    UnknownOptionError,
)

# Keys that only some jobs read.
READERS = {
    "replay": ("view",),
    "runs": ("compare", "report"),
    "out": ("report",),
    "verify": ("report",),
}


def options(loader: ConfigLoaderImpl) -> dict[str, list[str]]:
    """Return the options of each of our config groups."""
    groups = [name for name in loader.list_groups("") if name != "hydra"]
    return {group: options_of(loader, group) for group in groups}


def options_of(loader: ConfigLoaderImpl, group: str) -> list[str]:
    """Return the options of a group, none if there is no such group."""
    return loader.repository.get_group_options(group, ObjectType.CONFIG)


def check_choice(loader: ConfigLoaderImpl, typed: Override) -> None:
    """Refuse `group=null`, `+group=option` and `env.observation=` for a group.

    Raises:
        So101Error: With what was probably meant.
    """
    line, key, value = typed.input_line or "", typed.key_or_group, typed.value()
    if typed.is_hydra_override():
        return
    known = options_of(loader, key)
    if known and typed.is_delete():
        expected = f"one of its options: {', '.join(known)}"
        raise ConfigError(key, got="(removed)", expected=expected)
    if known and (value is None or isinstance(value, bool | int | float)):
        got = line.partition("=")[2]
        raise UnknownOptionError(key, got=got, options=known)
    if known and typed.package is None and (typed.is_add() or typed.is_force_add()):
        reason = "the group has its place already"
        raise OverrideSyntaxError(line, reason=reason, guess=line.lstrip("+"))
    path = key.replace(".", "/")
    if path != key and isinstance(value, str) and options_of(loader, path):
        guess = f"{path}={value}"
        raise OverrideSyntaxError(line, reason="that is a group", guess=guess)


def check_directory(typed: Override) -> None:
    """Refuse to let Hydra write into a directory that holds a run already."""
    key, value = typed.key_or_group, typed.value()
    if key != "hydra.run.dir" or not isinstance(value, str):
        return
    if (Path(value) / "run.json").exists():
        reason = "it already holds a run; choose another, or job=resume run=RUN_DIR"
        raise OverrideSyntaxError(f"{key}={value}", reason=reason)


def check_reader(typed: Iterable[Override], base: DictConfig) -> None:
    """Refuse what the chosen job would not read, such as `replay=` for a training.

    Args:
        typed: Every `key=value`.
        base: The config composed without them.
    """
    job = base.hydra.runtime.choices.job
    for item in typed:
        readers = READERS.get(item.key_or_group, (job,))
        if item.key_or_group == "checkpoint" and base.job.get("trains", False):
            readers = ("evaluate",)
        if job not in readers and item.value() not in (None, False):
            got = item.get_value_element_as_str()
            names = " and ".join(f"job={name}" for name in readers)
            expected = f"to be left out: it is for {names}, and this is job={job}"
            raise ConfigError(item.key_or_group, got=got, expected=expected)


def at_home(
    loader: ConfigLoaderImpl, key: str, *, typed: str, chosen: str | None
) -> So101Error | None:
    """Say where a key that the config lacks would be right.

    Args:
        loader: Knows the yaml files.
        key: Dotted key that the composed config lacks.
        typed: The word that names it.
        chosen: The option chosen in the group that the key begins with.

    Returns:
        What to answer, or None if no other option of that group has the key either.
    """
    for group in GROUPS:
        if key in loader.list_groups(group):
            guess = f"{group}/{typed.lstrip('+')}"
            return OverrideSyntaxError(typed, reason="that is a group", guess=guess)
    group, _, inner = key.partition(".")
    if group not in GROUPS or not inner:
        return None
    homes = [
        name
        for name in options_of(loader, group)
        if _has(loader, f"{group}/{name}", inner, key)
    ]
    if not homes or chosen in homes:
        return None
    return MisplacedKeyError(
        key, chosen=f"{group}={chosen}", homes=[f"{group}={name}" for name in homes]
    )


def _has(loader: ConfigLoaderImpl, path: str, *keys: str) -> bool:
    """Tell whether the yaml of an option itself writes one of the dotted keys."""
    found = loader.repository.load_config(path)
    if found is None:
        return False
    for key in keys:
        parent, _, name = key.rpartition(".")
        holder = OmegaConf.select(found.config, parent) if parent else found.config
        if OmegaConf.is_dict(holder) and name in holder:
            return True
    return False

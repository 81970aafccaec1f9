"""Which classes a config may call: its `_target_` keys against an allow-list.

A run directory may come from somebody else, so classes are judged by their text, before
anything is imported. A path through another module's attributes, such as
`so101rl.jobs.doctor.subprocess.Popen`, is not on the list. The key `packages`, which is
never read from a run, adds packages of the user's own.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from so101rl.config.errors import RunNotFoundError
from so101rl.errors import ConfigError
from so101rl.files import PACKAGE

_LIBRARIES = re.compile(
    r"(stable_baselines3(\.common\.noise)?|sb3_contrib|torch\.nn|torch\.optim)\.[A-Z]\w*"
)
_CLASS = re.compile(r"(?P<package>\w+)(\.(?P<module>\w+(\.\w+)*))?\.(?P<name>[A-Z]\w*)")
_KNOWN = ("so101rl", "stable_baselines3", "sb3_contrib", "torch")


def check_targets(cfg: DictConfig) -> None:
    """Refuse a config that calls anything but our classes and known libraries'.

    Raises:
        ConfigError: Naming the key.
    """
    packages = _checked_packages(cfg)
    for path, value in _leaves(OmegaConf.to_container(cfg)):
        is_job = path == ("job", "_target_")  # checked when it is called
        if path[0] == "hydra" or "_target_" not in path or is_job:
            continue
        if not is_known_class(value, packages):
            *names, last = (*_KNOWN, *packages)
            expected = f"a class of {', '.join(names)} or {last}"
            words = _words_to_allow(value, packages)
            expected += f", or {words}" if words else ""
            raise ConfigError(".".join(path), got=value, expected=expected)


def check_saved(values: Mapping[Any, Any], run: str, cfg: DictConfig) -> None:
    """Refuse the unresolved config of a run that calls or looks up anything foreign.

    Args:
        values: The saved config as plain Python.
        run: The run directory, for the message.
        cfg: The config of this call, which names the packages that are allowed.

    Raises:
        RunNotFoundError: Naming the value.
    """
    packages = _checked_packages(cfg)
    for path, value in _leaves(values):
        if "_target_" in path and not is_known_class(value, packages):
            words = _words_to_allow(value, packages)
            hint = f"; allow it with {words}" if words else ""
            raise RunNotFoundError(run, reason=f"its config would call {value}{hint}")
        if isinstance(value, str) and "${" in value and ":" in value:
            raise RunNotFoundError(run, reason=f"its config would look up {value}")


def is_known_class(target: object, packages: Collection[str] = ()) -> bool:
    """Tell whether `target` is a class of ours or of a library, without importing it.

    Args:
        target: A dotted path: the class has to be defined in the module that it names.
        packages: Other packages that may be named.
    """
    if not isinstance(target, str):
        return False
    found = _CLASS.fullmatch(target)
    if found is None or found["package"] not in ("so101rl", *packages):
        return _LIBRARIES.fullmatch(target) is not None
    definition = re.compile(rf"^class {found['name']}\b", re.MULTILINE)
    return any(
        file.is_file() and definition.search(file.read_text("utf-8"))
        for file in _files_of(found["package"], found["module"])
    )


def _files_of(package: str, module: str | None) -> Iterator[Path]:
    """Yield the files that may be a module, without importing its package."""
    spec = None if package == "so101rl" else find_spec(package)
    folders = spec.submodule_search_locations if spec else [str(PACKAGE)]
    for folder in map(Path, folders or ()):
        path = folder.joinpath(*module.split(".")) if module else folder
        yield from (path.with_suffix(".py"), path / "__init__.py")
    if not folders and not module and spec and spec.origin:  # a package of one file
        yield Path(spec.origin)


def _checked_packages(cfg: DictConfig) -> list[str]:
    """Return `packages`, which Python has to find."""
    for name in cfg.packages:
        if not re.fullmatch(r"[A-Za-z]\w*", name) or find_spec(name) is None:
            expected = "packages that Python finds, by name, for example [my_pkg]"
            raise ConfigError("packages", got=cfg.packages, expected=expected)
    return list(cfg.packages)


def _words_to_allow(target: object, packages: Collection[str]) -> str | None:
    """Return what to type to allow a class of another package."""
    found = _CLASS.fullmatch(str(target))
    if found is None or found["package"] in (*_KNOWN, *packages):
        return None
    return f"packages=[{','.join([*packages, found['package']])}]"


def _leaves(node: Any, path: tuple[str, ...] = ()) -> Iterator[tuple[Any, Any]]:
    """Yield every value of nested mappings and lists, with its path of names."""
    if isinstance(node, Mapping):
        for name, value in node.items():
            yield from _leaves(value, (*path, str(name)))
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from _leaves(value, (*path, str(index)))
    else:
        yield path, node

"""Which classes a config may call: its `_target_` keys against an allow-list.

A run directory may come from somebody else, so the list is of classes, by their text,
before anything is imported. A path through another module's attributes, such as
`so101rl.jobs.doctor.subprocess.Popen`, is not on it.
"""

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from omegaconf import DictConfig, OmegaConf

from so101rl.config.errors import RunNotFoundError
from so101rl.errors import ConfigError
from so101rl.files import PACKAGE

_LIBRARIES = re.compile(
    r"(stable_baselines3(\.common\.noise)?|sb3_contrib|torch\.nn|torch\.optim)\.[A-Z]\w*"
)
_OURS = re.compile(
    r"(?P<package>so101rl|benchmarks)\.(?P<module>\w+(\.\w+)*)\.(?P<name>[A-Z]\w*)"
)


def check_targets(cfg: DictConfig) -> None:
    """Refuse a config that calls anything but our classes and known libraries'.

    Raises:
        ConfigError: Naming the key.
    """
    for path, value in _leaves(OmegaConf.to_container(cfg)):
        is_job = path == ("job", "_target_")  # checked when it is called
        if path[0] == "hydra" or "_target_" not in path or is_job:
            continue
        if not is_known_class(value, ("so101rl", "benchmarks")):
            expected = "an existing class of so101rl, sb3, sb3_contrib or torch"
            raise ConfigError(".".join(path), got=value, expected=expected)


def check_saved(values: Mapping[Any, Any], run: str) -> None:
    """Refuse the config of a run that calls or looks up anything foreign.

    Args:
        values: The saved config as plain Python, unresolved.
        run: The run directory, for the message.

    Raises:
        RunNotFoundError: Naming the value.
    """
    for path, value in _leaves(values):
        if "_target_" in path and not is_known_class(value):
            raise RunNotFoundError(run, reason=f"its config would call {value}")
        if isinstance(value, str) and "${" in value and ":" in value:
            raise RunNotFoundError(run, reason=f"its config would look up {value}")


def is_known_class(target: object, packages: Collection[str] = ("so101rl",)) -> bool:
    """Tell whether `target` is a class of ours or of a library, without importing it.

    Args:
        target: A dotted path.
        packages: Which of our packages may be named.
    """
    if not isinstance(target, str):
        return False
    ours = _OURS.fullmatch(target)
    if ours is None or ours["package"] not in packages:
        return _LIBRARIES.fullmatch(target) is not None
    folder = PACKAGE if ours["package"] == "so101rl" else PACKAGE.parent / "benchmarks"
    file = folder.joinpath(*ours["module"].split(".")).with_suffix(".py")
    return file.is_file() and bool(
        re.search(rf"^class {ours['name']}\b", file.read_text("utf-8"), re.MULTILINE)
    )


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

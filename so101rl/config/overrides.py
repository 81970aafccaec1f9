"""Checks each typed `key=value` against the value that the yaml files give the key.

OmegaConf's struct mode refuses unknown keys without a hint, and values inside a group
are untyped there: `env.act_scale=big` would only fail where it is used.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from typing import Any

from hydra.core.override_parser.types import Override
from omegaconf import AnyNode, DictConfig, ListConfig, Node, OmegaConf, ValueNode
from omegaconf.errors import InterpolationResolutionError

from so101rl.config.errors import OverrideSyntaxError, UnknownKeyError
from so101rl.errors import ConfigError

_TYPES = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text",
    list: "a list",
    dict: "a mapping",
}
_NAMED = "env.cameras"  # a mapping whose keys are names
_PER_ELEMENT = ("env.act_scale", "base_policy.act_scale")  # one number, or a list


def checked(override: Override, base: DictConfig) -> str:
    """Return the override as Hydra should apply it.

    Args:
        override: One `key=value` that was typed; not a group choice, not a sweep.
        base: The config composed from the same groups without any `key=value`.

    Returns:
        What was typed; `key=100000` if it was `key=1e5` for a whole number, and
        `++key=value` if it adds a name.

    Raises:
        UnknownKeyError: The config has no such key.
        ConfigError: The value has another type than the value in the yaml.
    """
    line = override.input_line
    assert line is not None
    key = override.key_or_group
    if override.is_sweep_override():
        reason = "several values need -m (one run each), or [a,b] if a list is meant"
        raise OverrideSyntaxError(line, reason=reason)
    if override.is_delete():
        _check_deletion(key, base)
        return line
    value = override.value()
    if override.is_add() or override.is_force_add():
        _check_addition(override, base)
    else:
        check_key(key, value, base)
    default = _default(key, base)
    if isinstance(default, int) and isinstance(value, float) and value.is_integer():
        return f"{key}={int(value)}"
    _check_value(key, value, base)
    return line_of(override)


def line_of(override: Override) -> str:
    """Return an override as it was typed, or `++key=value` if it may add a name."""
    line = override.input_line
    assert line is not None
    is_change = _is_named(override.key_or_group) and line[0] not in "+~"
    return f"++{line}" if is_change else line


def _check_value(key: str, value: Any, base: DictConfig) -> None:
    """Refuse a value, or one in a mapping, of another type than that in the yaml."""
    default = _default(key, base)
    if value is None and _may_be_null(key, base):
        return
    _check_type(key, value, default)
    if isinstance(value, dict) and isinstance(default, dict):
        for name, inner in value.items():
            _check_value(f"{key}.{name}", inner, base)


def _may_be_null(key: str, base: DictConfig) -> bool:
    """Tell whether the schema declares the key as one that may be null."""
    parent, name = _parent(key, base)
    if not isinstance(parent, DictConfig):
        return False
    node = parent._get_node(name, validate_access=False)
    is_typed = isinstance(node, ValueNode) and not isinstance(node, AnyNode)
    return is_typed and node._is_optional()  # type: ignore[union-attr]


def _check_type(key: str, value: Any, default: Any) -> None:
    """Refuse NaN, and a value of another type than the default of the yaml files.

    If the default is null, any type is allowed.
    """
    if default is None or (isinstance(value, str) and "${" in value):
        return
    if isinstance(value, float) and math.isnan(value):
        raise ConfigError(key, got=value, expected="a number")
    if key in _PER_ELEMENT and isinstance(value, list) != isinstance(default, list):
        default = default[0] if isinstance(default, list) else [default]
    expected = next(kind for kind in _TYPES if isinstance(default, kind))
    if not _fits(value, expected):
        hint = f" like {default}" if expected in (int, float) else ""
        raise ConfigError(key, got=value, expected=f"{_TYPES[expected]}{hint}")
    if isinstance(default, list) and default:
        for index, inner in enumerate(value):
            _check_type(f"{key}[{index}]", inner, default[0])


def key_paths(node: DictConfig, prefix: str = "") -> Iterator[str]:
    """Yield every dotted key of a config, without `hydra`."""
    for name in map(str, node):
        if not prefix and name == "hydra":
            continue
        yield f"{prefix}{name}"
        child = node._get_node(name)
        if isinstance(child, DictConfig) and not _has_no_content(child):
            yield from key_paths(child, f"{prefix}{name}.")


def _has_no_content(node: Node) -> bool:
    """Tell whether a node is null, missing or a reference."""
    return node._is_none() or node._is_missing() or node._is_interpolation()


def check_key(key: str, value: Any, base: DictConfig, source: str = "") -> None:
    """Refuse a key, or a key of a mapping as its value, that the config lacks.

    Raises:
        UnknownKeyError: Beginning with `source`.
    """
    if _is_named(key):
        return  # the class that gets the names checks them
    node: Any = base
    names = key.split(".")
    for depth, name in enumerate(names):
        if isinstance(node, ListConfig) or "[" in name:
            return  # an index into a list: Hydra's own check is good enough
        if not _is_mapping(node) or name not in node:
            siblings = node if _is_mapping(node) else ()
            raise UnknownKeyError(
                key,
                parent=".".join(names[:depth]),
                keys=key_paths(base),
                siblings=[str(name) for name in siblings if name != "hydra"],
                source=source,
            )
        child = node._get_node(name)
        node = child if child is None or _has_no_content(child) else node[name]
    if isinstance(value, dict) and _is_mapping(node):
        for name, inner in value.items():
            check_key(f"{key}.{name}", inner, base)


def _is_named(key: str) -> bool:
    """Tell whether a key is a mapping of names or below one."""
    return f"{key}.".startswith(f"{_NAMED}.")


def _is_mapping(node: Any) -> bool:
    """Tell whether a node has keys; a mapping that is null, like `study`, has none."""
    return isinstance(node, DictConfig) and not node._is_none()


def _check_addition(override: Override, base: DictConfig) -> None:
    """Refuse `+key` for a key that exists, and below a node that the schema fixes."""
    line, key = override.input_line or "", override.key_or_group
    parent, name = _parent(key, base)
    exists = isinstance(parent, DictConfig) and name in parent
    if exists and override.is_add():
        reason = f"there is {key} already"
        raise OverrideSyntaxError(line, reason=reason, guess=line.lstrip("+"))
    if not exists and is_dataclass(OmegaConf.get_type(parent)):
        check_key(key, None, base)


def _check_deletion(key: str, base: DictConfig) -> None:
    """Refuse to remove (`~key`) a key that the schema has."""
    check_key(key, None, base)
    if is_dataclass(OmegaConf.get_type(_parent(key, base)[0])):
        raise ConfigError(key, got="(removed)", expected="a value")


def _parent(key: str, base: DictConfig) -> tuple[Any, str]:
    """Return the node that a key is in, and the key's last part."""
    parent, _, name = key.rpartition(".")
    return (OmegaConf.select(base, parent) if parent else base), name


def _default(key: str, base: DictConfig) -> Any:
    """Return the yaml's value as plain Python; None where any type is allowed."""
    parent, name = _parent(key, base)
    if isinstance(parent, DictConfig):
        untyped = isinstance(parent._get_node(name, validate_access=False), AnyNode)
        if untyped and is_dataclass(OmegaConf.get_type(parent)):
            return None
    try:
        value = OmegaConf.select(base, key)
    except InterpolationResolutionError:
        return None
    if isinstance(value, DictConfig | ListConfig):
        return OmegaConf.to_container(value)
    return value


def _fits(value: Any, expected: type) -> bool:
    """Tell whether a value has the expected type; a whole number is also a float."""
    if expected in (int, float):
        kinds = int if expected is int else int | float
        return isinstance(value, kinds) and not isinstance(value, bool)
    if expected is list:
        return isinstance(value, Sequence) and not isinstance(value, str)
    return isinstance(value, expected)

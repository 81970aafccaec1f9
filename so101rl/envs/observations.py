"""Named observations, computed for who asks, and what a learner sees of them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from gymnasium.spaces import Box, Dict, Space

from so101rl.errors import ConfigError, DivergedError

# From the arrays that are known to one or several more, each (n, ...), by name.
Compute = Callable[["Obs"], Mapping[str, np.ndarray]]
LearnerObs = np.ndarray | dict[str, np.ndarray]
CAMERA = "camera/"  # prefix of the pictures of a camera
BASE_ACTION = "base_action"


class Obs(Mapping[str, np.ndarray]):
    """Named arrays (n, ...); those that are derived are computed when first read.

    Args:
        measured: arrays that are known, by name.
        derived: how each other array follows from them, by name.
    """

    def __init__(
        self, measured: Mapping[str, np.ndarray], derived: Mapping[str, Compute]
    ):
        self.measured = dict(measured)
        self._known, self._derived = dict(measured), derived

    def __getitem__(self, name: str) -> np.ndarray:
        try:
            return self._known[name]
        except KeyError:
            self._known |= self._derived[name](self)
            return self._known[name]

    def __iter__(self) -> Iterator[str]:
        return iter({**self.measured, **self._derived})

    def __len__(self) -> int:
        return len({*self.measured, *self._derived})

    def rows(self, ids: np.ndarray) -> "Obs":
        """Return a copy of the rows `ids` (k,), with what was computed for them."""
        part = Obs({n: v[ids] for n, v in self.measured.items()}, self._derived)
        part._known |= {
            n: v[ids] for n, v in self._known.items() if n not in part._known
        }
        return part

    def replace(self, ids: np.ndarray, other: "Obs") -> None:
        """Replace the rows `ids` (k,) by the rows of `other`."""
        for name, value in self._known.items():
            if name not in self.measured or not value.flags.writeable:
                # A task's array may be read-only, or part of its own state.
                self._known[name] = value = value.copy()
            value[ids] = other[name]
        self.measured = {name: self._known[name] for name in self.measured}


class Layout:
    """What a learner sees: one vector, or several groups as a dict.

    `observation` maps arrays to their scales: one `float32` vector (n, d) of arrays
    divided by their scales, then the base action if requested. If it maps groups to
    such maps, each group is a vector of its own; a group with one camera is its
    pictures (n, height, width, 3) `uint8`.

    Args:
        observation: arrays and their scales, or groups of them.
        shapes: shape of one row of every array that there is.
        n_actions: size of the base action, None to leave it out.

    Attributes:
        names: the arrays that are read.
        space: the space of one environment's observation.
    """

    def __init__(
        self,
        observation: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, ...]],
        n_actions: int | None,
    ):
        groups = observation if _is_grouped(observation) else {"": observation}
        self._vectors: dict[str, _Vector] = {}
        self._pictures: dict[str, str] = {}  # camera array by group
        spaces: dict[str, Space] = {}
        self.names: list[str] = []
        for group, scales in groups.items():
            key = ".".join(filter(None, ("env.observation", group)))
            _check_group(key, group, scales, shapes)
            self.names += scales
            if any(name.startswith(CAMERA) for name in scales):
                spaces[group] = self._add_picture(key, group, list(scales), shapes)
            else:
                own = n_actions if group == "" else None
                self._vectors[group] = vector = _Vector(key, scales, shapes, own)
                spaces[group] = vector.space
        self._is_dict = "" not in groups
        if self._is_dict and n_actions is not None:
            self._vectors[BASE_ACTION] = _Vector("", {}, shapes, n_actions)
            spaces[BASE_ACTION] = self._vectors[BASE_ACTION].space
        self.space: Space = Dict(spaces) if self._is_dict else spaces[""]

    def encode(
        self, obs: Mapping[str, np.ndarray], base_action: np.ndarray
    ) -> LearnerObs:
        """Return what the learner sees of observations and base actions (n, a).

        Raises:
            DivergedError: a number is not finite.
        """
        if not self._is_dict:
            return self._vectors[""].encode(obs, base_action)
        vectors = {g: v.encode(obs, base_action) for g, v in self._vectors.items()}
        return vectors | {group: obs[name] for group, name in self._pictures.items()}

    def parts(self) -> list[dict[str, Any]]:
        """Return name, size and scale of each part of the vector, in its order."""
        return [part for vector in self._vectors.values() for part in vector.parts]

    def _add_picture(
        self,
        key: str,
        group: str,
        names: list[str],
        shapes: Mapping[str, tuple[int, ...]],
    ) -> Space:
        if group == "" or len(names) > 1:
            expected = "each camera in a group of its own"
            raise ConfigError(key, got=", ".join(names), expected=expected)
        self._pictures[group] = names[0]
        return Box(0, 255, shapes[names[0]], np.uint8)


class _Vector:
    """Arrays divided by their scales and joined to one vector."""

    def __init__(
        self,
        key: str,
        scales: Mapping[str, Any],
        shapes: Mapping[str, tuple[int, ...]],
        n_actions: int | None,
    ):
        self._names, self._observe_base = list(scales), n_actions is not None
        self.parts: list[dict[str, Any]] = []
        factors = []
        for name, scale in scales.items():
            size, divisor = shapes[name], np.asarray(scale, float)
            if len(size) != 1:
                got = f"an array (n, {', '.join(map(str, size))})"
                raise ConfigError(f"{key}.{name}", got=got, expected="one (n, d)")
            if divisor.shape not in ((), size) or not np.all(divisor > 0):
                raise ConfigError(
                    f"{key}.{name}",
                    got=scale,
                    expected=f"one scale > 0, or an array of them of shape {size}",
                )
            factors.append(np.broadcast_to(1.0 / divisor, size))
            self.parts.append({"name": name, "size": size[0], "scale": scale})
        if n_actions is not None:
            factors.append(np.ones(n_actions))
            self.parts.append({"name": BASE_ACTION, "size": n_actions, "scale": 1.0})
        self._factor = np.concatenate(factors)
        self.space = Box(-np.inf, np.inf, self._factor.shape, np.float32)

    def encode(
        self, obs: Mapping[str, np.ndarray], base_action: np.ndarray
    ) -> np.ndarray:
        arrays = [obs[name] for name in self._names]
        if self._observe_base:
            arrays.append(base_action)
        vector = (np.concatenate(arrays, axis=1) * self._factor).astype(np.float32)
        # Checking one sum takes a tenth of the time of checking every number.
        if not np.isfinite(np.add.reduce(vector, axis=None)):
            columns = np.repeat([p["name"] for p in self.parts], self._sizes())
            for row, column in np.argwhere(~np.isfinite(vector)):
                point = f"the observation {columns[column]}"
                raise DivergedError(point, str(vector[row, column]), env=int(row))
        return vector

    def _sizes(self) -> list[int]:
        return [part["size"] for part in self.parts]


def _is_grouped(observation: Mapping[str, Any]) -> bool:
    """Tell whether an observation maps groups, not arrays and scales."""
    grouped = [isinstance(value, Mapping) for value in observation.values()]
    if any(grouped) and not all(grouped):
        raise ConfigError(
            "env.observation",
            got=", ".join(observation),
            expected="either arrays and their scales, or groups of them",
        )
    return bool(grouped) and all(grouped)


def _check_group(
    key: str, group: str, names: Mapping[str, Any], shapes: Mapping[str, Any]
) -> None:
    if group == BASE_ACTION:
        expected = "another name: the base action's own group has this one"
        raise ConfigError("env.observation", got=group, expected=expected)
    if not names:
        expected = "at least one array and its scale"
        raise ConfigError(key, got="nothing", expected=expected)
    for name in names:
        if name not in shapes:
            expected = f"one of {', '.join(sorted(shapes))}"
            raise ConfigError(f"{key}.{name}", got=name, expected=expected)


def take(obs: Any, rows: np.ndarray | slice | int) -> Any:
    """Return the rows of an observation, be it an array or a dict of arrays."""
    if isinstance(obs, dict):
        return {name: value[rows] for name, value in obs.items()}
    return obs[rows]


def batch_size(obs: LearnerObs) -> int:
    """Return the number of environments of an observation."""
    return len(next(iter(obs.values())) if isinstance(obs, dict) else obs)

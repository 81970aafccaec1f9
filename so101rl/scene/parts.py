"""What stands or lies on the table: one class per kind of part."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, ClassVar

import mujoco
import numpy as np

from so101rl.errors import check_length, check_positive
from so101rl.robots.robot import DRAWN_GROUP

# Of geoms that collide only in the contact pairs.
DRAWN: dict[str, Any] = {"contype": 0, "conaffinity": 0, "group": DRAWN_GROUP}
THICK = 0.0003  # [m] half the thickness of what is only drawn on the table
CIRCLE = 32  # corners of a circle's outline


class Part(ABC):
    """One part of the scene; its name is its key in `scene.parts`.

    Attributes:
        free: whether it moves freely; then it has a pose, a mass and a measured pose.
        rgba: its colour.
    """

    free: ClassVar[bool] = False
    rgba: tuple[float, float, float, float]

    @abstractmethod
    def add(self, spec: mujoco.MjSpec, name: str) -> None:
        """Add the part to the world; body, joint and geom of a free one are `name`."""

    @abstractmethod
    def outline(self) -> np.ndarray:
        """Return its outline from above (m, 2) [m]; a free one's in its own frame."""

    def check(self, key: str) -> None:  # noqa: B027  optional
        """Raise a ConfigError unless the part's numbers are possible."""

    @property
    def rest_pose(self) -> np.ndarray:
        """Pose (7,) of a free part at rest in the origin: position, quaternion."""
        return np.array([0, 0, 0, 1.0, 0, 0, 0])


@dataclass(kw_only=True)
class Box(Part):
    """A box that moves freely.

    Attributes:
        size: full edge lengths (3,) [m].
        mass: its mass [kg].
        rgba: its colour.
    """

    free = True
    size: tuple[float, float, float]
    mass: float
    rgba: tuple[float, float, float, float]

    def check(self, key: str) -> None:
        check_length(f"{key}.size", self.size, 3)
        check_positive({f"{key}.size": min(self.size), f"{key}.mass": self.mass})

    def add(self, spec: mujoco.MjSpec, name: str) -> None:
        size = np.asarray(self.size) / 2
        body = spec.worldbody.add_body(name=name, pos=[0, 0, size[2]])
        body.add_freejoint(name=name)
        body.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            size=size,
            mass=self.mass,
            rgba=self.rgba,
            **DRAWN,
        )

    def outline(self) -> np.ndarray:
        return _rectangle(np.zeros(2), np.asarray(self.size[:2]))

    @property
    def rest_pose(self) -> np.ndarray:
        return np.array([0, 0, self.size[2] / 2, 1.0, 0, 0, 0])


@dataclass(kw_only=True)
class TapedSquare(Part):
    """A square of tape on the table, only drawn.

    Attributes:
        centre: its centre (2,) [m].
        side: inner edge length [m].
        width: width of the tape [m].
        rgba: colour of the tape.
    """

    centre: tuple[float, float]
    side: float
    width: float
    rgba: tuple[float, float, float, float]

    def check(self, key: str) -> None:
        check_length(f"{key}.centre", self.centre, 2)
        check_positive({f"{key}.side": self.side, f"{key}.width": self.width})

    def add(self, spec: mujoco.MjSpec, name: str) -> None:
        half, width = self.side / 2, self.width
        cx, cy = self.centre
        edge = half + width / 2
        for end, x, y, size in (
            ("front", cx + edge, cy, (width / 2, half + width)),
            ("back", cx - edge, cy, (width / 2, half + width)),
            ("left", cx, cy + edge, (half, width / 2)),
            ("right", cx, cy - edge, (half, width / 2)),
        ):
            spec.worldbody.add_geom(
                name=f"{name}_{end}",
                type=mujoco.mjtGeom.mjGEOM_BOX,
                pos=[x, y, 0],
                size=[*size, THICK],
                rgba=self.rgba,
                **DRAWN,
            )

    def outline(self) -> np.ndarray:
        return _rectangle(np.asarray(self.centre), np.full(2, self.side))


@dataclass(kw_only=True)
class Spot(Part):
    """A round spot on the table, only drawn.

    Attributes:
        centre: its centre (2,) [m].
        radius: its radius [m].
        rgba: its colour.
    """

    centre: tuple[float, float]
    radius: float
    rgba: tuple[float, float, float, float]

    def check(self, key: str) -> None:
        check_length(f"{key}.centre", self.centre, 2)
        check_positive({f"{key}.radius": self.radius})

    def add(self, spec: mujoco.MjSpec, name: str) -> None:
        spec.worldbody.add_geom(
            name=name,
            type=mujoco.mjtGeom.mjGEOM_CYLINDER,
            pos=[*self.centre, 0],
            size=[self.radius, THICK, 0],
            rgba=self.rgba,
            **DRAWN,
        )

    def outline(self) -> np.ndarray:
        angle = np.linspace(0, 2 * np.pi, CIRCLE, endpoint=False)
        circle = np.column_stack([np.cos(angle), np.sin(angle)])
        return np.asarray(self.centre) + self.radius * circle


def _rectangle(centre: np.ndarray, size: np.ndarray) -> np.ndarray:
    """Return the corners (4, 2) [m] of a rectangle."""
    return centre + size / 2 * np.array([(1, 1), (-1, 1), (-1, -1), (1, -1)])

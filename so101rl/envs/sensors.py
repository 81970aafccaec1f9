"""What a task can observe: measured arrays with noise, and what follows from them."""

from collections.abc import Callable, Iterable, Mapping

import numpy as np
from gymnasium.spaces import Box, Dict, Space

from so101rl.envs.noise import Noise
from so101rl.envs.observations import CAMERA, Compute, Obs
from so101rl.envs.task import TaskError, check_arrays
from so101rl.errors import ConfigError
from so101rl.hardware.base import Hardware, HardwareError
from so101rl.robots.kinematics import Kinematics

Objects = Mapping[str, np.ndarray]  # poses (k, 7) by name
Goal = Callable[[Objects], np.ndarray | None]
ALL = slice(None)


class Sensors:
    """Reads arms, objects and cameras of all environments.

    Args:
        hardware: arms and objects.
        kinematics: of the robot, for as many arms.
        cameras: width and height [px] by camera.
        nominal: angles (j,) [rad] of the arm and rest poses (7,) of the objects.
        goal: returns the observation `goal` of poses, or None if there is none.
        features: returns a task's additional observations.

    Attributes:
        shapes: shape of one row of every observation, by name.
        noise: the measurement noise.
        measured: last measured joint angles (n, j) [rad], without noise.
        poses: last poses (n, 7) of the objects by name, without noise.
    """

    def __init__(
        self,
        *,
        hardware: Hardware,
        kinematics: Kinematics,
        cameras: Mapping[str, Mapping[str, int]],
        nominal: tuple[np.ndarray, Objects],
        goal: Goal,
        features: Callable[[Obs], Mapping[str, np.ndarray]],
    ):
        self._hardware, self._kinematics = hardware, kinematics
        self._goal_of, n = goal, hardware.n
        self._ids = np.arange(n)
        home, objects = nominal
        self.measured = np.tile(home, (n, 1))
        self.poses = {name: np.tile(pose, (n, 1)) for name, pose in objects.items()}
        self.noise = Noise(n, len(home), tuple(objects))
        self._looks: list[str] = []  # pictures that somebody asked for
        # The last pictures of cameras that are not always needed, and when they are.
        self._kept: dict[str, np.ndarray] = {}
        self._is_needed: Callable[[np.ndarray], np.ndarray] | None = None
        self._read_before = False  # whether the arms' shapes are known to be right
        self._needs_jac = False  # whether somebody asked for what `tool` adds to `fk`
        self._derived: dict[str, Compute] = {
            "ee_pos": self._ee_pos,
            "ee_jac": self._tool,
            "gravity": self._tool,
        }
        if goal(self.poses) is not None:
            self._derived["goal"] = self._goal
        obs = self.nominal()
        self._add_features(features, obs)
        self.shapes = {name: value.shape[1:] for name, value in obs.items()}
        for name, size in cameras.items():
            _check_size(f"env.cameras.{name}", size)
            self.shapes[f"{CAMERA}{name}"] = (size["height"], size["width"], 3)

    def space(self) -> Dict:
        """Return the space of one environment's observations by name."""
        spaces: dict[str, Space] = {
            name: Box(0, 255, shape, np.uint8)
            if name.startswith(CAMERA)
            else Box(-np.inf, np.inf, shape, np.float64)
            for name, shape in self.shapes.items()
        }
        return Dict(spaces)

    def nominal(self) -> Obs:
        """Return observations of arms at home and objects at rest in the origin."""
        still, target = np.zeros_like(self.measured), self.measured.copy()
        named = _named(self.measured.copy(), still, target, self.poses)
        return Obs(named, self._derived)

    def request(self, names: Iterable[str]) -> None:
        """Announce which observations will be read; cameras are drawn only then.

        Raises:
            ConfigError: there is no such observation.
        """
        for name in names:
            if name not in self.shapes:
                expected = f"one of {', '.join(sorted(self.shapes))}"
                raise ConfigError("observation", got=name, expected=expected)
            self._needs_jac |= name in ("ee_jac", "gravity")
            if name.startswith(CAMERA) and name not in self._looks:
                self._looks.append(name)

    def draw_when(
        self, names: Iterable[str], is_needed: Callable[[np.ndarray], np.ndarray]
    ) -> None:
        """Draw some of the requested pictures only where they are needed.

        Args:
            names: their observations.
            is_needed: tells of environments (k,) which need a new picture (k,) bool; it
                is not asked at the beginning of an episode.
        """
        for name in names:
            self._kept[name] = np.zeros((len(self._ids), *self.shapes[name]), np.uint8)
        self._is_needed = is_needed

    def read(self) -> np.ndarray:
        """Read arms and objects; return the joint velocities (n, j) [rad/s]."""
        read = self._hardware.arm.read()
        if not self._read_before:
            self._check_read(read)
            self._read_before = True
        self.measured, speeds = read
        self.poses = self._hardware.objects.read()
        return speeds

    def observe(
        self,
        ids: np.ndarray | slice,
        draw: np.ndarray,
        target_qpos: np.ndarray,
        *,
        first: bool = False,
    ) -> Obs:
        """Return the noisy observations of the environments `ids` (k,).

        Args:
            ids: the environments.
            draw: standard normal numbers (k, noise.size).
            target_qpos: servo targets (n, j) [rad].
            first: whether these environments begin an episode.
        """
        speeds = self.read()
        qpos, qvel, poses = self.noise.disturb(
            ids,
            draw,
            qpos=self.measured[ids],
            qvel=speeds[ids],
            poses={name: pose[ids] for name, pose in self.poses.items()},
        )
        # A copy, because a reset writes into the targets.
        named = _named(qpos, qvel, target_qpos[ids].copy(), poses)
        return Obs(named | self._pictures(self._ids[ids], first=first), self._derived)

    def restored(self, measured: Mapping[str, np.ndarray]) -> Obs:
        """Return observations of saved arrays; pictures are drawn again."""
        self.read()
        return Obs({**measured, **self._pictures(self._ids, first=True)}, self._derived)

    def _pictures(self, ids: np.ndarray, *, first: bool) -> dict[str, np.ndarray]:
        """Return what the requested cameras see of the environments `ids` (k,)."""
        found = {}
        for name in self._looks:
            camera, kept = name.removeprefix(CAMERA), self._kept.get(name)
            if kept is None or self._is_needed is None:
                found[name] = self._hardware.images(camera, ids)
                continue
            seen = ids if first else ids[self._is_needed(ids)]
            if len(seen):
                kept[seen] = self._hardware.images(camera, seen)
            found[name] = kept[ids]
        return found

    def _add_features(
        self, features: Callable[[Obs], Mapping[str, np.ndarray]], obs: Obs
    ) -> None:
        what = f"{features.__qualname__}()"
        values = features(obs)
        check_arrays(what, values, len(self._ids), rows=True)
        for name in values:
            if name in obs or name.startswith(CAMERA):
                raise TaskError(
                    f"{what} returns {name}: expected other names than "
                    f"{', '.join(obs)} and {CAMERA}*"
                )
        self._derived |= dict.fromkeys(values, features)

    def _check_read(self, read: tuple[np.ndarray, np.ndarray]) -> None:
        """Raise unless angles and velocities have the shape (n, j)."""
        shape, found = self.measured.shape, [np.shape(array) for array in read]
        if found != [shape, shape]:
            raise HardwareError(
                f"{type(self._hardware).__name__}.arm.read() returns arrays of "
                f"{' and '.join(map(str, found))}: expected two of {shape}"
            )

    def _ee_pos(self, obs: Obs) -> dict[str, np.ndarray]:
        if self._needs_jac:  # one pass gives all three
            return self._tool(obs)
        return {"ee_pos": self._kinematics.fk(obs["qpos"])[0]}

    def _tool(self, obs: Obs) -> dict[str, np.ndarray]:
        tool = self._kinematics.tool(obs["qpos"])
        return {"ee_pos": tool.pos, "ee_jac": tool.jac, "gravity": tool.gravity}

    def _goal(self, obs: Obs) -> dict[str, np.ndarray]:
        goal = self._goal_of({name: obs[f"{name}_pose"] for name in self.poses})
        assert goal is not None  # else there is no such observation
        return {"goal": goal}


def _check_size(key: str, size: Mapping[str, int]) -> None:
    """Raise unless a camera has a width and a height in whole pixels."""
    if not isinstance(size, Mapping) or set(size) != {"width", "height"}:
        expected = "the keys width and height [px]"
        raise ConfigError(key, got=size, expected=expected)
    for side, pixels in size.items():
        if type(pixels) is not int or pixels < 1:
            expected = "a whole number > 0"
            raise ConfigError(f"{key}.{side}", got=pixels, expected=expected)


def _named(
    qpos: np.ndarray, qvel: np.ndarray, target_qpos: np.ndarray, poses: Objects
) -> dict[str, np.ndarray]:
    """Return what is measured by the names that observations have."""
    named = {"qpos": qpos, "qvel": qvel, "target_qpos": target_qpos}
    return named | {f"{name}_pose": pose for name, pose in poses.items()}

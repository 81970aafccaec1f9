"""How the object slides on the table: predicted by dry friction, and measured."""

from dataclasses import dataclass

import numpy as np

from so101rl.envs.base import TaskEnv
from so101rl.errors import So101Error, check_positive
from so101rl.scene.parts import Box
from so101rl.scene.scene import TABLE, ContactPair, Scene

GRAVITY = 9.81  # [m/s^2] MuJoCo's own
PULLED, TURNED, TOWED = 0, 1, slice(2, None)  # indices of the worlds
TOWS = 8  # worlds with different tow speeds: a single hop changes the measured force
SPREAD = 0.25  # relative difference of the tow speeds from the requested one
WORLDS = 2 + TOWS
MOST = 1.2  # ratio of the largest pull and moment to the predicted ones
TOW = 1.0  # [s] duration of the tow
SPRING = 20.0  # [rad/s] natural frequency of the critically damped spring that tows
SLID = 1e-4  # [m] displacement of a sliding object; a resting one creeps a tenth of it


class NoFrictionError(So101Error):
    """There is no friction between object and table that could be tested."""

    def __init__(self, reason: str) -> None:
        """Build the message from the reason: the pair is missing or has no friction."""
        super().__init__(
            f"there is no friction to test: {reason}; expected a pair of a box and the "
            f"{TABLE} with a friction > 0 in env.scene.pairs"
        )


@dataclass(frozen=True, kw_only=True)
class Coulomb:
    """What dry friction predicts for an object that stands on the corners of its base.

    Attributes:
        object: name of the object.
        mass: its mass [kg].
        pair: name of the contact pair of object and table.
        force: pull at which it begins to slide and slides on [N].
        slowing: deceleration of a released object [m/s^2].
        moment: moment about the vertical at which it begins to turn [N m].
        even_moment: the same for an evenly spread weight [N m].
        radius: distance of a corner from the middle [m].
    """

    object: str
    mass: float
    pair: str
    force: float
    slowing: float
    moment: float
    even_moment: float
    radius: float


def coulomb(scene: Scene) -> Coulomb:
    """Predict how the first box of `scene` that may touch the table slides on it."""
    part, box, name, pair = _support(scene)
    a, b, _ = box.size
    weight, radius = box.mass * GRAVITY, np.hypot(a, b) / 2
    # Mean distance of a rectangle's points from its middle.
    mean = 4 * radius + a**2 / b * np.arcsinh(b / a) + b**2 / a * np.arcsinh(a / b)
    return Coulomb(
        object=part,
        mass=box.mass,
        pair=name,
        force=pair.friction * weight,
        slowing=pair.friction * GRAVITY,
        # A corner that turns slides and spins, and both share one friction cone.
        moment=weight * float(np.hypot(pair.friction * radius, pair.spin)),
        even_moment=weight * pair.friction * float(mean) / 12,
        radius=float(radius),
    )


def _support(scene: Scene) -> tuple[str, Box, str, ContactPair]:
    """Return name and part of an object, name and contact pair of it and the table."""
    boxes = {name: part for name, part in scene.parts.items() if isinstance(part, Box)}
    for name, pair in scene.pairs.items():
        for part in boxes.keys() & set(pair.geoms):
            if TABLE not in pair.geoms:
                continue
            if pair.friction == 0:
                raise NoFrictionError(f"env.scene.pairs.{name}.friction is 0")
            return part, boxes[part], name, pair
    raise NoFrictionError(f"no pair lets a box and the {TABLE} touch")


@dataclass(frozen=True, kw_only=True)
class Pulls:
    """What happened to the objects, one row per physics step.

    Attributes:
        time: time since the pulls began (T,) [s].
        force: increasing pull on the first object (T,) [N].
        moved: how far that object moved (T,) [m].
        moment: increasing moment on the second object (T,) [N m].
        turned: how far that object turned (T,) [rad].
        tow: the pulls that keep the others at a steady speed (T, 8) [N].
        speed: their speeds (T, 8) [m/s].
        height: height of their centres above the start (T, 8) [m].
    """

    time: np.ndarray
    force: np.ndarray
    moved: np.ndarray
    moment: np.ndarray
    turned: np.ndarray
    tow: np.ndarray
    speed: np.ndarray
    height: np.ndarray

    def slides_at(self) -> float:
        """Return the pull at which the first object began to slide [N], or inf."""
        return _first(self.force, self.moved > SLID)

    def turns_at(self, radius: float) -> float:
        """Return the moment [N m] at which corners at `radius` [m] slid, or inf."""
        return _first(self.moment, self.turned * radius > SLID)

    def slides_on_at(self) -> float:
        """Return the pull that kept the speed [N], mean over time and objects."""
        return float(self.tow[self._steady()].mean())

    def hops(self) -> float:
        """Return the largest height of the towed objects [m]."""
        return float(self.height[self._steady()].max())

    def slows_by(self) -> float:
        """Return the deceleration after the tow [m/s^2], from the stopping distance."""
        start, step = self.speed[self._steady()].mean(axis=0), self.time[0]
        glide = self.speed[self.time > TOW].sum(axis=0) + start / 2  # trapezoids
        return float((start**2).sum() / 2 / (glide * step).sum())

    def _steady(self) -> np.ndarray:
        return (self.time > TOW / 2) & (self.time <= TOW)


def _first(values: np.ndarray, when: np.ndarray) -> float:
    return float(values[np.argmax(when)]) if when.any() else np.inf


def pull(task: TaskEnv, *, rise: float, speed: float) -> Pulls:
    """Pull one object with rising force, turn a second, tow and release the others.

    Args:
        task: `WORLDS` worlds without randomization, controlled at every physics step.
        rise: time in which pull and moment grow to 1.2 times the predicted ones [s].
        speed: mean speed of the tows [m/s].
    """
    check_positive({"job.rise": rise, "job.speed": speed})
    expected, hz = coulomb(task.scene), task.control_hz
    pace = speed * np.linspace(1 - SPREAD, 1 + SPREAD, TOWS)
    glide = 2 * pace.max() / expected.slowing  # twice as long as it should slide
    time = np.arange(1, int(max(rise, TOW + glide) * hz) + 1) / hz
    share = MOST * np.minimum(time / rise, 1.0)
    wrench = np.zeros((len(time), WORLDS, 6))
    wrench[:, PULLED, 0] = share * expected.force
    wrench[:, TURNED, 5] = share * expected.moment
    objects, name = task.hardware.objects, expected.object
    _lay_down(task)
    pose = [objects.read()[name]] * 2
    for k, now in enumerate(time):
        if now <= TOW:
            lag = pace * now - (pose[-1] - pose[0])[TOWED, 0]
            slower = pace - (pose[-1] - pose[-2])[TOWED, 0] * hz
            spring = SPRING**2 * lag + 2 * SPRING * slower
            wrench[k, TOWED, 0] = expected.mass * spring
        objects.pull(name, wrench[k])
        task.hardware.arm.step(task.target_qpos)
        pose.append(objects.read()[name])
    path = np.array(pose[1:])
    gone = path[1:] - path[0]
    yaw = np.unwrap(2 * np.arctan2(path[:, TURNED, 6], path[:, TURNED, 3]))
    return Pulls(
        time=time,
        force=wrench[:, PULLED, 0],
        moved=gone[:, PULLED, 0],
        moment=wrench[:, TURNED, 5],
        turned=yaw[1:] - yaw[0],
        tow=wrench[:, TOWED, 0],
        speed=np.diff(path[:, TOWED, 0], axis=0) * hz,
        height=gone[:, TOWED, 2],
    )


def _lay_down(task: TaskEnv) -> None:
    """Put every object where episodes start."""
    task.reset()
    ids = np.arange(task.num_envs)
    task.place(ids, np.tile(task.start_pose, (len(ids), 1)))

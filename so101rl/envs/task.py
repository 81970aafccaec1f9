"""What a task tells about itself: everything that the readers of a run need."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from so101rl.errors import So101Error

if TYPE_CHECKING:
    from so101rl.envs.base import TaskEnv

LOWER, HIGHER = "lower", "higher"
SUCCESS = "none"  # the failure class of an episode that was solved


class TaskError(So101Error):
    """A task returns something else than it tells about itself."""


@dataclass(frozen=True, kw_only=True)
class Number:
    """A number that a task measures in every control step.

    Attributes:
        name: in metrics, csv columns and `info`, with its unit, such as `distance_m`.
        title: as figures and tables call it.
        unit: as shown; empty if it has none.
        factor: from the measured value to the shown one.
        better: which values are better, `lower` or `higher`.
    """

    name: str
    title: str
    unit: str = ""
    factor: float = 1.0
    better: str = LOWER

    def __post_init__(self) -> None:
        if self.better not in (LOWER, HIGHER):
            raise TaskError(
                f"number {self.name}: better={self.better}: "
                f"expected {LOWER} or {HIGHER}"
            )


def describe(env: "TaskEnv") -> dict[str, Any]:
    """Return the content of `task.json`: plain values that need no simulator.

    The outline of a free part is in its own frame, that of another on the table.
    """
    parts = env.scene.parts
    return {
        "task": f"{type(env).__module__}.{type(env).__qualname__}",
        "instruction": env.instruction,
        "numbers": [asdict(number) for number in env.numbers],
        "failures": dict(env.failures),
        "ends_on_success": env.ends_on_success,
        "reward_terms": list(env.reward_terms()),
        "control_hz": env.control_hz,
        "max_episode_steps": env.max_episode_steps,
        "robot": env.robot.name,
        "joints": list(env.robot.joints),
        "actions": list(env.control.names),
        "simulated": env.hardware.simulated,
        "left_out": list(env.dropped),
        "parts": {
            name: {
                "free": part.free,
                "outline": part.outline().tolist(),
                "rgba": list(part.rgba),
            }
            for name, part in parts.items()
        },
    }


def check_task(env: "TaskEnv") -> dict[str, Any]:
    """Raise a TaskError unless a task returns what it tells; return its reward terms.

    Called once, in the nominal state.
    """
    name = type(env).__name__
    numbers: Any = env.numbers
    if not isinstance(numbers, tuple) or not all(
        isinstance(number, Number) for number in numbers
    ):
        raise TaskError(f"{name}.numbers={numbers}: expected a tuple of Number")
    if SUCCESS in env.failures:
        raise TaskError(
            f"{name}.failures={', '.join(env.failures)}: expected no class {SUCCESS}, "
            "which is that of a solved episode"
        )
    terms, metrics = env.reward_terms(), env.metrics()
    check_arrays(f"{name}.reward_terms()", terms, env.num_envs)
    if not terms:
        raise TaskError(f"{name}.reward_terms() returns nothing: expected one or more")
    check_arrays(f"{name}.metrics()", metrics, env.num_envs)
    told = [number.name for number in numbers]
    if set(metrics) != set(told):
        raise TaskError(
            f"{name}.metrics() returns {', '.join(metrics) or 'nothing'}: expected "
            f"{', '.join(told) or 'nothing'}"
        )
    solved: Any = env.success()
    shape = getattr(solved, "shape", None)
    if shape != (env.num_envs,) or solved.dtype != bool:
        found = type(solved).__name__ if shape is None else f"{solved.dtype} {shape}"
        raise TaskError(
            f"{name}.success() returns {found}: expected bool ({env.num_envs},)"
        )
    return terms


def check_arrays(what: str, values: Any, n: int, *, rows: bool = False) -> None:
    """Raise a TaskError unless `values` maps names to arrays (n,).

    Args:
        what: which method of which class returns them.
        values: what it returns.
        n: number of environments.
        rows: whether they may have more axes, (n, ...).
    """
    if not isinstance(values, Mapping):
        raise TaskError(
            f"{what} returns {type(values).__name__}: expected a dict of arrays"
        )
    expected = f"({n}, ...)" if rows else f"({n},)"
    for name, value in values.items():
        shape = getattr(value, "shape", None)
        if shape is None or (shape[:1] if rows else shape) != (n,):
            found = type(value).__name__ if shape is None else f"shape {shape}"
            raise TaskError(
                f"{what} returns {name} of {found}: expected an array {expected}"
            )

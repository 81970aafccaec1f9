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


def check_keys(what: str, found: Mapping[str, Any], told: Mapping[str, Any]) -> None:
    """Raise a TaskError unless a task returns exactly the names that it tells."""
    wrong = sorted(set(found) ^ set(told))
    if wrong:
        raise TaskError(
            f"{what} returns {', '.join(found) or 'nothing'}: expected "
            f"{', '.join(told) or 'nothing'}"
        )

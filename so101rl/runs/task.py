"""`task.json`: what a run's task tells about itself, for all who read the run."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.errors import So101Error
from so101rl.files import read_json

if TYPE_CHECKING:
    import numpy as np

TASK = "task.json"


class TaskFileError(So101Error):
    """A run has no readable `task.json`."""


@dataclass(frozen=True, kw_only=True)
class NumberInfo:
    """A number of the task, see `so101rl.envs.task.Number`."""

    name: str
    title: str
    unit: str
    factor: float
    better: str

    @property
    def label(self) -> str:
        """Title and unit, as an axis shows them."""
        title = self.title[:1].upper() + self.title[1:]
        return f"{title} [{self.unit}]" if self.unit else title


@dataclass(frozen=True, kw_only=True)
class PartInfo:
    """A part of the scene.

    Attributes:
        free: whether it moves.
        outline: from above (m, 2) [m]; of a free part in its own frame.
        rgba: its colour.
    """

    free: bool
    outline: "np.ndarray"
    rgba: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class TaskInfo:
    """The content of `task.json`.

    Attributes:
        instruction: the task in words.
        numbers: what the task measures; the first one ranks episodes.
        failures: a sentence by failure class, in the task's order.
        ends_on_success: whether a solved episode ends.
        reward_terms: their names.
        control_hz: control rate [Hz].
        max_episode_steps: control steps of the longest episode.
        robot: the robot's name.
        actions: names of the action's elements.
        simulated: whether the arm was simulated.
        parts: what stands on the table, by name.
    """

    instruction: str
    numbers: tuple[NumberInfo, ...]
    failures: Mapping[str, str]
    ends_on_success: bool
    reward_terms: tuple[str, ...]
    control_hz: int
    max_episode_steps: int
    robot: str
    actions: tuple[str, ...]
    simulated: bool
    parts: Mapping[str, PartInfo]

    @property
    def free(self) -> dict[str, PartInfo]:
        """The parts that move."""
        return {name: part for name, part in self.parts.items() if part.free}


def read_task(run: Path) -> TaskInfo:
    """Read the `task.json` of a run directory.

    Raises:
        TaskFileError: there is none, as in runs of versions before 0.2, or it lacks
            something.
    """
    if not (run / TASK).is_file():
        raise TaskFileError(
            f"{run} has no {TASK}: it was made by a version before 0.2; "
            "train it again, or read it with the version that made it"
        )
    import numpy as np  # slow, and most commands read no task

    content: dict[str, Any] = read_json(run / TASK)
    try:
        return TaskInfo(
            numbers=tuple(NumberInfo(**number) for number in content["numbers"]),
            reward_terms=tuple(content["reward_terms"]),
            actions=tuple(content["actions"]),
            parts={
                name: PartInfo(
                    free=part["free"],
                    outline=np.array(part["outline"], float),
                    rgba=tuple(part["rgba"]),
                )
                for name, part in content["parts"].items()
            },
            **{name: content[name] for name in _PLAIN},
        )
    except (KeyError, TypeError, ValueError) as error:
        raise TaskFileError(
            f"{run / TASK} is not what a run writes: {error}"
        ) from error


_PLAIN = (
    "instruction",
    "failures",
    "ends_on_success",
    "control_hz",
    "max_episode_steps",
    "robot",
    "simulated",
)

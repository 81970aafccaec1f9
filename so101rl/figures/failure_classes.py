"""How episodes end: order, colour and name of a task's failure classes.

Classes that are not in the task's `failures`, as in old files, come last.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from so101rl.envs.task import SUCCESS
from so101rl.figures.style import line_key
from so101rl.runs.task import TaskInfo

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

SUCCESS_COLOUR, UNKNOWN_COLOUR = "#009E73", "#bbbbbb"
# In the order of the task's `failures`.
CLASS_COLOURS = (
    *("#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#4d4d4d", "#332288"),
    *("#E69F00", "#882255", "#0072B2", "#999933", "#661100", "#AA4499"),
)


def colour_of(failure: str, task: TaskInfo) -> str:
    """Return the colour of success or a failure class; unknown classes are grey."""
    if failure == SUCCESS:
        return SUCCESS_COLOUR
    if failure not in task.failures:
        return UNKNOWN_COLOUR
    return CLASS_COLOURS[list(task.failures).index(failure) % len(CLASS_COLOURS)]


def label_of(failure: str) -> str:
    """Return the name of a failure class as a figure shows it."""
    return "success" if failure == SUCCESS else failure.replace("_", " ")


def in_order(failures: Iterable[str], task: TaskInfo) -> list[str]:
    """Return the distinct `failures`: success, the task's in order, unknown ones."""
    present = set(failures)
    known = [name for name in (SUCCESS, *task.failures) if name in present]
    return known + sorted(present - set(known))


def failure_keys(
    failures: Iterable[str], task: TaskInfo, **style: Any
) -> "list[Line2D]":
    """Return a legend's entries for the classes among `failures`."""
    return [
        line_key(label_of(name), color=colour_of(name, task), **style)
        for name in in_order(failures, task)
    ]

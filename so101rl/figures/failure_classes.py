"""How episodes end: the known failure classes, their order, colours and meaning.

The task decides which class an episode has; figures and `job=explain` also accept
classes that are not listed here.
"""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from so101rl.envs.task import SUCCESS
from so101rl.figures.style import line_key

if TYPE_CHECKING:
    from matplotlib.lines import Line2D

SUCCESS_COLOUR, UNKNOWN_COLOUR = "#009E73", "#bbbbbb"


class FailureClass(NamedTuple):
    """A way to fail.

    Attributes:
        colour: in all figures.
        meaning: one sentence for `job=explain`.
    """

    colour: str
    meaning: str


FAILURE_CLASSES = {
    "wrong_yaw": FailureClass(
        "#D55E00", "The sheet is in its place, but turned so that it does not fit."
    ),
    "timed_out": FailureClass(
        "#56B4E9",
        "The sheet is still on its way when the time is over: it is too slow.",
    ),
    "overshot": FailureClass(
        "#CC79A7", "The sheet was near the goal and was pushed past it."
    ),
    "jammed": FailureClass(
        "#F0E442",
        "The sheet lies still in a wrong place: pressed too hard, or left alone.",
    ),
    "never_touched": FailureClass(
        "#4d4d4d", "The fingertip does not reach the sheet, or never presses on it."
    ),
}


def colour_of(failure: str) -> str:
    """Colour of a failure class or of success; unknown classes share one."""
    if failure == SUCCESS:
        return SUCCESS_COLOUR
    known = FAILURE_CLASSES.get(failure)
    return known.colour if known else UNKNOWN_COLOUR


def label_of(failure: str) -> str:
    """Name of a failure class as a figure shows it."""
    return "success" if failure == SUCCESS else failure.replace("_", " ")


def in_order(failures: Iterable[str]) -> list[str]:
    """The classes among `failures`, success first, unknown ones last."""
    present = set(failures)
    known = [name for name in (SUCCESS, *FAILURE_CLASSES) if name in present]
    return known + sorted(present - set(known))


def failure_keys(failures: Iterable[str], **style: Any) -> "list[Line2D]":
    """A legend's entries for the classes among `failures`."""
    return [
        line_key(label_of(name), color=colour_of(name), **style)
        for name in in_order(failures)
    ]

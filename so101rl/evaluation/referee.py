"""Who says that an episode succeeded: the task, or a person beside the arm."""

import sys
from collections.abc import Mapping
from typing import IO, Protocol

from so101rl.envs.task import SUCCESS
from so101rl.errors import ConfigError, So101Error

SOLVED = "y"  # what an operator types for a solved episode


class RefereeError(So101Error):
    """The operator's marks end before the episodes do."""


class Referee(Protocol):
    """Judges episodes."""

    def judge(self, is_success: bool, failure: str) -> tuple[bool, str]:
        """Return whether an episode is solved, and its failure class.

        Args:
            is_success: what the task says.
            failure: the task's class; `none` if it is solved.
        """


class TaskReferee:
    """The task judges."""

    def judge(self, is_success: bool, failure: str) -> tuple[bool, str]:
        return is_success, failure


class OperatorReferee:
    """A person judges: one line per episode, `y` or a failure class of the task.

    Args:
        failures: the task's failure classes.
        marks: where the lines come from.
    """

    def __init__(self, failures: Mapping[str, str], marks: IO[str]):
        self._failures, self._marks = list(failures), marks
        self._number = 0

    def judge(self, is_success: bool, failure: str) -> tuple[bool, str]:
        del is_success, failure
        while True:
            print(
                f"episode {self._number}: solved? {SOLVED}, or "
                f"{', '.join(self._failures) or 'n'}: ",
                end="",
                flush=True,
            )
            line = self._marks.readline()
            if not line:
                raise RefereeError(
                    f"the marks end before episode {self._number}: expected a line "
                    f"per episode, {SOLVED} or a failure class"
                )
            mark = line.strip()
            if mark == SOLVED or mark in (self._failures or ["n"]):
                self._number += 1
                return mark == SOLVED, SUCCESS if mark == SOLVED else mark
            print(f"{mark!r} is no mark")


def make_referee(name: str, failures: Mapping[str, str]) -> Referee:
    """Return the referee of `job.referee`: `task` or `operator`."""
    if name == "task":
        return TaskReferee()
    if name == "operator":
        return OperatorReferee(failures, sys.stdin)
    raise ConfigError("job.referee", got=name, expected="task or operator")

"""What the keys of a viewer do, without any viewer."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import NamedTuple, Self

SLOWEST, FASTEST = 1 / 8, 4.0  # times real time


class Command(Enum):
    """What somebody who watches may ask for; the value says it in words."""

    PAUSE = "pause, go on"
    STEP = "one control step"
    AGAIN = "same episode again"
    NEXT = "next seed"
    PREVIOUS = "previous seed"
    RESIDUAL = "residual off, on"
    FASTER = "faster"
    SLOWER = "slower"


RESTARTS = (Command.AGAIN, Command.NEXT, Command.PREVIOUS)


class Key(NamedTuple):
    """A key.

    Attributes:
        label: what is printed on it.
        glfw: its number for GLFW, which the window uses.
        imgui: its name for Dear ImGui, which the browser uses.
    """

    label: str
    glfw: int
    imgui: str


# MuJoCo's viewers use these for the same or for nothing. All letters are theirs.
KEYS = {
    Command.PAUSE: Key("Space", 32, "Space"),
    Command.STEP: Key("Right", 262, "RightArrow"),
    Command.AGAIN: Key("Backspace", 259, "Backspace"),
    Command.NEXT: Key("Down", 264, "DownArrow"),
    Command.PREVIOUS: Key("Up", 265, "UpArrow"),
    Command.RESIDUAL: Key("Enter", 257, "Enter"),
    Command.FASTER: Key("=", 61, "Equal"),
    Command.SLOWER: Key("-", 45, "Minus"),
}
BY_NUMBER = {key.glfw: command for command, key in KEYS.items()}


@dataclass(frozen=True, kw_only=True)
class Controls:
    """How an episode is watched.

    Attributes:
        episode: its number, as in `episodes.csv`; it chooses the seed.
        residual: whether the residual acts; None if there is none.
        paused: whether time stands still.
        speed: how many times faster than real time.
    """

    episode: int
    residual: bool | None
    paused: bool = False
    speed: float = 1.0

    def after(self, command: Command) -> Self:
        """The controls after a command."""
        match command:
            case Command.PAUSE:
                return replace(self, paused=not self.paused)
            case Command.STEP:
                return replace(self, paused=True)
            case Command.NEXT:
                return replace(self, episode=self.episode + 1)
            case Command.PREVIOUS:
                return replace(self, episode=max(self.episode - 1, 0))
            case Command.RESIDUAL if self.residual is not None:
                return replace(self, residual=not self.residual)
            case Command.FASTER:
                return replace(self, speed=min(2 * self.speed, FASTEST))
            case Command.SLOWER:
                return replace(self, speed=max(self.speed / 2, SLOWEST))
        return self

"""The keys of the viewers and what they do, independent of any viewer."""

from dataclasses import dataclass, replace
from enum import Enum
from typing import Self

SLOWEST, FASTEST = 1 / 8, 4.0  # times real time


class Command(Enum):
    """A command of the viewers, and its key.

    In MuJoCo's viewers these keys have no other meaning, but every letter has one.

    Attributes:
        label: what is printed on the key.
        glfw: the key's number in GLFW, for the window.
        imgui: the key's name in Dear ImGui, for the browser.
        text: what it does.
    """

    PAUSE = "Space", 32, "Space", "pause, go on"
    STEP = "Right", 262, "RightArrow", "one control step"
    AGAIN = "Backspace", 259, "Backspace", "same episode again"
    NEXT = "Down", 264, "DownArrow", "next seed"
    PREVIOUS = "Up", 265, "UpArrow", "previous seed"
    RESIDUAL = "Enter", 257, "Enter", "residual off, on"
    FASTER = "=", 61, "Equal", "faster"
    SLOWER = "-", 45, "Minus", "slower"

    def __init__(self, label: str, glfw: int, imgui: str, text: str) -> None:
        self.label, self.glfw, self.imgui, self.text = label, glfw, imgui, text


RESTARTS = (Command.AGAIN, Command.NEXT, Command.PREVIOUS)


@dataclass(frozen=True, kw_only=True)
class Controls:
    """The state of a viewer.

    Attributes:
        episode: number as in `episodes.csv`, which determines the seed.
        residual: whether the residual acts; None without a residual.
        paused: whether the simulation is paused.
        speed: multiple of real time.
    """

    episode: int
    residual: bool | None
    paused: bool = False
    speed: float = 1.0

    def after(self, command: Command) -> Self:
        """Return the controls after a command."""
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

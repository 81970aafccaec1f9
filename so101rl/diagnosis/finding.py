"""What a rule returns."""

from collections.abc import Callable
from dataclasses import dataclass

from omegaconf import DictConfig

from so101rl.diagnosis.facts import Facts


@dataclass(frozen=True)
class Finding:
    """A symptom that a run has.

    Attributes:
        shows: the numbers it shows by.
        means: what that says, in one or two sentences.
        measured: factor by which a key would have to change, where that is known.
    """

    shows: str
    means: str
    measured: float | None = None


Rule = Callable[[Facts, DictConfig], Finding | None]

"""What a rule returns, and its signature."""

from collections.abc import Callable
from dataclasses import dataclass

from omegaconf import DictConfig

from so101rl.diagnosis.facts import Facts


@dataclass(frozen=True)
class Finding:
    """A symptom that a run has.

    Attributes:
        shows: the numbers that show the symptom.
        means: what they mean, in one or two sentences.
        measured: factor for the keys with `times: measured`, if it is known.
    """

    shows: str
    means: str
    measured: float | None = None


Rule = Callable[[Facts, DictConfig], Finding | None]

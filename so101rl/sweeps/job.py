"""The jobs of a sweep, each a command line of `main.py`."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Quote, QuotedString

from so101rl.errors import So101Error

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

# Keys that say how a sweep runs its jobs; the jobs do not get them.
SWEEP_KEYS = ("hydra.sweep", "hydra.launcher", "hydra/sweeper", "hydra/launcher")
INHERITED = ("packages", "hydra.searchpath")  # keys that every job gets unchanged
MAX_JOBS = 100_000  # in one sweep; more come from a mistyped range


class SweepError(So101Error):
    """A sweep cannot start, or not all of its jobs have a result."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        name: name of its folder inside the sweep's folder.
        overrides: overrides on its command line.
        part_of: what its run records: names of the sweep, the arm, the trial.
    """

    name: str
    overrides: tuple[str, ...]
    part_of: Mapping[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """Its command line, without the folder."""
        # Text is quoted, because 1e5 would otherwise be a number.
        items = [
            f"{key}:{value if isinstance(value, int) else quoted(str(value))}"
            for key, value in self.part_of.items()
        ]
        return [*self.overrides, f"part_of={{{','.join(items)}}}"]


def quoted(text: str) -> str:
    """Return any text in quotes of Hydra's grammar."""
    return QuotedString(text, Quote.single).with_quotes()


def every_combination(typed: Sequence["Override"], sweep: str) -> list[Job]:
    """Return a job per combination of the typed values, numbered as by Hydra.

    Each run records `sweep`, the sweep's name.

    Raises:
        SweepError: there are too many jobs, or an override is an interval, not a list.
    """
    values = [_single_overrides(item) for item in typed]
    if math.prod(len(texts) for texts in values) > MAX_JOBS:
        raise SweepError(f"more than {MAX_JOBS:,} jobs; expected fewer values")
    return [
        Job(str(number), words, {"sweep": sweep})
        for number, words in enumerate(product(*values))
    ]


def _single_overrides(item: "Override") -> list[str]:
    """Return one override per value, as it is typed without -m."""
    if not item.is_sweep_override():
        assert item.input_line is not None
        return [item.input_line]
    if not item.is_discrete_sweep():
        raise SweepError(
            f"{item.input_line}: expected a list of values instead of an interval, or "
            "sweep=NAME for a search"
        )
    key = item.get_key_element()
    texts = islice(item.sweep_string_iterator(), MAX_JOBS + 1)
    found = [f"{key}={text}" for text in texts]
    if len(found) > MAX_JOBS:
        many = f"more than {MAX_JOBS:,} values; expected fewer"
        raise SweepError(f"{item.input_line}: {many}")
    return found

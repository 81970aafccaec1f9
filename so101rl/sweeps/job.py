"""What a sweep runs: jobs, each a command line of `main.py`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import Quote, QuotedString

from so101rl.errors import So101Error

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

OURS = ("hydra.sweep", "hydra.launcher", "hydra/sweeper", "hydra/launcher")
INHERITED = ("packages", "hydra.searchpath")  # every job gets them, see SweepContext
GREATEST = 100_000  # jobs of one sweep: beyond that somebody has mistyped a range


class SweepError(So101Error):
    """A sweep cannot start, or not all of its jobs ended well."""


@dataclass(frozen=True)
class Job:
    """One run of a sweep.

    Attributes:
        name: its folder below that of the sweep.
        overrides: what would be typed for it.
        part_of: what its run says of itself: sweep, arm, trial.
    """

    name: str
    overrides: tuple[str, ...]
    part_of: Mapping[str, Any] = field(default_factory=dict)

    @property
    def words(self) -> list[str]:
        """All of its command line but where it runs."""
        return [*self.overrides, f"part_of={_mapping(self.part_of)}"]


def for_jobs(typed: Iterable["Override"]) -> list["Override"]:
    """What the jobs of a sweep are to be told of what was typed for the sweep."""
    left_out = (*OURS, *INHERITED)
    return [item for item in typed if not item.key_or_group.startswith(left_out)]


def quoted(text: str) -> str:
    """Text as Hydra's grammar takes it, whatever is in it."""
    return QuotedString(text, Quote.single).with_quotes()


def every_combination(typed: Sequence["Override"], sweep: str) -> list[Job]:
    """A job per combination of the values typed, numbered as Hydra does.

    Args:
        typed: overrides, some of them with several values.
        sweep: the name that the runs will give the sweep.
    """
    values = [_texts(item) for item in typed]
    total = 1
    for texts in values:
        total *= len(texts)
        if total > GREATEST:
            raise SweepError(f"more than {GREATEST:,} jobs; right are fewer values")
    return [
        Job(str(number), words, {"sweep": sweep})
        for number, words in enumerate(product(*values))
    ]


def _texts(item: "Override") -> list[str]:
    """An override as one typed without -m, once per value."""
    if not item.is_sweep_override():
        assert item.input_line is not None
        return [item.input_line]
    if not item.is_discrete_sweep():
        raise SweepError(
            f"{item.input_line}: an interval has no end of values; right is a list "
            "of them, or sweep=NAME for a search"
        )
    key = item.get_key_element()
    found: list[str] = []
    for text in item.sweep_string_iterator():
        found.append(f"{key}={text}")
        if len(found) > GREATEST:
            raise SweepError(
                f"{item.input_line}: more than {GREATEST:,} values; right are fewer"
            )
    return found


def _mapping(values: Mapping[str, Any]) -> str:
    """A mapping as Hydra's grammar has it; text in quotes, or 1e5 would be a number."""
    inner = ",".join(
        f"{key}:{value if isinstance(value, int) else quoted(str(value))}"
        for key, value in values.items()
    )
    return f"{{{inner}}}"

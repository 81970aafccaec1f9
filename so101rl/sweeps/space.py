"""From Hydra's grammar to Optuna's distributions, and back to what one would type."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import (
    ChoiceSweep,
    IntervalSweep,
    Override,
    RangeSweep,
)

from so101rl.sweeps.job import SweepError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LOG = "log"  # the tag of values to be tried on a logarithmic scale
RIGHT = "interval(a,b), choice(a,b,c), range(a,b,step), or tag(log, interval(a,b))"


def space(items: Iterable[Override]) -> "dict[str, BaseDistribution]":
    """The values to try, by key, of overrides that have several.

    As everywhere in Hydra, `range` leaves its end out and `interval` has both. Listed
    values stay the text that was typed, whatever they mean.

    Raises:
        SweepError: one of them cannot be searched.
    """
    return {item.get_key_element(): _distribution(item) for item in items}


def words(params: Mapping[str, Any]) -> list[str]:
    """What one would type for a trial's values."""
    return [f"{key}={_text(value)}" for key, value in params.items()]


def grid(distributions: "Mapping[str, BaseDistribution]") -> dict[str, list[Any]]:
    """Every value of every key, for a sampler that tries all combinations.

    Raises:
        SweepError: an interval has no end of values.
    """
    from optuna.distributions import CategoricalDistribution, IntDistribution

    found: dict[str, list[Any]] = {}
    for key, one in distributions.items():
        if isinstance(one, CategoricalDistribution):
            found[key] = list(one.choices)
        elif isinstance(one, IntDistribution) and not one.log:
            found[key] = list(range(one.low, one.high + 1, one.step))
        else:
            raise SweepError(f"{key}: a grid needs a list of values or a range")
    return found


def _distribution(item: Override) -> "BaseDistribution":
    from optuna.distributions import (
        CategoricalDistribution,
        FloatDistribution,
        IntDistribution,
    )

    found, line = item.value(), item.input_line
    if isinstance(found, ChoiceSweep):
        return CategoricalDistribution(list(item.sweep_string_iterator()))
    if isinstance(found, RangeSweep):
        values = list(found.range())
        if not values:
            raise SweepError(f"{line}: no value; right is {RIGHT}")
        if all(isinstance(value, int) for value in values):
            low, high, step = values[0], values[-1], int(abs(found.step))
            return IntDistribution(min(low, high), max(low, high), step=step)
        return CategoricalDistribution([str(value) for value in values])
    if isinstance(found, IntervalSweep):
        log = LOG in found.tags
        low, high = found.start, found.end
        assert low is not None and high is not None
        if low >= high or (log and low <= 0):
            what = "above 0, the smaller first" if log else "the smaller first"
            raise SweepError(f"{line}: right are two ends, {what}")
        if isinstance(low, int) and isinstance(high, int):
            return IntDistribution(low, high, log=log)
        return FloatDistribution(low, high, log=log)
    raise SweepError(f"{line}: nothing to search; right is {RIGHT}")


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)

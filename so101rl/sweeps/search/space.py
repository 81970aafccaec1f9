"""From Hydra's grammar to Optuna's distributions, and back to what one would type."""

import math
from collections.abc import Iterable, Mapping
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.types import (
    IntervalSweep,
    Override,
    RangeSweep,
    Sweep,
)

from so101rl.sweeps.job import GREATEST, SweepError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LOG = "log"  # the tag of values to be tried on a logarithmic scale
MOST = 10_000  # values of one key: beyond that an interval is meant
RIGHT = (
    "interval(a,b), int(interval(a,b)), tag(log, interval(a,b)), choice(a,b,c) or "
    "range(a,b,step)"
)


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


def grid(distributions: "Mapping[str, BaseDistribution]") -> list[dict[str, Any]]:
    """Every combination of the values of every key.

    Raises:
        SweepError: an interval has no end of values, or there are too many.
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
    if math.prod(len(values) for values in found.values()) > GREATEST:
        raise SweepError(f"a grid of more than {GREATEST:,} trials")
    return [
        dict(zip(found, values, strict=True)) for values in product(*found.values())
    ]


def _distribution(item: Override) -> "BaseDistribution":
    found = item.value()
    if not item.is_sweep_override():
        raise SweepError(f"{item.input_line}: nothing to search; right is {RIGHT}")
    tags = found.tags if isinstance(found, Sweep) else set()
    if tags - {LOG} or (tags and not isinstance(found, IntervalSweep)):
        raise SweepError(
            f"{item.input_line}: the only tag is {LOG}, of intervals; right is {RIGHT}"
        )
    if isinstance(found, IntervalSweep):
        return _interval(item, found)
    return _listed(item, found)


def _interval(item: Override, found: IntervalSweep) -> "BaseDistribution":
    from optuna.distributions import FloatDistribution, IntDistribution

    log = LOG in found.tags
    low, high = found.start, found.end
    assert low is not None and high is not None
    if not -math.inf < low < high < math.inf or (log and low <= 0):
        what = "above 0, the smaller first" if log else "the smaller first"
        raise SweepError(f"{item.input_line}: right are two ends, {what}")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _listed(item: Override, found: Any) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, IntDistribution

    line = item.input_line
    if getattr(found, "shuffle", False):  # it would be another order tomorrow
        raise SweepError(f"{line}: a search has an order of its own; leave shuffle out")
    values = list(islice(item.sweep_iterator(), MOST + 1))
    if not values:
        raise SweepError(f"{line}: no value; right is {RIGHT}")
    if len(values) > MOST:
        raise SweepError(f"{line}: more than {MOST:,} values; right is {RIGHT}")
    whole = [one for one in values if isinstance(one, int)]
    if isinstance(found, RangeSweep) and whole == values:
        return IntDistribution(min(whole), max(whole), step=abs(int(found.step)))
    texts = list(item.sweep_string_iterator())
    if len(set(texts)) < len(texts):
        raise SweepError(f"{line}: a value stands there twice")
    return CategoricalDistribution(texts)


def _text(value: Any) -> str:
    return repr(value) if isinstance(value, float) else str(value)

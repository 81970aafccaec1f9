"""Turns overrides into Optuna distributions, and trials into overrides and presets."""

import math
from collections.abc import Iterable, Mapping
from itertools import islice, product
from typing import TYPE_CHECKING, Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, RangeSweep, Sweep
from omegaconf import OmegaConf

from so101rl.config.schema import GROUPS
from so101rl.sweeps.job import MAX_JOBS, SweepError

if TYPE_CHECKING:
    from optuna.distributions import BaseDistribution

LOG = "log"  # the tag of values on a logarithmic scale
MAX_VALUES = 10_000  # of one key; more need an interval
EXPECTED = (
    "expected interval(a,b), int(interval(a,b)), tag(log, interval(a,b)), "
    "choice(a,b,c) or range(a,b,step)"
)


def space(items: Iterable[Override]) -> "dict[str, BaseDistribution]":
    """Return the distribution of each override with several values, by key.

    As in Hydra, `range` excludes its end and `interval` includes both ends. Listed
    values stay text as typed, numbers too.

    Raises:
        SweepError: an override cannot be searched.
    """
    return {item.get_key_element(): _distribution(item) for item in items}


def words(params: Mapping[str, Any]) -> list[str]:
    """A trial's values as overrides."""
    return [
        f"{key}={value!r}" if isinstance(value, float) else f"{key}={value}"
        for key, value in params.items()
    ]


def preset(params: Mapping[str, Any], head: str) -> str:
    """A yaml file for `conf/experiment/` that sets a trial's values.

    Its second line is the comment `head`, which lists of presets show.
    """
    typed = OverridesParser.create().parse_overrides(words(params))
    chosen = [i for i in typed if i.key_or_group in GROUPS or "/" in i.key_or_group]
    cfg = OmegaConf.create()
    if chosen:
        cfg.defaults = [{f"override /{i.key_or_group}": i.value()} for i in chosen]
    for item in typed:
        if item not in chosen:
            OmegaConf.update(cfg, item.key_or_group, item.value(), force_add=True)
    return f"# @package _global_\n# {head}\n{OmegaConf.to_yaml(cfg)}"


def grid(distributions: "Mapping[str, BaseDistribution]") -> list[dict[str, Any]]:
    """Every combination of the values of every key.

    Raises:
        SweepError: a key has an interval, or there are too many combinations.
    """
    from optuna.distributions import CategoricalDistribution, IntDistribution

    found: dict[str, list[Any]] = {}
    for key, one in distributions.items():
        if isinstance(one, CategoricalDistribution):
            found[key] = list(one.choices)
        elif isinstance(one, IntDistribution) and not one.log:
            found[key] = list(range(one.low, one.high + 1, one.step))
        else:
            raise SweepError(f"{key}: expected a list of values or a range for a grid")
    if math.prod(len(values) for values in found.values()) > MAX_JOBS:
        raise SweepError(f"a grid of more than {MAX_JOBS:,} trials; expected fewer")
    rows = product(*found.values())
    return [dict(zip(found, values, strict=True)) for values in rows]


def _distribution(item: Override) -> "BaseDistribution":
    found = item.value()
    if not item.is_sweep_override():
        raise SweepError(f"{item.input_line}: {EXPECTED}")
    tags = found.tags if isinstance(found, Sweep) else set()
    if tags - {LOG} or (tags and not isinstance(found, IntervalSweep)):
        raise SweepError(
            f"{item.input_line}: unknown tag, or tag of a list; {EXPECTED}"
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
        above = " above 0" if log else ""
        raise SweepError(f"{item.input_line}: expected two ends{above}, smaller first")
    if isinstance(low, int) and isinstance(high, int):
        return IntDistribution(low, high, log=log)
    return FloatDistribution(low, high, log=log)


def _listed(item: Override, found: Any) -> "BaseDistribution":
    from optuna.distributions import CategoricalDistribution, IntDistribution

    line = item.input_line
    if getattr(found, "shuffle", False):  # the order would change with every call
        raise SweepError(f"{line}: expected a list without shuffle")
    values = list(islice(item.sweep_iterator(), MAX_VALUES + 1))
    if not values:
        raise SweepError(f"{line}: no value; {EXPECTED}")
    if len(values) > MAX_VALUES:
        raise SweepError(f"{line}: more than {MAX_VALUES:,} values; {EXPECTED}")
    whole = [one for one in values if isinstance(one, int)]
    if isinstance(found, RangeSweep) and whole == values:
        return IntDistribution(min(whole), max(whole), step=abs(int(found.step)))
    texts = list(item.sweep_string_iterator())
    if len(set(texts)) < len(texts):
        raise SweepError(f"{line}: expected every value only once")
    return CategoricalDistribution(texts)

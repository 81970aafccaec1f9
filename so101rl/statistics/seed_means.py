"""One number per seed: what everything across seeds is made from."""

import math
from collections.abc import Iterable, Mapping, Sequence

from so101rl.errors import So101Error

MIN_SEEDS = 10  # below this a result is preliminary
ROUNDING = 1e-9  # relative; what differs by less is equal


class StatisticsError(So101Error):
    """Data from which no honest interval, test or claim can be made."""


def seed_means(pairs: Iterable[tuple[int, float]]) -> dict[int, float]:
    """One mean per seed, from (seed, mean).

    A seed that comes twice is refused: its episodes are not independent of each
    other, and an interval over them would be too narrow by far.
    """
    means: dict[int, float] = {}
    for seed, mean in pairs:
        if seed in means:
            raise StatisticsError(
                f"seed {seed} comes twice; right is one mean per seed, "
                "never its episodes one by one"
            )
        means[seed] = mean
    return means


def values_of(means: Mapping[int, float], least: int) -> list[float]:
    """The means without their seeds, sorted, so that no order of seeds matters.

    Args:
        means: seed -> mean.
        least: how many it takes.
    """
    if not isinstance(means, Mapping):
        raise StatisticsError(
            f"{len(means)} numbers without seeds; right is seed -> mean, never the "
            "episodes of several seeds"
        )
    if len(means) < least:
        raise StatisticsError(f"{len(means)} seed means; it takes {least} or more")
    check_finite(means)
    return sorted(float(value) for value in means.values())


def are_equal(values: Sequence[float]) -> bool:
    """Whether values differ by no more than rounding errors."""
    largest = max(abs(value) for value in values)
    return max(values) - min(values) <= ROUNDING * largest


def check_finite(means: Mapping[int, float]) -> None:
    """Refuse a mean that is not a finite number, by its seed."""
    for seed, value in means.items():
        if not math.isfinite(value):
            raise StatisticsError(f"seed {seed} has the mean {value}; right is finite")


def check_share(name: str, value: float) -> None:
    """Refuse what is not strictly between 0 and 1."""
    if not 0 < value < 1:
        raise StatisticsError(f"{name}={value}; right is between 0 and 1")

"""Checks of seed means, the one number per seed that all statistics use."""

import math
from collections.abc import Mapping, Sequence

from so101rl.errors import So101Error

MIN_SEEDS = 10  # below this a result is preliminary
ROUNDING = 1e-9  # relative; values that differ by less are equal


class StatisticsError(So101Error):
    """The data allow no interval, test or claim."""


def sorted_values(means: Mapping[int, float], least: int) -> list[float]:
    """Return the means in ascending order, so that results ignore the order of seeds.

    Raises:
        StatisticsError: there are fewer than `least`, or one is not finite.
    """
    if not isinstance(means, Mapping):
        raise StatisticsError(
            f"{len(means)} numbers without seeds: expected a mapping seed -> mean, "
            "not episodes"
        )
    if len(means) < least:
        raise StatisticsError(f"{len(means)} seed means: expected {least} or more")
    check_finite(means)
    return sorted(float(value) for value in means.values())


def are_equal(values: Sequence[float]) -> bool:
    """Whether values differ by no more than rounding errors."""
    largest = max(abs(value) for value in values)
    return max(values) - min(values) <= ROUNDING * largest


def check_finite(means: Mapping[int, float]) -> None:
    """Raise an error with the seed if a mean is not a finite number."""
    for seed, value in means.items():
        if not math.isfinite(value):
            wrong = f"seed {seed}: mean={value}"
            raise StatisticsError(f"{wrong}: expected a finite number")


def check_share(name: str, value: float) -> None:
    """Raise unless a value lies strictly between 0 and 1."""
    if not 0 < value < 1:
        raise StatisticsError(f"{name}={value}: expected a number between 0 and 1")

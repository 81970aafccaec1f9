"""Terms draw values around what is configured; nothing ever drifts.

A term sees the nominal value and random numbers and returns the values of episodes.
Because the nominal value is read from the configuration, not from the last episode,
a thousand resets cannot wander off. All terms of an episode share one draw from its
environment's generator, and all episodes that begin together are computed together.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from so101rl.errors import ConfigError
from so101rl.hardware.base import Quantity


class Term(ABC):
    """One randomized quantity.

    Args:
        quantity: name of what is randomized, e.g. `object_mass`.
    """

    def __init__(self, *, quantity: str):
        self.quantity = quantity

    def size(self, nominal: np.ndarray) -> int:
        """How many random numbers an episode takes: one per element of `nominal`."""
        return nominal.size

    @abstractmethod
    def draw(self, nominal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """The values of k episodes (k, *nominal.shape).

        Args:
            nominal: the configured value.
            uniform: random numbers in [0, 1) (k, size).
        """

    @abstractmethod
    def ends(self, nominal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest value that `draw` may return."""


class _Bound(NamedTuple):
    """A term, what it changes, and its share of an episode's random numbers."""

    term: Term
    quantity: Quantity
    columns: slice


class Randomization:
    """All terms of an environment.

    Args:
        terms: terms by name, drawn in this order.
    """

    def __init__(self, *, terms: Mapping[str, Term]):
        self.terms = dict(terms)
        self._bound: list[_Bound] = []
        self._size = 0  # random numbers per episode

    def bind(self, quantities: Mapping[str, Quantity]) -> None:
        """Connect the terms to what they change.

        Raises:
            ConfigError: a term names a quantity that this environment lacks, or may
                draw what the quantity cannot be.
        """
        for name, term in self.terms.items():
            if term.quantity not in quantities:
                raise ConfigError(
                    f"randomization.terms.{name}.quantity",
                    got=term.quantity,
                    expected=f"one of {', '.join(sorted(quantities))}",
                )
            quantity = quantities[term.quantity]
            _check_shape(name, term, quantity)
            low, high = term.ends(quantity.nominal)
            if np.any(low < quantity.low) or np.any(high > quantity.high):
                raise ConfigError(
                    f"randomization.terms.{name}",
                    got=f"{np.min(low):g} to {np.max(high):g}",
                    expected=f"a {term.quantity} between {quantity.low:g} "
                    f"and {quantity.high:g}",
                )
            end = self._size + term.size(quantity.nominal)
            self._bound.append(_Bound(term, quantity, slice(self._size, end)))
            self._size = end

    def apply(self, ids: np.ndarray, rngs: Sequence[np.random.Generator]) -> bool:
        """Draw and store new values for the environments `ids` (k,).

        Args:
            ids: which environments begin an episode.
            rngs: one generator per environment of the whole batch.

        Returns:
            Whether constants that MuJoCo derives have to be recomputed.
        """
        uniform = np.array([rngs[i].random(self._size) for i in ids])
        for term, quantity, columns in self._bound:
            quantity.write(ids, term.draw(quantity.nominal, uniform[:, columns]))
        return any(bound.quantity.derived for bound in self._bound)


def _check_shape(name: str, term: Term, quantity: Quantity) -> None:
    nominal = quantity.nominal
    wanted = nominal.shape
    try:
        got = term.draw(nominal, np.zeros((1, term.size(nominal)))).shape
    except ValueError as error:  # NumPy cannot broadcast
        message = f"values that do not fit ({error})"
        raise _wrong_shape(name, term, message, wanted) from error
    if got != (1, *wanted):
        raise _wrong_shape(name, term, f"values of shape {got[1:]}", wanted)


def _wrong_shape(
    name: str, term: Term, got: str, wanted: tuple[int, ...]
) -> ConfigError:
    expected = f"the shape {wanted} of {term.quantity}"
    return ConfigError(f"randomization.terms.{name}", got=got, expected=expected)


def check_range(quantity: str, low: object, high: object, lowest: float) -> None:
    """Refuse a range that is upside down, no number, or reaches below `lowest`."""
    bottom, top = np.asarray(low, float), np.asarray(high, float)
    fits = bottom.shape == top.shape or () in (bottom.shape, top.shape)
    if not (fits and np.all(bottom <= top) and np.all(bottom >= lowest)):
        raise ConfigError(
            f"randomization of {quantity}",
            got=f"low {low}, high {high}",
            expected=f"low <= high and low >= {lowest:g}",
        )

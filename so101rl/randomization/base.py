"""Terms draw values around what is configured; nothing ever drifts.

A term sees the nominal value and a generator and returns the value of one episode.
Because the nominal value is read from the configuration, not from the last episode,
a thousand resets cannot wander off.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence

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

    @abstractmethod
    def draw(self, nominal: np.ndarray, rng: np.random.Generator) -> np.ndarray:
        """The value of one episode, in the shape of `nominal`."""

    @abstractmethod
    def ends(self, nominal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The smallest and the largest value that `draw` may return."""


class Randomization:
    """All terms of an environment.

    Args:
        terms: terms by name, drawn in this order.
    """

    def __init__(self, *, terms: Mapping[str, Term]):
        self.terms = dict(terms)
        self._bound: list[tuple[Term, Quantity]] = []

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
            self._bound.append((term, quantity))

    def apply(self, ids: np.ndarray, rngs: Sequence[np.random.Generator]) -> bool:
        """Draw and store new values for the environments `ids` (k,).

        Args:
            ids: which environments begin an episode.
            rngs: one generator per environment of the whole batch.

        Returns:
            Whether constants that MuJoCo derives have to be recomputed.
        """
        for term, quantity in self._bound:
            drawn = [term.draw(quantity.nominal, rngs[i]) for i in ids]
            quantity.write(ids, np.array(drawn))
        return any(quantity.derived for _, quantity in self._bound)


def _check_shape(name: str, term: Term, quantity: Quantity) -> None:
    wanted = quantity.nominal.shape
    try:
        got = term.draw(quantity.nominal, np.random.default_rng(0)).shape
    except ValueError as error:  # NumPy cannot broadcast
        message = f"values that do not fit ({error})"
        raise _wrong_shape(name, term, message, wanted) from error
    if got != wanted:
        raise _wrong_shape(name, term, f"values of shape {got}", wanted)


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

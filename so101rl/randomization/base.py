"""Randomization terms and how they are applied to the environments.

A term maps the configured value and random numbers to the values of new episodes. It
never sees the values of earlier episodes, so nothing drifts. An episode takes all its
numbers in one call of its environment's generator; all episodes that begin in the same
step are computed together.
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
        quantity: name of the randomized quantity, e.g. `object_mass`.
    """

    def __init__(self, *, quantity: str):
        self.quantity = quantity

    def size(self, nominal: np.ndarray) -> int:
        """Return the number of random numbers per episode: one per element."""
        return nominal.size

    @abstractmethod
    def draw(self, nominal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        """Return the values of k episodes (k, *nominal.shape).

        Args:
            nominal: the configured value.
            uniform: random numbers in [0, 1) (k, size).
        """

    @abstractmethod
    def ends(self, nominal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return the smallest and the largest value that `draw` can return."""


class _BoundTerm(NamedTuple):
    """A term, its quantity, and its columns of an episode's random numbers."""

    term: Term
    quantity: Quantity
    columns: slice


class Randomization:
    """All terms of a batch of environments.

    Args:
        terms: terms by name, applied in this order.
    """

    def __init__(self, *, terms: Mapping[str, Term]):
        self.terms = dict(terms)
        self._bound: list[_BoundTerm] = []
        self._size = 0  # random numbers per episode

    def bind(
        self, quantities: Mapping[str, Quantity], *, drop_missing: bool = False
    ) -> list[str]:
        """Connect the terms to their quantities.

        Args:
            quantities: what can be changed, by name.
            drop_missing: whether to leave out terms of other quantities.

        Returns:
            The names of the terms that were left out.

        Raises:
            ConfigError: there is no such quantity, or a value that the term can draw
                has the wrong shape or is out of the quantity's range.
        """
        dropped = []
        for name, term in self.terms.items():
            if term.quantity not in quantities and drop_missing:
                dropped.append(name)
                continue
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
            self._bound.append(_BoundTerm(term, quantity, slice(self._size, end)))
            self._size = end
        return dropped

    def apply(self, ids: np.ndarray, rngs: Sequence[np.random.Generator]) -> bool:
        """Draw and write new values for the environments `ids` (k,).

        Args:
            ids: the environments that begin an episode.
            rngs: one generator for each environment of the batch.

        Returns:
            Whether MuJoCo's derived constants must be recomputed.
        """
        uniform = np.array([rngs[i].random(self._size) for i in ids])
        for term, quantity, columns in self._bound:
            quantity.write(ids, term.draw(quantity.nominal, uniform[:, columns]))
        return any(bound.quantity.derived for bound in self._bound)


def _check_shape(name: str, term: Term, quantity: Quantity) -> None:
    nominal = quantity.nominal
    try:
        shape = term.draw(nominal, np.zeros((1, term.size(nominal)))).shape[1:]
        got = f"values of shape {shape}"
    except ValueError as error:  # NumPy cannot broadcast
        shape, got = None, f"values that do not fit ({error})"
    if shape != nominal.shape:
        raise ConfigError(
            f"randomization.terms.{name}",
            got=got,
            expected=f"the shape {nominal.shape} of {term.quantity}",
        )


def check_range(quantity: str, low: object, high: object, lowest: float) -> None:
    """Raise a ConfigError unless `lowest <= low <= high` holds for each element."""
    bottom, top = np.asarray(low, float), np.asarray(high, float)
    fits = bottom.shape == top.shape or () in (bottom.shape, top.shape)
    if not (fits and np.all(bottom <= top) and np.all(bottom >= lowest)):
        raise ConfigError(
            f"randomization of {quantity}",
            got=f"low {low}, high {high}",
            expected=f"low <= high and low >= {lowest:g}",
        )

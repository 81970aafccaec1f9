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
            ConfigError: a term names a quantity that this environment lacks.
        """
        for name, term in self.terms.items():
            if term.quantity not in quantities:
                raise ConfigError(
                    f"randomization.terms.{name}.quantity",
                    got=term.quantity,
                    expected=f"one of {', '.join(sorted(quantities))}",
                )
            quantity = quantities[term.quantity]
            drawn = term.draw(quantity.nominal, np.random.default_rng(0))
            if drawn.shape != quantity.nominal.shape:
                raise ConfigError(
                    f"randomization.terms.{name}",
                    got=f"values of shape {drawn.shape}",
                    expected=f"the shape {quantity.nominal.shape} of {term.quantity}",
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


def check_range(quantity: str, low: object, high: object, lowest: float) -> None:
    """Refuse a range that is upside down or reaches below `lowest`."""
    if np.any(np.asarray(low) > np.asarray(high)) or np.any(np.asarray(low) < lowest):
        raise ConfigError(
            f"randomization of {quantity}",
            got=f"low {low}, high {high}",
            expected=f"low <= high and low >= {lowest:g}",
        )

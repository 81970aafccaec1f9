"""Randomization by an offset."""

from collections.abc import Sequence

import numpy as np

from so101rl.randomization.base import Term, check_range


class Shift(Term):
    """Nominal value plus a uniform offset for each element.

    Args:
        quantity: name of the randomized quantity.
        low: smallest offset, one number or one per element, in the quantity's unit.
        high: largest offset, likewise.
    """

    def __init__(
        self,
        *,
        quantity: str,
        low: float | Sequence[float],
        high: float | Sequence[float],
    ):
        super().__init__(quantity=quantity)
        check_range(quantity, low, high, lowest=-np.inf)
        self._low, self._high = np.asarray(low, float), np.asarray(high, float)

    def draw(self, nominal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        share = uniform.reshape(-1, *nominal.shape)
        return nominal + (self._low + (self._high - self._low) * share)

    def ends(self, nominal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return nominal + self._low, nominal + self._high

"""Add to the nominal value."""

from collections.abc import Sequence

import numpy as np

from so101rl.randomization.base import Term, check_range


class Shift(Term):
    """Nominal value plus a uniform offset, element by element.

    Args:
        quantity: what is randomized.
        low: smallest offset, a number or one per element, in the quantity's unit.
        high: largest offset.
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

"""Add normally distributed errors to the nominal value."""

import numpy as np
from scipy.stats import truncnorm

from so101rl.randomization.base import Term, check_range

WIDTH = 2.0  # standard deviations from the middle to either end


class Normal(Term):
    """Nominal value plus a normal error, element by element, cut at two deviations.

    Args:
        quantity: what is randomized.
        low: smallest error, in the quantity's unit.
        high: largest error.
    """

    def __init__(self, *, quantity: str, low: float, high: float):
        super().__init__(quantity=quantity)
        check_range(quantity, low, high, lowest=-np.inf)
        self._middle, self._half = (low + high) / 2, (high - low) / 2

    def draw(self, nominal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        share = uniform.reshape(-1, *nominal.shape)
        error = truncnorm.ppf(share, -WIDTH, WIDTH) / WIDTH  # in [-1, 1]
        return nominal + self._middle + self._half * error

    def ends(self, nominal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        centre = nominal + self._middle
        return centre - self._half, centre + self._half

"""Randomization by a factor."""

import numpy as np

from so101rl.randomization.base import Term, check_range


class Scale(Term):
    """Nominal value times a log-uniform factor: halving is as likely as doubling.

    Args:
        quantity: name of the randomized quantity.
        low: smallest factor.
        high: largest factor.
        per_element: whether each element gets its own factor.
    """

    def __init__(self, *, quantity: str, low: float, high: float, per_element: bool):
        super().__init__(quantity=quantity)
        check_range(quantity, low, high, lowest=1e-3)
        self._low, self._high = np.log(low), np.log(high)
        self._per_element = per_element

    def size(self, nominal: np.ndarray) -> int:
        return nominal.size if self._per_element else 1

    def draw(self, nominal: np.ndarray, uniform: np.ndarray) -> np.ndarray:
        factor = np.exp(self._low + (self._high - self._low) * uniform)
        shape = nominal.shape if self._per_element else (1,) * nominal.ndim
        return nominal * factor.reshape(-1, *shape)

    def ends(self, nominal: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return nominal * np.exp(self._low), nominal * np.exp(self._high)

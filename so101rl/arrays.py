"""Two NumPy functions without the wrappers, which cost more than small arrays do.

A control step of 64 environments makes hundreds of calls on arrays of a few hundred
numbers, where `np.clip` and `np.linalg.norm` take five times as long as these.
"""

import numpy as np


def clip(
    x: np.ndarray, low: float | np.ndarray, high: float | np.ndarray
) -> np.ndarray:
    """`x` limited to [low, high]; NaN stays NaN."""
    return np.minimum(np.maximum(x, low), high)


def norm(x: np.ndarray) -> np.ndarray:
    """Euclidean length (...,) of the vectors `x` (..., k)."""
    return np.sqrt(np.add.reduce(x * x, axis=-1))

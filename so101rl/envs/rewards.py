"""Pure functions for reward terms; the first axis of every array is the environment.

A task names its terms, its yaml sets their weights, each is logged under its name.
"""

import numpy as np


def closeness(distance: np.ndarray, scale: float) -> np.ndarray:
    """Return a cost (n,) in [0, 1] of distances (n,) [m]; it saturates at `scale`."""
    return np.minimum(distance / scale, 1.0)


def decrease(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """Return by how much an error (n,) decreased in this step.

    The sum over an episode is the total decrease, so moving back and forth earns
    nothing (Ng, Harada and Russell 1999).
    """
    return before - now


def residual_size(residual: np.ndarray) -> np.ndarray:
    """Return the mean square (n,) of residual actions (n, a)."""
    return np.add.reduce(residual * residual, axis=1) / residual.shape[1]

"""Reward terms: small pure functions on arrays whose first axis is the environment.

A task names them, its yaml weighs them, every term is logged under its name.
"""

import numpy as np


def closeness(distance: np.ndarray, scale: float) -> np.ndarray:
    """Cost (n,) in [0, 1] of a distance (n,) [m] that saturates at `scale` [m]."""
    return np.minimum(distance / scale, 1.0)


def decrease(before: np.ndarray, now: np.ndarray) -> np.ndarray:
    """How much an error (n,) shrank in this step.

    Summed over an episode it telescopes to the total improvement, so it can be
    earned only once, by progress that lasts (Ng, Harada and Russell 1999).
    """
    return before - now


def residual_size(residual: np.ndarray) -> np.ndarray:
    """Mean square (n,) of the residual's action (n, 6)."""
    return np.add.reduce(residual * residual, axis=1) / residual.shape[1]

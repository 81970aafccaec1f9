"""The check that every action goes through, whoever proposes it."""

import numpy as np

from so101rl.arrays import clip
from so101rl.errors import DivergedError, So101Error
from so101rl.robots import so101


class BadActionError(So101Error):
    """An action that has the wrong shape."""


def checked_action(action: np.ndarray, n: int, what: str) -> np.ndarray:
    """The action, clipped to [-1, 1] (n, 6).

    A run must not go on with a made-up action in the place of one that is none.

    Args:
        action: what was proposed.
        n: how many are expected.
        what: its name in messages.

    Raises:
        BadActionError: it has the wrong shape.
        DivergedError: it is not finite.
    """
    action = np.asarray(action, float)
    if action.shape != (n, so101.N_JOINTS):
        raise BadActionError(
            f"the {what} must have the shape {(n, so101.N_JOINTS)}, got {action.shape}"
        )
    if not np.isfinite(action).all():
        row = int(np.argwhere(~np.isfinite(action))[0, 0])
        raise DivergedError(f"the {what}", str(action[row]), env=row)
    return clip(action, -1.0, 1.0)

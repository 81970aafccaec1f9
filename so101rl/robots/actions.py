"""The check of every action, before it is used."""

import numpy as np

from so101rl.arrays import clip
from so101rl.errors import DivergedError, So101Error
from so101rl.robots import so101


class BadActionError(So101Error):
    """An action has the wrong shape."""


def checked_action(action: np.ndarray, n: int, what: str) -> np.ndarray:
    """Return `action` clipped to [-1, 1] (n, 6).

    Raise if it is not finite; a run never continues with a substitute.

    Args:
        action: actions to check (n, 6).
        n: expected number of rows.
        what: name of the actions in error messages.

    Raises:
        BadActionError: the shape is not (n, 6).
        DivergedError: a value is not finite.
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

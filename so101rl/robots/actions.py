"""The check of every action, before it is used."""

import numpy as np

from so101rl.arrays import clip
from so101rl.errors import DivergedError, So101Error


class BadActionError(So101Error):
    """An action has the wrong shape."""


def checked_action(action: object, shape: tuple[int, int], what: str) -> np.ndarray:
    """Return `action` (n, a) as float64, clipped to [-1, 1].

    Raise if it is not finite; a run never continues with a substitute.

    Args:
        action: actions to check.
        shape: expected number of rows and of elements.
        what: name of the actions in error messages.

    Raises:
        BadActionError: it is no array of numbers of that shape.
        DivergedError: a value is not finite.
    """
    try:
        action = np.asarray(action, float)
    except (TypeError, ValueError) as error:  # a ragged list, None, text
        raise BadActionError(f"the {what} is no array of numbers: {error}") from error
    if action.shape != shape:
        raise BadActionError(
            f"the {what} must have the shape {shape}, got {action.shape}"
        )
    if not np.isfinite(action).all():
        row = int(np.argwhere(~np.isfinite(action))[0, 0])
        raise DivergedError(f"the {what}", str(action[row]), env=row)
    return clip(action, -1.0, 1.0)

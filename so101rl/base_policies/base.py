"""The interface of base policies."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from so101rl.errors import So101Error
from so101rl.robots.actions import checked_action

CLOSE_TIMEOUT_S = 5.0  # after this time a policy that does not close is left behind


class BadPolicyError(So101Error):
    """A base policy returns or needs something else than its interface says."""


class BasePolicy(ABC):
    """Proposes actions for all environments of a run.

    One instance serves training, selection and held-out episodes: their environments
    have different ids. A policy sees named observations, never the simulator.

    Attributes:
        needs: names of the observations that `act` reads.
    """

    needs: frozenset[str] = frozenset()

    def reset(self, ids: np.ndarray, seeds: np.ndarray) -> None:
        """Forget the last episode of the environments `ids` (k,).

        Args:
            ids: the environments that begin an episode.
            seeds: a seed for each (k,), for policies that draw random numbers.
        """
        del ids, seeds

    @abstractmethod
    def act(self, obs: Mapping[str, np.ndarray], ids: np.ndarray) -> np.ndarray:
        """Propose actions.

        Args:
            obs: named observations of the environments `ids`, each (k, ...).
            ids: indices of these environments (k,).

        Returns:
            Actions (k, a) in [-1, 1], one element per name of the task's control.
        """

    def looks(self, ids: np.ndarray) -> np.ndarray:
        """Return for which environments `ids` (k,) the next `act` needs a new picture.

        Of a camera that only the policy reads, the others keep their last picture. A
        policy whose chunk of actions still lasts needs none.
        """
        return np.ones(len(ids), bool)

    def tells(self, ids: np.ndarray) -> Mapping[str, np.ndarray]:
        """Return what a learner may see of the policy, as `base/NAME`, each (k, d).

        It is read after `act`; before the first one it tells the shapes.
        """
        del ids
        return {}

    def identity(self) -> dict[str, Any]:
        """Return what tells this policy from another: sha256 of weights, a version.

        A resumed run refuses a policy of another identity; a warm start prints both.
        """
        return {}

    def state_dict(self, ids: np.ndarray) -> dict[str, Any]:
        """Return the state of the environments `ids` (k,) as arrays, plain values."""
        del ids
        return {}

    def load_state_dict(self, state: Mapping[str, Any], ids: np.ndarray) -> None:
        """Restore what `state_dict` returned for as many environments `ids` (k,)."""
        del state, ids

    def close(self) -> None:  # noqa: B027  optional
        """Release processes and connections; safe to call twice."""


def checked_act(
    policy: BasePolicy, obs: Mapping[str, np.ndarray], ids: np.ndarray, n_actions: int
) -> np.ndarray:
    """Return the actions (k, n_actions) of a policy, checked and clipped to [-1, 1].

    Raises:
        BadActionError: they have another shape or are no numbers.
        DivergedError: one of them is not finite.
    """
    name = type(policy).__name__
    try:
        action = policy.act(obs, ids)
    except Exception as error:
        error.add_note(f"raised by act() of the base policy {name}")
        raise
    shape = (len(ids), n_actions)
    return checked_action(action, shape, f"action of base policy {name}")


def checked_needs(policy: BasePolicy) -> frozenset[str]:
    """Return the names of the observations that a policy needs.

    Raises:
        BadPolicyError: they are no collection of names.
    """
    needs: Any = policy.needs
    if not isinstance(needs, str) and isinstance(needs, Iterable):
        found = frozenset(needs)
        if all(isinstance(name, str) for name in found):
            return found
    name = type(policy).__name__
    raise BadPolicyError(f"{name}.needs={needs!r}: expected names of observations")


def checked_tells(policy: BasePolicy, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Return what a policy tells of the environments `ids` (k,), each (k, d) float.

    Raises:
        BadPolicyError: it is no dict of such arrays or lists.
    """
    told: Any = policy.tells(ids)
    what = f"{type(policy).__name__}.tells() returns"
    if not isinstance(told, Mapping):
        raise BadPolicyError(
            f"{what} {type(told).__name__}: expected a dict of arrays (k, d)"
        )
    found = {}
    for name, value in told.items():
        try:
            found[name] = array = np.asarray(value, float)
        except (TypeError, ValueError) as error:  # a ragged list, None, text
            raise BadPolicyError(
                f"{what} {name}={value!r}: expected an array of numbers (k, d)"
            ) from error
        if array.ndim != 2 or len(array) != len(ids):
            raise BadPolicyError(
                f"{what} {name} of shape {array.shape}: expected ({len(ids)}, d)"
            )
    return found


def close_policy(policy: BasePolicy) -> None:
    """Close a policy; print and go on if that fails or takes too long.

    The run's results are complete by then, so they must not be lost.
    """
    name, failed = type(policy).__name__, []

    def close() -> None:
        try:
            policy.close()
        except Exception as error:  # whatever a user's part raises
            failed.append(f"{type(error).__name__}: {error}")

    thread = threading.Thread(target=close, daemon=True)
    thread.start()
    thread.join(CLOSE_TIMEOUT_S)
    if thread.is_alive():
        print(f"base policy {name} did not close within {CLOSE_TIMEOUT_S:g} s")
    elif failed:
        print(f"base policy {name} failed to close: {failed[0]}")

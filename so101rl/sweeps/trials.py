"""The trials of a search: an Optuna study that survives whoever works on it.

A trial whose worker is gone has failed, and the same values are queued once more. A
worker is known by machine and folder, so that it settles its own trials at once when it
comes back; those of others count as dead when their heartbeat stops.
"""

import contextlib
import fcntl
import socket
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.sweeps.job import SweepError

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

WHAT, OWNER, DEAD, EXCESS = "what", "owner", "dead", "excess"  # our attributes
MOST_RETRIES = 3  # of one trial whose worker dies again and again
SQLITE = "sqlite:///"


class Trials:
    """A study in a storage that several workers may share.

    Args:
        url: of the storage.
        name: of the study.
        directions: `maximize` or `minimize`, one per objective.
        what: all that must be the same for everybody who works on it, by name.
        folder: where this worker's runs go.
        n_trials: that are to be finished, by all workers together.
        heartbeat_s: between two signs of life [s].
        grace_s: of silence after which a worker counts as dead [s].
    """

    def __init__(
        self,
        url: str,
        name: str,
        directions: Sequence[str],
        *,
        what: Mapping[str, Any],
        folder: Path,
        n_trials: int,
        heartbeat_s: int,
        grace_s: int,
    ) -> None:
        """Open the study, or make it; settle what an earlier call left behind.

        Raises:
            SweepError: the study has other values to try, or cannot be reached.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage")  # we send our own
        self._owner = f"{socket.gethostname()}:{folder}"
        self._n_trials = n_trials
        self._storage = open_storage(url, heartbeat_s, grace_s)
        with _first(url):
            self.study: Study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                directions=[*directions],  # type: ignore[list-item]
                load_if_exists=True,
            )
            self._settle_what(what)
        self._running: dict[int, int] = {}  # number -> id
        self._bury([one for one in self._all("RUNNING") if self._is_own(one)])

    def ask(
        self,
        distributions: "Mapping[str, BaseDistribution]",
        sampler: "Callable[[int], BaseSampler]",
        pruner: "BasePruner",
    ) -> "Trial | None":
        """The next trial; None if there are enough of them.

        Args:
            distributions: the values to try.
            sampler: makes one for the n-th trial: whoever asks for that, and however
                often a sweep was stopped before, gets the same values.
            pruner: judges its reports.
        """
        import optuna

        self._mend()
        waiting, counting = self._all("WAITING"), self._counting()
        if not waiting and len(counting) >= self._n_trials:
            return None
        self.study.sampler = sampler(len(counting))
        self.study.pruner = pruner
        trial = self.study.ask(dict(distributions))
        trial.set_user_attr(OWNER, self._owner)
        rank = [one.number for one in self._counting()].index(trial.number)
        if rank >= self._n_trials:  # somebody else has taken the last one meanwhile
            trial.set_user_attr(EXCESS, True)
            self.study.tell(trial, state=optuna.trial.TrialState.FAIL)
            return None
        self._running[trial.number] = trial._trial_id
        return trial

    def tell(
        self,
        number: int,
        *,
        values: Sequence[float] | None = None,
        state: str | None = None,
    ) -> None:
        """A trial has ended.

        Args:
            number: its number.
            values: of the objectives, if it came to its end.
            state: `PRUNED` or `FAIL` if it did not.
        """
        from optuna.trial import TrialState

        self._running.pop(number)
        if values is not None:
            self.study.tell(number, list(values))
        else:
            assert state is not None
            self.study.tell(number, state=TrialState[state])

    def note(self, number: int, **attributes: Any) -> None:
        """Write something down about a running trial."""
        for name, value in attributes.items():
            self._storage.set_trial_user_attr(self._running[number], name, value)

    def lost(self, number: int) -> None:
        """A running trial's process was shot: it has failed, and is queued again."""
        self._bury([self.study.trials[number]])
        del self._running[number]

    def beat(self) -> None:
        """Give a sign of life for what runs, and bury what gives none."""
        for number in self._running.values():
            self._storage.record_heartbeat(number)
        silent = set(self._storage._get_stale_trial_ids(self.study._study_id))
        self._bury([one for one in self._all("RUNNING") if one._trial_id in silent])

    def finished(self) -> "list[FrozenTrial]":
        """The trials that have ended and count."""
        return [one for one in self._counting() if one.state.is_finished()]

    def _settle_what(self, what: Mapping[str, Any]) -> None:
        known = self.study.user_attrs.get(WHAT)
        if known is None:
            self.study.set_user_attr(WHAT, dict(what))
            return
        changed = [
            key for key in sorted({*known, *what}) if known.get(key) != what.get(key)
        ]
        if changed:
            lines = [f"  {key}: {known.get(key)} -> {what.get(key)}" for key in changed]
            raise SweepError(
                f"study {self.study.study_name} tries something else:\n"
                + "\n".join(lines[:3])
                + "\nTake the change back, or choose another hydra.sweeper.study_name."
            )

    def _all(self, state: str) -> "list[FrozenTrial]":
        from optuna.trial import TrialState

        return self.study.get_trials(deepcopy=False, states=(TrialState[state],))

    def _counting(self) -> "list[FrozenTrial]":
        """All trials but those that others stand for, by number."""
        trials = self.study.get_trials(deepcopy=False)
        replaced = {number for one in trials for number in _history(one)}
        return [
            one
            for one in trials
            if one.number not in replaced and EXCESS not in one.user_attrs
        ]

    def _is_own(self, trial: "FrozenTrial") -> bool:
        """Whether it was this worker's, who has just come back without it."""
        return trial.user_attrs.get(OWNER) == self._owner

    def _bury(self, trials: "Sequence[FrozenTrial]") -> None:
        """Let dead trials fail, and queue their values once more."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        for one in trials:
            with contextlib.suppress(UpdateFinishedTrialError):  # somebody was faster
                self._storage.set_trial_user_attr(one._trial_id, DEAD, True)
                self._storage.set_trial_state_values(one._trial_id, TrialState.FAIL)
        self._mend()

    def _mend(self) -> None:
        """Queue what died and nobody stands for."""
        import optuna

        trials = self.study.get_trials(deepcopy=False)
        replaced = {number for one in trials for number in _history(one)}
        for one in trials:
            history = [*_history(one), one.number]
            dead = one.state.is_finished() and DEAD in one.user_attrs
            if not dead or one.number in replaced or len(history) > MOST_RETRIES:
                continue
            self.study.add_trial(
                optuna.create_trial(
                    state=optuna.trial.TrialState.WAITING,
                    params=one.params,
                    distributions=one.distributions,
                    system_attrs={"failed_trial": history[0], "retry_history": history},
                )
            )


def open_storage(url: str, heartbeat_s: int, grace_s: int) -> Any:
    """A database for studies; its tables are made by one process alone.

    Raises:
        SweepError: it cannot be reached, or the address holds a password.
    """
    from optuna.storages import RDBStorage
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError

    try:
        if make_url(url).password is not None:
            raise SweepError(
                "hydra.sweeper.storage: its password would stand in every run's files; "
                "right is PGPASSFILE or PGPASSWORD, and an address without one"
            )
        wait: dict[str, Any] = {}
        if url.startswith(SQLITE):
            wait = {"connect_args": {"timeout": 60}}  # for another writer [s]
        with _first(url):
            return RDBStorage(
                url,
                engine_kwargs=wait,
                heartbeat_interval=heartbeat_s,
                grace_period=grace_s,
            )
    except (ArgumentError, DBAPIError, NoSuchModuleError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise SweepError(f"hydra.sweeper.storage={url}: {reason}") from error


@contextlib.contextmanager
def _first(url: str) -> Iterator[None]:
    """Let processes that may be the first in a sqlite file in one by one.

    Two that make its tables at once break it; a server looks after itself.
    """
    if not url.startswith(SQLITE):
        yield
        return
    path = Path(url.removeprefix(SQLITE))
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.with_name(f"{path.name}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # freed when the file closes
        yield


def _history(trial: "FrozenTrial") -> list[int]:
    """The dead trials that one stands for."""
    found: list[int] = trial.system_attrs.get("retry_history", [])
    return found

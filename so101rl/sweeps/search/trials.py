"""The trials of a search: an Optuna study that survives whoever works on it.

A trial whose worker is gone has failed, and the same values are queued once more: it
gets another attempt, a trial of its own for Optuna. A worker is known by its folder, so
that it settles its own trials at once when it comes back; those of others count as dead
when their heartbeat stops.
"""

import contextlib
import socket
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.files import write_atomic
from so101rl.sweeps.job import SweepError
from so101rl.sweeps.search.storage import database_errors, exclusive, open_storage

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

SIGNATURE = ".worker"  # a file in the folder of a worker
WHAT, OWNER, DEAD = "what", "owner", "dead"  # our attributes
GONE, STOPPED = "gone", "stopped"  # what a trial died of: the first may be its fault
RUNG = "completed_rung_"  # Optuna's, where successive halving has seen a trial
MOST_DEATHS = 4  # of one trial whose worker or process is gone again and again


class Trials:
    """A study in a database that several workers may share.

    Args:
        url: of the database.
        name: of the study.
        directions: `maximize` or `minimize`, one per objective.
        what: all that must be the same for everybody who works on it, by name.
        folder: where this worker's runs go.
        n_trials: that are to be finished, by all workers together.
        heartbeat_s: between two signs of life [s].
        grace_s: of silence after which a worker counts as dead [s].

    Attributes:
        study: Optuna's.
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
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # TPE's
        warnings.filterwarnings("ignore", "Heartbeat of storage")  # we send our own
        self._owner = owner(folder)
        self._n_trials, self._url = n_trials, url
        self._running: dict[int, int] = {}  # number -> id, those of this worker
        self._storage = open_storage(url, heartbeat_s, grace_s)
        with database_errors(url), exclusive(url):
            self.study: Study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                directions=[*directions],  # type: ignore[list-item]
                load_if_exists=True,
            )
            self._settle_what(what)
            self._bury([one for one in self._unsettled() if self._is_own(one)], GONE)

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
        with exclusive(self._url):
            self._mend()
            attempts = self._attempts()
            waiting = [
                (one.number, place)
                for place, one in enumerate(attempts)
                if one.state.name == "WAITING"
            ]
            if not waiting and len(attempts) >= self._n_trials:
                return None
            self.study.sampler = sampler(min(waiting)[1] if waiting else len(attempts))
            self.study.pruner = pruner
            trial = self.study.ask(dict(distributions))
            self._storage.record_heartbeat(trial._trial_id)
            trial.set_user_attr(OWNER, self._owner)  # last: without it, it is nobody's
        self._running[trial.number] = trial._trial_id
        return trial

    def judge(self, trial: "Trial", value: float, step: int) -> bool:
        """Report what a trial has reached; returns whether to stop it."""
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            trial.report(value, step)
        except UpdateFinishedTrialError:  # somebody took this worker for dead
            return True
        return trial.should_prune()

    @property
    def prunes(self) -> bool:
        """Whether reports can end a trial; of several objectives they cannot."""
        from optuna.pruners import NopPruner

        no_pruner = isinstance(self.study.pruner, NopPruner)
        return not no_pruner and len(self.study.directions) == 1

    def tell(
        self,
        number: int,
        *,
        values: Sequence[float] | None = None,
        state: str | None = None,
        **notes: Any,
    ) -> None:
        """A trial has ended.

        Args:
            number: its number.
            values: of the objectives, if it came to its end.
            state: `PRUNED` or `FAIL` if it did not.
            notes: what else is to be known of it.
        """
        from optuna.trial import TrialState

        self._note(number, notes)
        end = None if state is None else TrialState[state]
        done = None if values is None else list(values)
        self.study.tell(number, done, end, skip_if_finished=True)
        del self._running[number]

    def lost(self, number: int, **notes: Any) -> None:
        """A trial's process was shot: it has failed, and is queued again."""
        self._note(number, notes)
        with exclusive(self._url):
            self._bury([self._storage.get_trial(self._running[number])], GONE)
        del self._running[number]

    def abandon(self) -> None:
        """This worker stops: what it has begun has failed, and is queued again."""
        with exclusive(self._url):
            mine = [self._storage.get_trial(one) for one in self._running.values()]
            self._bury(mine, STOPPED)
        self._running.clear()

    def beat(self) -> list[int]:
        """Give a sign of life for what runs, and bury what gives none.

        Returns:
            The trials of this worker that somebody else has taken for dead meanwhile.
        """
        for number in self._running.values():
            self._storage.record_heartbeat(number)
        if self._silent():
            with exclusive(self._url):
                silent = self._silent()
                self._bury(
                    [one for one in self._unsettled() if one._trial_id in silent], GONE
                )
        return [
            number
            for number, id in self._running.items()
            if self._storage.get_trial(id).state.is_finished()
        ]

    def finished(self) -> "list[FrozenTrial]":
        """The trials that have ended, each by its last attempt."""
        return [one for one in self._attempts() if one.state.is_finished()]

    def database_errors(self) -> contextlib.AbstractContextManager[None]:
        """A block that says in short what is wrong with the database."""
        return database_errors(self._url)

    @property
    def is_done(self) -> bool:
        """Whether as many as are wanted have ended, whoever ran them."""
        with exclusive(self._url):
            self._mend()
            return len(self.finished()) >= self._n_trials

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

    def _note(self, number: int, notes: Mapping[str, Any]) -> None:
        """Write something down about a running trial."""
        from optuna.exceptions import UpdateFinishedTrialError

        with contextlib.suppress(UpdateFinishedTrialError):
            for name, value in notes.items():
                self._storage.set_trial_user_attr(self._running[number], name, value)

    def _unsettled(self) -> "list[FrozenTrial]":
        """The trials that somebody runs, or has died of."""
        from optuna.trial import TrialState

        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _attempts(self) -> "list[FrozenTrial]":
        """The last attempt at every trial, in the order of the first ones."""
        found: dict[int, FrozenTrial] = {}
        for one in self.study.get_trials(deepcopy=False):
            first, *_ = [*_history(one), one.number]
            found[first] = one
        return list(found.values())

    def _silent(self) -> set[int]:
        """Ids of running trials without a sign of life."""
        return set(self._storage._get_stale_trial_ids(self.study._study_id))

    def _is_own(self, trial: "FrozenTrial") -> bool:
        """Whether it was this worker's, who has just come back without it."""
        signed = str(trial.user_attrs.get(OWNER, ""))
        return signed.split()[:1] == self._owner.split()[:1]

    def _bury(self, trials: "Sequence[FrozenTrial]", cause: str) -> None:
        """Let dead trials fail, and queue their values once more."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        for one in trials:
            with contextlib.suppress(UpdateFinishedTrialError):  # somebody was faster
                self._storage.set_trial_user_attr(one._trial_id, DEAD, cause)
                self._storage.set_trial_state_values(one._trial_id, TrialState.FAIL)
        self._mend()

    def _mend(self) -> None:
        """Queue what died and has no other attempt yet."""
        import optuna

        # Who asks does so alone, and signs: nobody's trials are those of the dead.
        orphans = [one for one in self._unsettled() if OWNER not in one.user_attrs]
        if orphans:
            self._bury(orphans, STOPPED)
            return
        trials = self.study.get_trials(deepcopy=False)
        for one in self._attempts():
            if one.state.name != "FAIL" or DEAD not in one.user_attrs:
                continue
            history = [*_history(one), one.number]
            deaths = [trials[number].user_attrs.get(DEAD) for number in history]
            if deaths.count(GONE) < MOST_DEATHS:
                self.study.add_trial(
                    optuna.create_trial(
                        state=optuna.trial.TrialState.WAITING,
                        params=one.params,
                        distributions=one.distributions,
                        system_attrs=_kept(one)
                        | {"failed_trial": history[0], "retry_history": history},
                    )
                )


def owner(folder: Path) -> str:
    """How the worker of a folder signs: with a number that the folder keeps.

    Machine and path are for people: containers often share them.
    """
    path = folder / SIGNATURE
    if not path.is_file():
        write_atomic(path, uuid.uuid4().hex)
    return f"{path.read_text()} {socket.gethostname()}:{folder}"


def _kept(trial: "FrozenTrial") -> dict[str, Any]:
    """What samplers know of a trial, such as its generation; pruners begin anew."""
    return {key: value for key, value in trial.system_attrs.items() if RUNG not in key}


def _history(trial: "FrozenTrial") -> list[int]:
    """The earlier attempts at the same values."""
    found: list[int] = trial.system_attrs.get("retry_history", [])
    return found

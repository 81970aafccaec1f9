"""The trials of a search: an Optuna study that one or several workers share.

A trial is lost if its worker or process dies. It is marked as failed, and its values
are queued again: for Optuna as another trial, here as another attempt at the same one.
A worker keeps an id in its folder: when it starts again, it fails its old trials at
once. Trials of other workers are lost when their heartbeats stop.
"""

import contextlib
import copy
import socket
import uuid
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.files import write_atomic
from so101rl.runs.differences import differences
from so101rl.sweeps.job import SweepError
from so101rl.sweeps.outcome import RESUMABLE
from so101rl.sweeps.search.storage import database_errors, exclusive, open_storage

if TYPE_CHECKING:
    from optuna import Study, Trial
    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner
    from optuna.samplers import BaseSampler
    from optuna.trial import FrozenTrial

WORKER_ID = ".worker"  # a file in the folder of a worker
SETTINGS, OWNER = "what", "owner"  # user attributes of the study, and of a trial
RUNG = "completed_rung_"  # prefix of trial attributes of Optuna's successive halving
MAX_LOSSES = 4  # of one trial; after so many it stays failed


class Trials:
    """An Optuna study in a database.

    Args:
        url: address of the database.
        name: name of the study.
        directions: `maximize` or `minimize`, one per objective.
        settings: the settings that must be equal for all workers, by name.
        folder: this worker's folder, which holds its runs.
        n_trials: number of trials to finish, by all workers together.
        heartbeat_s: time between two heartbeats [s].
        grace_s: time without a heartbeat after which a trial is lost [s].
    """

    def __init__(
        self,
        url: str,
        name: str,
        directions: Sequence[str],
        *,
        settings: Mapping[str, Any],
        folder: Path,
        n_trials: int,
        heartbeat_s: int,
        grace_s: int,
    ) -> None:
        """Open or create the study; fail the trials that this worker left running.

        Raises:
            SweepError: the study has other settings, or cannot be reached.
        """
        import optuna

        optuna.logging.set_verbosity(optuna.logging.ERROR)
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        warnings.filterwarnings("ignore", "Heartbeat of storage")  # `beat` sends it
        self._owner = owner(folder)
        self.n_trials, self._url = n_trials, url
        self._running: dict[int, int] = {}  # number -> id, those of this worker
        self._storage = open_storage(url, heartbeat_s, grace_s)
        with database_errors(url), exclusive(url):
            self.study: Study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                directions=[*directions],  # type: ignore[list-item]
                load_if_exists=True,
            )
            self._check_settings(settings)
            for one in self._all_running():
                if str(one.user_attrs.get(OWNER, "")).startswith(self._owner[0]):
                    self._end(one.number, "FAIL")
            self._retry_lost()

    def ask(
        self,
        distributions: "Mapping[str, BaseDistribution]",
        sampler: "Callable[[int], BaseSampler]",
        pruner: "BasePruner",
    ) -> "Trial | None":
        """Return the next trial; None if there are `n_trials`.

        `sampler(n)` returns the sampler of the n-th trial, so that the values do not
        depend on the worker or on earlier interruptions.
        """
        with exclusive(self._url):
            self._retry_lost()
            trials = self._last_attempts()
            waiting = [n for n, one in enumerate(trials) if one.state.name == "WAITING"]
            if not waiting and len(trials) >= self.n_trials:
                return None
            n = min(waiting, key=lambda n: trials[n].number, default=len(trials))
            self.study.sampler = sampler(n)
            self.study.pruner = pruner
            trial = self.study.ask(dict(distributions))
            study_id = self._storage.get_study_id_from_name(self.study.study_name)
            trial_id = self._storage.get_trial_id_from_study_id_trial_number(
                study_id, trial.number
            )
            self._storage.record_heartbeat(trial_id)
            # Last, because a trial without an owner counts as incomplete.
            trial.set_user_attr(OWNER, " ".join(self._owner))
        self._running[trial.number] = trial_id
        return trial

    def report(self, trial: "Trial", value: float, step: int) -> bool:
        """Report an intermediate value; returns whether to stop the trial."""
        from optuna.exceptions import UpdateFinishedTrialError

        try:
            trial.report(value, step)
        except UpdateFinishedTrialError:  # another worker has counted it as lost
            return True
        return trial.should_prune()

    @property
    def prunes(self) -> bool:
        """Whether reports can end a trial; with several objectives they cannot."""
        from optuna.pruners import NopPruner

        no_pruner = isinstance(self.study.pruner, NopPruner)
        return not no_pruner and len(self.study.directions) == 1

    def tell(
        self,
        number: int,
        *,
        values: Sequence[float] | None = None,
        state: str | None = None,
        **attributes: Any,
    ) -> None:
        """End a trial of this worker.

        A complete trial has `values`, one per objective; others have the state `PRUNED`
        or `FAIL`. A failure whose attribute `kind` is in `RESUMABLE` counts as a loss.
        """
        from optuna.exceptions import UpdateFinishedTrialError

        trial_id = self._running[number]
        with contextlib.suppress(UpdateFinishedTrialError):  # counted as lost by then
            for name, value in attributes.items():
                self._storage.set_trial_user_attr(trial_id, name, value)
        self._end(number, state, values)
        del self._running[number]

    def interrupt(self) -> None:
        """End this worker's trials because it stops, and queue their values again."""
        with exclusive(self._url):
            for number in [*self._running]:
                self.tell(number, state="FAIL", interrupted=True)
            self._retry_lost()

    def beat(self) -> list[int]:
        """Send heartbeats of this worker's trials; fail those whose heartbeats stopped.

        Returns:
            The trials of this worker that another one has counted as lost.
        """
        from optuna.storages import fail_stale_trials

        for trial_id in self._running.values():
            self._storage.record_heartbeat(trial_id)
        fail_stale_trials(self.study)
        trials = {n: self._storage.get_trial(i) for n, i in self._running.items()}
        return [number for number, one in trials.items() if one.state.is_finished()]

    def finished(self) -> "list[FrozenTrial]":
        """The trials that have ended, each by its last attempt."""
        return [one for one in self._last_attempts() if one.state.is_finished()]

    def database_errors(self) -> contextlib.AbstractContextManager[None]:
        """Turn database errors in the block into short messages."""
        return database_errors(self._url)

    @property
    def is_done(self) -> bool:
        """Whether `n_trials` have ended, counting those of all workers."""
        with exclusive(self._url):
            self._retry_lost()
            return len(self.finished()) >= self.n_trials

    def _check_settings(self, settings: Mapping[str, Any]) -> None:
        known = self.study.user_attrs.get(SETTINGS)
        if known is None:
            self.study.set_user_attr(SETTINGS, dict(settings))
            return
        changed = differences(known, settings)
        if changed:
            raise SweepError(
                f"study {self.study.study_name} was begun with other settings:\n  "
                + "\n  ".join(changed[:3])
                + "\nUndo the change, or choose another hydra.sweeper.study_name."
            )

    def _end(
        self, number: int, state: str | None, values: Sequence[float] | None = None
    ) -> None:
        """End a trial, unless it has ended already."""
        from optuna.exceptions import UpdateFinishedTrialError
        from optuna.trial import TrialState

        end = None if state is None else TrialState[state]
        done = None if values is None else [*values]
        with contextlib.suppress(UpdateFinishedTrialError):
            self.study.tell(number, done, end, skip_if_finished=True)

    def _all_running(self) -> "list[FrozenTrial]":
        """The running trials of all workers."""
        from optuna.trial import TrialState

        return self.study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))

    def _last_attempts(self) -> "list[FrozenTrial]":
        """The last attempt at every trial, in the order of the first attempts."""
        found: dict[int, FrozenTrial] = {}
        for one in self.study.get_trials(deepcopy=False):
            found[_attempts(one)[0]] = one
        return list(found.values())

    def _retry_lost(self) -> None:
        """Queue the values of lost trials again; the caller holds the `exclusive` lock.

        If a worker is killed during this call, the next call completes it.
        """
        from optuna.storages import RetryHeartbeatStaleTrialCallback

        for one in self._all_running():
            if OWNER not in one.user_attrs:  # its worker died in `ask`
                self._end(one.number, "FAIL")
        trials = self.study.get_trials(deepcopy=False)
        for one in self._last_attempts():
            attempts = [trials[number] for number in _attempts(one)]
            if _is_lost(one) and sum(map(_is_at_fault, attempts)) < MAX_LOSSES:
                retry = copy.deepcopy(one)
                retry.user_attrs = {}
                # A sampler's attributes stay, such as a generation; a pruner's do not.
                notes = one.system_attrs.items()
                retry.system_attrs = {k: v for k, v in notes if not k.startswith(RUNG)}
                if not any(OWNER in attempt.user_attrs for attempt in attempts):
                    retry.params, retry.distributions = {}, {}  # may be incomplete
                RetryHeartbeatStaleTrialCallback()(self.study, retry)


def owner(folder: Path) -> tuple[str, str]:
    """Return a worker's id, a file in its folder, and its machine and path as text.

    The id is random because containers often share machine name and path.
    """
    path = folder / WORKER_ID
    if not path.is_file():
        write_atomic(path, uuid.uuid4().hex)
    return path.read_text(), f"{socket.gethostname()}:{folder}"


def _attempts(trial: "FrozenTrial") -> list[int]:
    """The numbers of a trial's attempts up to this one."""
    from optuna.storages import RetryHeartbeatStaleTrialCallback

    return [*RetryHeartbeatStaleTrialCallback.retry_history(trial), trial.number]


def _is_lost(trial: "FrozenTrial") -> bool:
    """Whether an attempt failed for a reason in `RESUMABLE`, or for none."""
    kind = trial.user_attrs.get("kind", RESUMABLE[0])
    return trial.state.name == "FAIL" and kind in RESUMABLE


def _is_at_fault(trial: "FrozenTrial") -> bool:
    """Whether a trial may have caused its own loss, such as by its use of memory."""
    attributes = trial.user_attrs
    return _is_lost(trial) and OWNER in attributes and "interrupted" not in attributes

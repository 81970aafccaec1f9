"""The trials of a study: what is tried, what becomes of it, and who may work on it."""

import multiprocessing
import time
from collections import Counter
from types import SimpleNamespace

import optuna
import pytest
import yaml
from conftest import ROOT
from omegaconf import OmegaConf
from optuna import distributions as d
from sweeping import wait_until

from so101rl.sweeps.job import SweepError
from so101rl.sweeps.search.storage import open_storage, sqlite_url
from so101rl.sweeps.search.trials import MAX_LOSSES, Trials
from so101rl.sweeps.search.tune import make_sampler

SPACE = {
    "x": d.FloatDistribution(-1, 1),
    "k": d.IntDistribution(0, 3),
    "c": d.CategoricalDistribution(["a", "b"]),
}
LISTS = {"k": d.IntDistribution(0, 6), "c": d.CategoricalDistribution(["a", "b"])}
NUMBERS = {"x": d.FloatDistribution(-1, 1), "y": d.FloatDistribution(0, 1)}


def make(tmp_path, n_trials=6, *, worker="a", db="a", **more):
    """Open the study as a worker would."""
    folder, url = tmp_path / worker, sqlite_url(tmp_path / db / "study.db")
    folder.mkdir(exist_ok=True)
    usual = {"directions": ["maximize"], "heartbeat_s": 60, "grace_s": 120}
    usual["settings"] = {}
    return Trials(url, "s", folder=folder, n_trials=n_trials, **usual | more)


def sampler_of(name, distributions):
    """Makes the n-th trial's sampler, as `tune` does."""
    path = ROOT / "conf/hydra/sweeper/sampler" / f"{name}.yaml"
    node = OmegaConf.create(yaml.safe_load(path.read_text()))
    settings = SimpleNamespace(sampler=node, seed=0, n_trials=1000)
    return make_sampler(settings, distributions)[0]


def ask(trials, name="random", values=SPACE):
    return trials.ask(values, sampler_of(name, values), optuna.pruners.NopPruner())


def work(trials, name="random", values=SPACE, most=1000):
    """Run trials to their end, at most some."""
    while most and (trial := ask(trials, name, values)):
        x, k = trial.params.get("x", 0), trial.params.get("k", 0)
        value = 1 - (x - 0.5) ** 2 - 0.1 * abs(k - 2)
        trials.tell(trial.number, values=[value - 0.2 * (trial.params.get("c") == "a")])
        most -= 1


def results(trials):
    """Params, values and states of what counts, in its order."""
    return [(one.params, one.values, one.state.name) for one in trials.finished()]


def states(trials):
    return Counter(one.state.name for one in trials.study.trials)


@pytest.mark.parametrize("name", ["tpe", "random", "grid", "nsgaii", "cmaes"])
def test_a_search_that_was_killed_ends_as_one_that_was_not(tmp_path, name):
    if name == "cmaes":
        pytest.importorskip("cmaes")
    values = {"grid": LISTS, "cmaes": NUMBERS}.get(name, SPACE)
    whole = make(tmp_path, 14, db="b", worker="b")
    work(whole, name, values)
    for done in (0, 3, 5, 1, 2):  # killed five times, with a trial that was running
        trials = make(tmp_path, 14)
        work(trials, name, values, done)
        assert ask(trials, name, values) is not None
    trials = make(tmp_path, 14)
    work(trials, name, values)
    assert states(trials) == {"COMPLETE": 14, "FAIL": 5}
    # That sampler counts the failed attempts, too.
    assert name == "cmaes" or results(trials) == results(whole)
    different = {str(one.params) for one in trials.finished()}
    assert len(different) == 14 and trials.study.best_value > 0.5


@pytest.mark.parametrize("call", ["set_user_attr", "_suggest"])
def test_a_trial_whose_worker_was_killed_while_it_asked_is_asked_for_again(
    tmp_path, monkeypatch, call
):
    whole = make(tmp_path, 4, db="b", worker="b")
    work(whole, "random")
    trials = make(tmp_path, 4)
    work(trials, "random", most=2)
    real, lives = getattr(optuna.Trial, call), iter([call == "_suggest"])

    def killed(*arguments):
        return real(*arguments) if next(lives, False) else 1 / 0

    with monkeypatch.context() as patch, pytest.raises(ZeroDivisionError):
        patch.setattr(optuna.Trial, call, killed)
        ask(trials)
    other = make(tmp_path, 4, worker="c")  # any worker may take it at once
    work(other, "random")
    assert results(other) == results(whole)
    assert "RUNNING" not in states(other)


def test_n_trials_is_the_total_over_all_calls_whatever_their_ends(tmp_path):
    trials = make(tmp_path, 2)
    trials.tell(ask(trials).number, state="FAIL", kind="bug", reason="1 / 0")
    trial = ask(trials)
    assert trials.report(trial, 0.5, 10) is False
    trials.tell(trial.number, state="PRUNED", env_steps=10)
    for n in (2, 5, 3):
        work(make(tmp_path, n))
    assert states(trials) == {"FAIL": 1, "PRUNED": 1, "COMPLETE": 3}
    failed, pruned, *_ = trials.finished()
    assert failed.user_attrs["reason"] == "1 / 0"
    assert pruned.values == [0.5]


def test_a_worker_that_is_stopped_costs_a_trial_nothing(tmp_path):
    for n in range(2 * MAX_LOSSES):
        trials = make(tmp_path, 2)
        trial = ask(trials)
        for key in ("completed_rung_0", "nsga:generation"):
            trial.storage.set_trial_system_attr(trial._trial_id, key, 1)
        trials.interrupt()
        assert trials.finished() == []
        assert states(trials) == {"FAIL": n + 1, "WAITING": 1}
    # Pruners begin anew, samplers go on with what they know.
    retry = make(tmp_path, 2).study.trials[-1]
    assert retry.params == trial.params and retry.user_attrs == {}
    history = [*range(2 * MAX_LOSSES)]
    notes = {"nsga:generation": 1, "failed_trial": 0, "retry_history": history}
    assert retry.system_attrs == notes


def test_only_a_worker_without_heartbeat_loses_its_trials_after_the_grace(tmp_path):
    short = {"heartbeat_s": 1, "grace_s": 2}
    dead, trials = (make(tmp_path, 2, worker=name, **short) for name in "ba")
    lost, mine = ask(dead), ask(trials)
    assert ask(trials) is None and not trials.is_done
    wait_until(lambda: trials.beat() or trials.is_done or states(trials)["WAITING"])
    assert states(trials) == {"RUNNING": 1, "FAIL": 1, "WAITING": 1}
    again = ask(trials)
    assert again.params == lost.params
    for trial in (again, mine):
        trials.tell(trial.number, values=[1.0])
    assert trials.is_done
    # The other was only suspended: its result comes too late, and raises nothing.
    assert dead.beat() == [lost.number]
    assert dead.report(lost, 0.5, 10) is True
    dead.tell(lost.number, values=[0.0], note="late")
    assert [one.values for one in trials.finished()] == [[1.0], [1.0]]


def test_a_worker_is_known_by_its_folder_alone(tmp_path, monkeypatch):
    ask(make(tmp_path, 2))
    monkeypatch.setattr("socket.gethostname", lambda: "renamed")
    (tmp_path / "a").rename(tmp_path / "moved")
    moved = make(tmp_path, 2, worker="moved", db="moved")
    assert states(moved) == {"FAIL": 1, "WAITING": 1}
    ask(moved)
    # Another with the same name at the same place, as in two containers.
    (tmp_path / "moved" / ".worker").unlink()
    assert states(make(tmp_path, 2, worker="moved", db="moved"))["RUNNING"] == 1


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql+psycopg://me:secret@host/db", "PGPASSFILE"),
        ("postgresql+psycopg://host/db?password=secret", "PGPASSFILE"),
        ("postgresql+psycopg://me:secret@host:port/db", "not an address"),
        ("mysql://host/db", "expected sqlite"),
        ("sqlite:///:memory:", "only one process can use it"),
        ("study.db", "not an address"),
        ("postgresql+psycopg://127.0.0.1:1/nobody", r"127\.0\.0\.1:1"),
        ("sqlite:///{}", "not a database"),
    ],
)
def test_a_database_that_cannot_be_used_is_named(tmp_path, url, message):
    path = tmp_path / "study.db"
    path.write_text("no database at all, but long enough to be one")
    with pytest.raises(SweepError, match=message) as error:
        open_storage(url.format(path), 60, 120)
    assert "secret" not in str(error.value)
    assert str(error.value).count("\n") == 0


def test_a_study_keeps_its_settings_and_lies_in_any_folder_an_address_can_name(
    tmp_path,
):
    path = tmp_path / "a ünï →'{x}#"
    path.mkdir()
    work(make(path, 1, settings={"search x": "0..1"}))
    assert (path / "a" / "study.db").is_file()
    with pytest.raises(SweepError, match=r"search x: 0\.\.1 -> 0\.\.2"):
        make(path, settings={"search x": "0..2"})
    for name in ("what?", "100%25"):
        with pytest.raises(SweepError, match="expected a path without"):
            sqlite_url(tmp_path / name / "study.db")


def worker(home, name):
    trials = make(home, 12, worker=name, heartbeat_s=1, grace_s=3)
    while not trials.is_done:
        work(trials)
        trials.beat()
        time.sleep(0.05)


def test_workers_one_of_them_killed_end_with_what_one_would_have_found(tmp_path):
    whole = make(tmp_path, 12, db="b", worker="whole")
    work(whole)
    home = tmp_path / "home"
    home.mkdir()
    spawn = multiprocessing.get_context("spawn")
    workers = [spawn.Process(target=worker, args=(home, name)) for name in "abc"]
    for one in workers:
        one.start()
    wait_until(lambda: (home / "b").exists())
    time.sleep(0.3)
    workers[1].kill()
    for one in workers:
        one.join()
    assert [one.exitcode for one in workers] == [0, -9, 0]
    trials = make(home, 12)
    ends = states(trials)
    assert "RUNNING" not in ends and ends["COMPLETE"] == 12  # none was run twice
    assert sorted(map(str, results(trials))) == sorted(map(str, results(whole)))

"""Searches: what is tried, what becomes of trials, and who may work on a study."""

import subprocess
import sys
import time
from collections import Counter
from types import SimpleNamespace

import optuna
import pytest
import yaml
from conftest import ROOT
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from sweeping import wait_until

from so101rl.sweeps.job import SweepError
from so101rl.sweeps.space import grid, space, words
from so101rl.sweeps.storage import check, in_file, open_storage
from so101rl.sweeps.trials import MOST_DEATHS, Trials
from so101rl.sweeps.tune import _sampler

DONE = ("COMPLETE", "PRUNED", "FAIL")
SPACE = {
    "x": FloatDistribution(-1, 1),
    "k": IntDistribution(0, 3),
    "c": CategoricalDistribution(["a", "b"]),
}
SAMPLERS = ("tpe", "random", "grid", "cmaes", "nsgaii")


# ---- what is tried ----


def of(*lines):
    return space(OverridesParser.create().parse_overrides(list(lines)))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("interval(0.1,2)", FloatDistribution(0.1, 2.0)),
        ("interval(-1,1)", FloatDistribution(-1.0, 1.0)),
        ("int(interval(1,5))", IntDistribution(1, 5)),
        ("tag(log,interval(1e-4,1e-1))", FloatDistribution(1e-4, 0.1, log=True)),
        ("tag(log,int(interval(1,64)))", IntDistribution(1, 64, log=True)),
        ("range(0,10,3)", IntDistribution(0, 9, step=3)),
        ("range(10,0,-3)", IntDistribution(1, 10, step=3)),
        ("range(3)", IntDistribution(0, 2)),
        ("range(0,0.3,0.1)", CategoricalDistribution(["0.0", "0.1", "0.2"])),
        ("a,b", CategoricalDistribution(["a", "b"])),
        (
            "choice(1,0.5,true,null)",
            CategoricalDistribution(["1", "0.5", "true", "null"]),
        ),
        ("choice([8],[8,8])", CategoricalDistribution(["[8]", "[8,8]"])),
        ("choice('a b',\"c\")", CategoricalDistribution(["'a b'", '"c"'])),
    ],
)
def test_the_grammar_of_a_search_is_hydras(text, wanted):
    assert of(f"key={text}") == {"key": wanted}


@pytest.mark.parametrize(
    "text",
    [
        "1",
        "[1,2]",
        "interval(2,1)",
        "interval(1,1)",
        "interval(0,inf)",
        "interval(nan,1)",
        "tag(log,interval(0,1))",
        "tag(lgo,interval(1,2))",
        "tag(log,choice(1,2))",
        "tag(log,range(1,9))",
        "range(5,0)",
        "range(0,1e9)",
        "range(0,1000000000)",
        "shuffle(1,2,3)",
        "choice(1,2,1)",
    ],
)
def test_what_cannot_be_searched_is_refused(text):
    with pytest.raises(SweepError) as error:
        of(f"some.key={text}")
    assert text in str(error.value)
    assert str(error.value).count("\n") == 0


def test_values_are_typed_as_they_were_meant():
    params = {"a": 1e-05, "b": 1.0, "n": 3, "c": "'a b'", "d": "[8,8]", "e": "null"}
    typed = OverridesParser.create().parse_overrides(words(params))
    found = [item.value() for item in typed]
    assert found == [1e-05, 1.0, 3, "a b", [8, 8], None]
    assert [type(value) for value in found[:3]] == [float, float, int]


def test_a_grid_has_every_combination_once():
    found = grid(of("a=1,2", "b=range(0,6,2)"))
    assert len(found) == 6
    assert {(one["a"], one["b"]) for one in found} == {
        (a, b) for a in "12" for b in (0, 2, 4)
    }
    with pytest.raises(SweepError, match="x: a grid needs a list"):
        grid(of("a=1,2", "x=interval(0,1)"))
    with pytest.raises(SweepError, match="more than"):
        grid(of(*(f"k{n}=range(0,100)" for n in range(3))))


# ---- trials, without processes ----


def make(
    tmp_path, n_trials=6, *, worker="a", db="a", heartbeat_s=60, grace_s=120, **more
):
    """Open the study as a worker would."""
    (tmp_path / worker).mkdir(exist_ok=True)
    return Trials(
        in_file(tmp_path / db / "study.db"),
        more.get("name", "s"),
        more.get("directions", ["maximize"]),
        what=more.get("what", {"a": 1}),
        folder=tmp_path / worker,
        n_trials=n_trials,
        heartbeat_s=heartbeat_s,
        grace_s=grace_s,
    )


def sampler_of(name, distributions, seed=0):
    """The n-th trial's sampler and the number of trials, as `tune` has them."""
    path = ROOT / "conf/hydra/sweeper/sampler" / f"{name}.yaml"
    node = OmegaConf.create(yaml.safe_load(path.read_text()))
    found = SimpleNamespace(sampler=node, seed=seed, n_trials=1000)
    return _sampler(found, distributions)


def ask(trials, name="random", distributions=SPACE):
    sampler = sampler_of(name, distributions)[0]
    return trials.ask(distributions, sampler, optuna.pruners.NopPruner())


def value_of(params):
    k, c = float(params.get("k", 0)), params.get("c", "a")
    x = float(params.get("x", 0))
    return 1 - (x - 0.5) ** 2 - 0.1 * abs(k - 2) - 0.2 * (c != "b")


def work(trials, name="random", distributions=SPACE, most=1000):
    """Run trials to their end, at most some."""
    for _ in range(most):
        trial = ask(trials, name, distributions)
        if trial is None:
            return
        trials.tell(trial.number, values=[value_of(trial.params)])


def results(trials):
    """Values and params of what counts, in its order."""
    return [(one.params, one.values, one.state.name) for one in trials.finished()]


def states(trials):
    return Counter(one.state.name for one in trials.study.trials)


@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_finds(tmp_path, name):
    if name == "cmaes":
        pytest.importorskip("cmaes")
    lists = {"k": IntDistribution(0, 3), "c": CategoricalDistribution(["a", "b"])}
    numbers = {"x": FloatDistribution(-1, 1), "y": FloatDistribution(0, 1)}
    distributions = {"grid": lists, "cmaes": numbers}.get(name, SPACE)
    n = sampler_of(name, distributions)[1] if name == "grid" else 30
    trials = make(tmp_path, n)
    work(trials, name, distributions)
    assert len(trials.finished()) == n
    assert states(trials) == {"COMPLETE": n}
    best = trials.study.best_trial
    if name == "grid":
        assert n == 8
        assert len({str(one.params) for one in trials.finished()}) == 8
        assert best.params == {"k": 2, "c": "b"}
    assert best.value > {"grid": 0.74, "cmaes": 0.55}.get(name, 0.9)


def test_two_objectives_are_searched_together(tmp_path):
    trials = make(tmp_path, 40, directions=["maximize", "minimize"])
    while (trial := ask(trials, "nsgaii")) is not None:
        x = trial.params["x"]
        trials.tell(trial.number, values=[value_of(trial.params), abs(x)])
    front = trials.study.best_trials
    assert 1 < len(front) < 40
    assert max(one.values[0] for one in front) > 0.8
    assert min(one.values[1] for one in front) < 0.3


@pytest.mark.parametrize("name", ["tpe", "random", "grid", "nsgaii"])
def test_a_search_that_was_shot_ends_as_one_that_was_not(tmp_path, name):
    lists = {"k": IntDistribution(0, 6), "c": CategoricalDistribution(["a", "b"])}
    distributions = lists if name == "grid" else SPACE
    whole = make(tmp_path, 14, db="b", worker="b")
    work(whole, name, distributions)
    for done in (0, 3, 5, 1, 2):  # shot five times, with a trial in its hands
        trials = make(tmp_path, 14)
        work(trials, name, distributions, done)
        assert ask(trials, name, distributions) is not None
    trials = make(tmp_path, 14)
    work(trials, name, distributions)
    assert results(trials) == results(whole)
    assert states(trials) == {"COMPLETE": 14, "FAIL": 5}


def test_a_trial_that_was_shot_while_it_was_made_is_made_again(tmp_path, monkeypatch):
    whole = make(tmp_path, 4, db="b", worker="b")
    work(whole, "tpe")
    trials = make(tmp_path, 4)
    work(trials, "tpe", most=2)
    with monkeypatch.context() as patch:
        patch.setattr(optuna.Trial, "set_user_attr", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ask(trials, "tpe")
    suggest, asked = optuna.Trial._suggest, []

    def half(trial, name, distribution):
        asked.append(name)
        return 1 / 0 if len(asked) == 2 else suggest(trial, name, distribution)

    with monkeypatch.context() as patch:
        patch.setattr(optuna.Trial, "_suggest", half)
        with pytest.raises(ZeroDivisionError):
            ask(trials, "tpe")
    # It was nobody's: even another worker may take it at once.
    other = make(tmp_path, 4, worker="c")
    work(other, "tpe")
    assert results(other) == results(whole)
    assert "RUNNING" not in states(other)


def test_n_trials_is_the_total_over_all_calls(tmp_path):
    for n in (2, 2, 5, 3):
        work(make(tmp_path, n))
    assert states(make(tmp_path)) == {"COMPLETE": 5}


def test_failed_and_pruned_trials_count(tmp_path):
    trials = make(tmp_path, 3)
    trials.tell(ask(trials).number, state="FAIL", kind="bug", reason="1 / 0")
    trial = ask(trials)
    assert trials.judge(trial, 0.5, 10) is False
    trials.tell(trial.number, state="PRUNED", env_steps=10)
    work(trials)
    assert states(trials) == {"FAIL": 1, "PRUNED": 1, "COMPLETE": 1}
    assert trials.finished()[0].user_attrs["reason"] == "1 / 0"
    assert trials.finished()[1].values == [0.5]


def test_a_trial_that_is_lost_again_and_again_has_failed(tmp_path):
    trials = make(tmp_path, 2)
    params = []
    for _ in range(MOST_DEATHS):
        trial = ask(trials)
        params.append(trial.params)
        trials.lost(trial.number, reason="shot")
    assert params == params[:1] * MOST_DEATHS
    assert ask(trials).params != params[0]
    (first, *_) = trials.finished()
    assert (first.state.name, first.params) == ("FAIL", params[0])


def test_who_is_stopped_costs_a_trial_nothing(tmp_path):
    for _ in range(2 * MOST_DEATHS):
        trials = make(tmp_path, 2)
        params = ask(trials).params
        trials.abandon()
        assert trials.finished() == []
        assert "RUNNING" not in states(trials)
    trials = make(tmp_path, 2)
    assert ask(trials).params == params


def test_a_worker_settles_its_own_trials_and_leaves_those_of_others(tmp_path):
    one, two = make(tmp_path), make(tmp_path, worker="b")
    mine, theirs = ask(one), ask(two)
    again = make(tmp_path)
    assert [trial.state.name for trial in again.study.trials[:2]] == ["FAIL", "RUNNING"]
    assert ask(again).params == mine.params
    two.tell(theirs.number, values=[1.0])
    assert not again.is_done


def test_a_silent_worker_is_dead_after_its_grace(tmp_path):
    dead = make(tmp_path, 1, worker="b", heartbeat_s=1, grace_s=2)
    trial = ask(dead)  # and is never heard of again
    trials = make(tmp_path, 1, heartbeat_s=1, grace_s=2)
    assert ask(trials) is None
    assert not trials.is_done
    assert trials.beat() == []
    wait_until(lambda: trials.beat() == [] and states(trials)["WAITING"])
    again = ask(trials)
    assert again.params == trial.params
    trials.tell(again.number, values=[1.0])
    assert trials.is_done
    # It was only asleep. What it has is too late, and no reason to fall over.
    assert dead.beat() == [trial.number]
    assert dead.judge(trial, 0.5, 10) is True
    dead.tell(trial.number, values=[0.0], note="late")
    assert [one.values for one in trials.finished()] == [[1.0]]


def test_who_gives_signs_of_life_is_not_dead(tmp_path):
    one = make(tmp_path, 1, heartbeat_s=1, grace_s=2)
    two = make(tmp_path, 1, worker="b", heartbeat_s=1, grace_s=2)
    trial = ask(one)
    for _ in range(8):
        time.sleep(0.5)
        assert one.beat() == []
        assert two.beat() == []
    one.tell(trial.number, values=[1.0])
    assert states(two) == {"COMPLETE": 1}


def test_a_study_does_not_change_what_it_tries(tmp_path):
    make(tmp_path, what={"search x": "0..1", "told": ["a"]})
    with pytest.raises(SweepError, match=r"search x: 0\.\.1 -> 0\.\.2"):
        make(tmp_path, what={"search x": "0..2", "told": ["a"]})
    make(tmp_path, what={"search x": "0..2", "told": ["a"]}, name="other")


# ---- where it is kept ----


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg://me:secret@host/db", "PGPASSFILE"),
        ("postgresql+psycopg://host/db?password=secret", "PGPASSFILE"),
        ("postgresql+psycopg://me:secret@host:port/db", "it is no address"),
        ("mysql://host/db", "right is sqlite"),
        ("sqlite://", "nobody else can see it"),
        ("sqlite:///:memory:", "nobody else can see it"),
        ("study.db", "it is no address"),
    ],
)
def test_an_address_is_looked_at_before_anybody_goes_there(url, said):
    with pytest.raises(SweepError, match=said) as error:
        check(url)
    assert "secret" not in str(error.value)


def test_a_database_that_is_not_there_is_named(tmp_path):
    url = "postgresql+psycopg://127.0.0.1:1/nobody"
    with pytest.raises(SweepError, match="127.0.0.1:1") as error:
        open_storage(url, 60, 120)
    assert str(error.value).count("\n") == 0
    (tmp_path / "study.db").write_text("no database at all, but long enough to be one")
    with pytest.raises(SweepError, match="not a database"):
        open_storage(in_file(tmp_path / "study.db"), 60, 120)


@pytest.mark.parametrize("name", ["a b", "ünï →", "it's", "{x}", "a#b", "100%25"])
def test_a_database_may_lie_in_any_folder(tmp_path, name):
    work(make(tmp_path / name, 1) if (tmp_path / name).mkdir() is None else None)
    assert (tmp_path / name / "a" / "study.db").is_file()


def test_a_question_mark_is_refused(tmp_path):
    with pytest.raises(SweepError, match=r"with \? in its name"):
        in_file(tmp_path / "what?" / "study.db")


WORKER = """
import sys, time, random
sys.path[:0] = [{tests!r}]
from pathlib import Path
import test_search as t
trials = t.make(Path(sys.argv[1]), 12, worker=sys.argv[2], heartbeat_s=1, grace_s=3)
while not trials.is_done:
    trial = t.ask(trials)
    if trial is None:
        time.sleep(0.05); trials.beat()
        continue
    time.sleep(random.random() * 0.05)
    trials.tell(trial.number, values=[t.value_of(trial.params)])
"""


def test_workers_on_one_file_end_with_what_one_would_have_found(tmp_path):
    alone = make(tmp_path, 12, db="b", worker="alone")
    work(alone)
    program = WORKER.format(tests=str(ROOT / "tests"))
    for turn in range(5):
        home = tmp_path / str(turn)
        home.mkdir()
        workers = [
            subprocess.Popen([sys.executable, "-c", program, home, name])
            for name in "abc"
        ]
        if turn % 2:  # one of them is shot
            wait_until(lambda home=home: (home / "a/study.db").exists())
            time.sleep(0.3 * turn)
            workers[1].kill()
        codes = [worker.wait() for worker in workers]
        assert codes[::2] == [0, 0]
        trials = make(home, 12)
        assert len(trials.finished()) == 12
        assert "RUNNING" not in states(trials)
        params = sorted(str(one.params) for one in trials.finished())
        assert params == sorted(str(one.params) for one in alone.finished())

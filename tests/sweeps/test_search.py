"""Searches: what is tried, what becomes of trials, and who may work on a study."""

import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from types import SimpleNamespace

import optuna
import pytest
import yaml
from conftest import CONF, ROOT
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna.distributions import (
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from sweeping import Lab, children, is_alive, wait_until

from so101rl.seeds import TUNING_FROM
from so101rl.sweeps.job import SweepError
from so101rl.sweeps.outcome import BrokenSweep
from so101rl.sweeps.progress import SweepProgress
from so101rl.sweeps.search.batches import in_batches
from so101rl.sweeps.search.search import Plan, Search, env_steps
from so101rl.sweeps.search.space import grid, space, words
from so101rl.sweeps.search.storage import check, open_storage, sqlite_url
from so101rl.sweeps.search.trials import MOST_DEATHS, Trials
from so101rl.sweeps.search.tune import Settings, _sampler

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
        ("choice(1,0.5,true)", CategoricalDistribution(["1", "0.5", "True"])),
        ("null,latest", CategoricalDistribution(["null", "latest"])),
        ("choice([8],[8,8])", CategoricalDistribution(["[8]", "[8,8]"])),
        ("choice('a b',\"c\")", CategoricalDistribution(["a\\ b", "c"])),
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
        sqlite_url(tmp_path / db / "study.db"),
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
    n = sampler_of(name, distributions)[1] if name == "grid" else 20
    trials = make(tmp_path, n)
    work(trials, name, distributions)
    assert len(trials.finished()) == n
    assert states(trials) == {"COMPLETE": n}
    best = trials.study.best_trial
    if name == "grid":
        assert n == 8
        assert len({str(one.params) for one in trials.finished()}) == 8
        assert best.params == {"k": 2, "c": "b"}
    assert best.value > (0.55 if name == "cmaes" else 0.7)


def test_two_objectives_are_searched_together(tmp_path):
    trials = make(tmp_path, 25, directions=["maximize", "minimize"])
    while (trial := ask(trials, "nsgaii")) is not None:
        x = trial.params["x"]
        trials.tell(trial.number, values=[value_of(trial.params), abs(x)])
    front = trials.study.best_trials
    assert 1 < len(front) < 25
    assert max(one.values[0] for one in front) > 0.7
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


def test_a_worker_is_known_by_its_folder_alone(tmp_path, monkeypatch):
    one = make(tmp_path, 2)
    ask(one)
    monkeypatch.setattr("socket.gethostname", lambda: "renamed")
    (tmp_path / "a").rename(tmp_path / "moved")
    moved = make(tmp_path, 2, worker="moved", db="moved")
    assert states(moved) == {"FAIL": 1, "WAITING": 1}
    ask(moved)
    # Another with the same name at the same place, as in two containers.
    (tmp_path / "moved" / ".worker").unlink()
    assert states(make(tmp_path, 2, worker="moved", db="moved"))["RUNNING"] == 1


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
    with pytest.raises(SweepError, match=r"127\.0\.0\.1:1") as error:
        open_storage(url, 60, 120)
    assert str(error.value).count("\n") == 0
    (tmp_path / "study.db").write_text("no database at all, but long enough to be one")
    with pytest.raises(SweepError, match="not a database"):
        open_storage(sqlite_url(tmp_path / "study.db"), 60, 120)


@pytest.mark.parametrize("name", ["a b", "ünï →", "it's", "{x}", "a#b"])
def test_a_database_may_lie_in_any_folder(tmp_path, name):
    (tmp_path / name).mkdir()
    work(make(tmp_path / name, 1))
    assert (tmp_path / name / "a" / "study.db").is_file()


@pytest.mark.parametrize("name", ["what?", "100%25"])
def test_a_folder_that_no_address_can_name_is_refused(tmp_path, name):
    with pytest.raises(SweepError, match="choose another"):
        sqlite_url(tmp_path / name / "study.db")


WORKER = """
import sys, time, random
sys.path[:0] = [{tests!r}, {tests!r} + '/sweeps']
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
    for is_shot in (False, True):
        home = tmp_path / str(is_shot)
        home.mkdir()
        workers = [
            subprocess.Popen([sys.executable, "-c", program, home, name])
            for name in "ab"
        ]
        if is_shot:
            wait_until(lambda home=home: (home / "b").exists())
            time.sleep(0.3)
            workers[1].kill()
        codes = [worker.wait() for worker in workers]
        assert codes == [0, -9 if is_shot else 0]
        trials = make(home, 12)
        assert len(trials.finished()) == 12
        assert "RUNNING" not in states(trials)
        params = sorted(str(one.params) for one in trials.finished())
        assert params == sorted(str(one.params) for one in alone.finished())


# ---- trials of processes ----

TOTAL, EVERY = 100, 10
LIGHT = """
import json, os, sys, time
folder, how = sys.argv[1], dict(word.split("=", 1) for word in sys.argv[2:])
x, kind = float(how.get("x", 0)), how.get("kind", "ok")
os.makedirs(folder)
def write(name, content, mode="w"):
    with open(f"{folder}/{name}", mode) as file:
        file.write(json.dumps(content) + chr(10))
def end(status, error=None):
    write("run.json", {"status": status, "error": error, "started": "now"})
if kind == "bug": 1 / 0
if kind == "refuse": sys.exit("error: no") if 0 else (print("error: no"), sys.exit(2))
end("running")
if kind == "hang": time.sleep(999)
if kind == "gone": os._exit(0)
if kind == "lost":
    end("failed", {"kind": "diverged", "class": "DivergedError", "message": "nan"})
    sys.exit(2)
for step in range(0, TOTAL + EVERY, EVERY):
    write("metrics.jsonl", {"step": step, "eval/success_rate": x * step / TOTAL}, "a")
    time.sleep(float(how.get("pause", 0)))
scores = {"success_rate": x + int(how["seed"]) / 10, "mean_time_to_success_s": None}
scores |= {"wilson_95": [0, 1], "failures": {}}
write("evaluation.json", {"policies": {"residual": scores}})
end("finished")
""".replace("TOTAL", str(TOTAL)).replace("EVERY", str(EVERY))
SCORE = "residual/success_rate"


class Light:
    """A program whose runs are over at once."""

    def new(self, told, folder):
        return [sys.executable, "-c", LIGHT, str(folder), *told]


class Threshold(optuna.pruners.BasePruner):
    """Stops what is below the least after 20 steps."""

    def __init__(self, least=0.1):
        self._least = least

    def prune(self, study, trial):
        return trial.last_step >= 20 and trial.intermediate_values[20] < self._least


def searched(
    tmp_path,
    trials,
    distributions,
    *,
    sampler="grid",
    pruner=None,
    objectives=(SCORE,),
    seeds=(0,),
    fixed=(),
    n_jobs=1,
    timeout_s=None,
    report="eval/success_rate",
    sign=1,
    worker="a",
):
    """Run a search; returns its trials by their only value, or by number."""
    make_sampler = sampler_of(sampler, distributions)[0]
    judge = pruner or optuna.pruners.NopPruner()
    with SweepProgress("s", 1, n_jobs) as board:
        Search(
            Plan(
                name="s",
                objectives=objectives,
                report=report,
                fixed=fixed,
                seeds=seeds,
                total=TOTAL,
                sign=sign,
            ),
            trials,
            lambda: trials.ask(distributions, make_sampler, judge),
            tmp_path / worker,
            Light(),
            board,
            n_jobs=n_jobs,
            timeout_s=timeout_s,
            heartbeat_s=0.1,
        ).run()
    return {str(*one.params.values()): one for one in trials.finished()}


def listed(*values, key="kind"):
    return {key: CategoricalDistribution(list(values))}


def test_a_failed_trial_is_recorded_and_the_search_goes_on(tmp_path):
    kinds = {"ok": "", "bug": "bug", "refuse": "config", "lost": "diverged"}
    found = searched(tmp_path, make(tmp_path, 4), listed(*kinds), n_jobs=2)
    for name, kind in kinds.items():
        assert found[name].user_attrs.get("kind", "") == kind
        assert found[name].state.name == ("COMPLETE" if name == "ok" else "FAIL")
    assert found["bug"].user_attrs["reason"] == "ZeroDivisionError: division by zero"
    assert found["ok"].user_attrs["env_steps"] == TOTAL


def test_a_trial_that_takes_too_long_has_failed(tmp_path):
    found = searched(tmp_path, make(tmp_path, 1), listed("hang"), timeout_s=0.5)
    assert found["hang"].state.name == "FAIL"
    assert found["hang"].user_attrs["kind"] == "timeout"


def test_a_trial_whose_processes_are_gone_is_tried_again_elsewhere(tmp_path):
    trials = make(tmp_path, 2)
    found = searched(tmp_path, trials, listed("gone", "ok"))
    assert {name: one.state.name for name, one in found.items()} == {
        "gone": "FAIL",
        "ok": "COMPLETE",
    }
    assert len(list((tmp_path / "a").glob("trial-*/0/run.json"))) == MOST_DEATHS + 1


def test_a_trial_is_the_mean_of_its_runs(tmp_path):
    found = searched(
        tmp_path, make(tmp_path, 2), listed("0.25", "0.5", key="x"), seeds=(1, 3)
    )
    assert found["0.25"].values == [pytest.approx(0.45)]
    assert found["0.5"].values == [pytest.approx(0.7)]
    assert found["0.5"].user_attrs["runs"] == [[0.6], [0.8]]
    assert found["0.5"].user_attrs["env_steps"] == 2 * TOTAL


def test_the_same_failure_again_and_again_stops_a_search(tmp_path):
    trials = make(tmp_path, 9)
    x = {"x": FloatDistribution(0, 1)}
    with pytest.raises(BrokenSweep, match="division by zero"):
        searched(tmp_path, trials, x, sampler="random", fixed=["kind=bug"], n_jobs=2)
    assert len(trials.finished()) == 3
    assert set(states(trials)) <= {"FAIL", "WAITING"}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("residual/succes_rate", "there is none; results are residual/"),
        ("base/success_rate", "there is none; results are residual/"),
    ],
)
def test_an_objective_that_does_not_exist_stops_a_search(tmp_path, name, said):
    trials = make(tmp_path, 9)
    with pytest.raises(BrokenSweep, match=said):
        x = {"x": FloatDistribution(0, 1)}
        searched(tmp_path, trials, x, sampler="random", objectives=[name])


def test_a_report_that_does_not_exist_stops_a_search_that_prunes(tmp_path):
    x, no_report = {"x": FloatDistribution(0, 1)}, {"report": "eval/succes_rate"}
    words = {"sampler": "random", **no_report}
    with pytest.raises(BrokenSweep, match=r"report=eval/succes_rate: metrics\.jsonl"):
        searched(tmp_path, make(tmp_path, 9), x, pruner=Threshold(), **words)
    trials = make(tmp_path, 2, name="other", worker="b")
    searched(tmp_path, trials, x, worker="b", **words)
    assert states(trials) == {"COMPLETE": 2}


def test_a_result_without_a_value_is_the_trials_own_failure(tmp_path):
    found = searched(
        tmp_path,
        make(tmp_path, 4),
        listed(*"0123", key="x"),
        objectives=["residual/mean_time_to_success_s"],
    )
    assert {one.state.name for one in found.values()} == {"FAIL"}
    assert {one.user_attrs["kind"] for one in found.values()} == {"diverged"}


@pytest.mark.parametrize("pause", [0, 0.2])
def test_a_hopeless_trial_is_pruned_whether_it_is_over_or_not(tmp_path, pause):
    trials = make(tmp_path, 2)
    found = searched(
        tmp_path,
        trials,
        listed("0.2", "0.9", key="x"),
        pruner=Threshold(),
        seeds=(0, 1),
        fixed=[f"pause={pause}"],
        n_jobs=2,
    )
    bad, good = found["0.2"], found["0.9"]
    assert (bad.state.name, good.state.name) == ("PRUNED", "COMPLETE")
    assert bad.values == [pytest.approx(0.04)]
    assert max(bad.intermediate_values) == 20
    # Steps count on; the second run's mean is with the first's; the end is no report.
    assert list(good.intermediate_values) == [*range(10, 2 * TOTAL, 10)]
    assert good.intermediate_values[110] == pytest.approx((0.9 + 0.09) / 2)
    assert not (tmp_path / "a" / f"trial-{bad.number}" / "1").exists()
    if pause:
        assert bad.user_attrs["env_steps"] < TOTAL


def test_a_search_for_little_keeps_what_is_pruned_of_a_search_for_much(tmp_path):
    """Its pruner sees the report with its sign turned: 0.2 is -0.04 after 20 steps."""
    trials = make(tmp_path, 2, directions=["minimize"])
    found = searched(
        tmp_path,
        trials,
        listed("0.2", "0.9", key="x"),
        pruner=Threshold(least=-0.1),
        sign=-1,
    )
    assert found["0.2"].state.name == "COMPLETE"
    assert found["0.9"].state.name == "PRUNED"
    assert found["0.9"].values == [pytest.approx(-0.18)]


class Through:
    """A launcher as Hydra's are: it takes a list of jobs, and comes back."""

    def launch(self, jobs, initial_job_idx):
        for told in jobs:
            *own, subdir = told
            folder = self.place / subdir.split("=", 1)[1].strip("'")
            own = [word for word in own if not word.startswith("part_of=")]
            subprocess.run([sys.executable, "-c", LIGHT, str(folder), *own])


def batched(tmp_path, trials, distributions, **plan):
    """Run a search through a launcher, two trials at a time."""
    make_sampler = sampler_of("grid", distributions)[0]
    through = Through()
    through.place = tmp_path / "a"
    told = {"objectives": (SCORE,), "report": "eval/success_rate", "fixed": ()}
    in_batches(
        Plan(**{"name": "s", "seeds": (0, 1), "total": TOTAL, **told, **plan}),
        trials,
        lambda: trials.ask(distributions, make_sampler, optuna.pruners.NopPruner()),
        through.place,
        SimpleNamespace(common=()),
        through,
        2,
    )


def test_a_launcher_runs_a_search(tmp_path):
    trials = make(tmp_path, 3)
    batched(tmp_path, trials, listed("0.1", "0.2", "0.3", key="x"))
    assert states(trials) == {"COMPLETE": 3}
    assert trials.study.best_value == pytest.approx(0.3 + 0.05)


def test_a_result_without_a_value_fails_its_trial_of_a_launcher_alone(tmp_path):
    trials = make(tmp_path, 5)
    name = "residual/mean_time_to_success_s"
    batched(tmp_path, trials, listed(*"01234", key="x"), objectives=(name,))
    assert states(trials) == {"FAIL": 5}
    kinds = {one.user_attrs["kind"] for one in trials.finished()}
    assert kinds == {"diverged"}


def test_the_same_failure_again_and_again_ends_a_search_of_a_launcher(tmp_path):
    trials = make(tmp_path, 8)
    with pytest.raises(BrokenSweep, match="there is none"):
        batched(tmp_path, trials, listed(*"01234567", key="x"), objectives=("no/such",))
    assert states(trials) == {"FAIL": 4}  # the whole batch is told


def test_of_several_objectives_none_prunes(tmp_path):
    trials = make(tmp_path, 2, directions=["maximize", "minimize"])
    found = searched(
        tmp_path,
        trials,
        listed("0.2", "0.9", key="x"),
        pruner=Threshold(),
        objectives=[SCORE, "residual/success_high"],
    )
    assert {one.state.name for one in found.values()} == {"COMPLETE"}


def test_a_search_waits_for_the_trials_of_others_and_takes_over(tmp_path):
    x = {"x": FloatDistribution(0, 1)}
    other = make(tmp_path, 2, worker="b", heartbeat_s=1, grace_s=2)
    trial = ask(other, "random", x)
    other.beat()
    trials = make(tmp_path, 2, heartbeat_s=1, grace_s=2)
    searched(tmp_path, trials, x, sampler="random")
    assert states(trials) == {"COMPLETE": 2, "FAIL": 1}
    assert trials.finished()[0].params == trial.params


def test_a_trial_that_others_took_for_dead_is_stopped(tmp_path, monkeypatch):
    trials = make(tmp_path, 1)
    beat, begun = trials.beat, time.monotonic()

    def taken():
        if states(trials)["RUNNING"] and time.monotonic() > begun + 0.5:
            make(tmp_path, 1)  # the same folder: it says that this worker is gone
            monkeypatch.setattr(trials, "beat", beat)
        return beat()

    monkeypatch.setattr(trials, "beat", taken)
    searched(tmp_path, trials, listed("ok"), fixed=["pause=0.2"])
    assert states(trials) == {"FAIL": 1, "COMPLETE": 1}


def test_a_directory_is_never_used_twice(tmp_path):
    folder = tmp_path / "a" / "trial-0" / "0"
    folder.mkdir(parents=True)
    (folder / "run.json").write_text("{}")
    trials = make(tmp_path, 1)
    with pytest.raises(SweepError, match="a run that the study does not know"):
        searched(tmp_path, trials, listed("ok"))
    assert "RUNNING" not in states(trials)


def test_a_database_that_is_lost_is_named_and_nothing_goes_on(tmp_path, monkeypatch):
    trials = make(tmp_path, 1)

    def lost(*_, **__):
        raise optuna.exceptions.StorageInternalError("gone")

    monkeypatch.setattr(trials.study, "tell", lost)
    with pytest.raises(SweepError, match="storage=sqlite"):
        searched(tmp_path, trials, listed("ok"))
    assert "RUNNING" not in states(trials)


# ---- from the command line ----


@pytest.fixture
def lab(tmp_path, monkeypatch, capsys):
    return Lab(tmp_path, monkeypatch, capsys)


def typed(*more, n_trials=4, seeds=1, n_jobs=1, sampler="random"):
    return [
        "sweep=residual",
        f"hydra/sweeper/sampler={sampler}",
        "hydra/sweeper/pruner=none",
        f"hydra.sweeper.n_trials={n_trials}",
        f"hydra.sweeper.seeds={seeds}",
        f"hydra.sweeper.n_jobs={n_jobs}",
        *more,
    ]


def study_of(lab, folder="sweep"):
    """A sweep's trials, as Optuna has them."""
    url = sqlite_url(lab.home / folder / "study.db")
    return optuna.load_study(study_name="residual", storage=url)


def ends(study):
    return Counter(one.state.name for one in study.trials)


def test_a_search_from_the_command_line(lab):
    words = ["init_from=first-kill"]
    answer = lab.run(*typed(*words, n_trials=2, seeds=2, n_jobs=2))
    assert answer.code == 0, answer.err
    study = study_of(lab)
    assert ends(study) == {"COMPLETE": 2, "FAIL": 1}
    for trial in study.trials:
        if trial.state.name == "FAIL":
            continue
        runs = [lab.run_of(f"trial-{trial.number}/{n}") for n in range(2)]
        cfgs = [run.config() for run in runs]
        assert [cfg.seed for cfg in cfgs] == [TUNING_FROM, TUNING_FROM + 1]
        assert {cfg.evaluation.role for cfg in cfgs} == {"tune"}
        alphas = {cfg.residual.alpha for cfg in cfgs}
        assert alphas == {trial.params["residual.alpha"]}
        part = {"sweep": "residual", "trial": trial.number}
        assert all(run.info["part_of"] == part for run in runs)
        rates = [run.evaluation()["policies"]["residual"] for run in runs]
        mean = sum(rate["success_rate"] for rate in rates) / 2
        assert trial.value == pytest.approx(mean)

    # The total over all calls, and never another space.
    before = len(lab.runs())
    words = typed(*words, n_trials=3, seeds=2, n_jobs=2)
    assert lab.run(*words).code == 0
    assert len(lab.runs()) == before + 2
    changed = lab.run(*words, "residual.penalty=interval(0,1)")
    assert changed.code == 2
    assert "residual.penalty" in changed.err
    assert changed.err.count("\n") <= 6


def test_three_equal_bugs_stop_a_search_and_nothing_is_left_running(lab):
    answer = lab.run(*typed("init_from=bug", n_trials=9))
    assert answer.code == 2
    assert "3 jobs in a row failed alike: ValueError: a bug" in answer.err
    assert ends(study_of(lab)) == {"FAIL": 3}


def test_pruning_ends_a_run_early(lab):
    words = [
        *("sweep=residual", "hydra/sweeper/sampler=grid", "hydra.sweeper.n_jobs=1"),
        *("hydra.sweeper.seeds=1", "total_timesteps=1500", "env.act_scale=0.05"),
        *("residual.alpha=0.6,0", "residual.penalty=0.001"),
        "hydra.sweeper.pruner.n_startup_trials=1",
        "hydra.sweeper.pruner.n_warmup_steps=100",
    ]
    answer = lab.run(*words)
    assert answer.code == 0, answer.err
    good, bad = study_of(lab).trials
    assert good.params["residual.alpha"] == "0.6"
    assert [good.state.name, bad.state.name] == ["COMPLETE", "PRUNED"]
    assert lab.status("trial-1/0") == "pruned"
    assert lab.run_of("trial-1/0").metrics()[-1]["step"] < 1500


def test_a_stopped_run_has_taken_the_steps_of_its_last_policy(tmp_path):
    (tmp_path / "metrics.jsonl").write_text('{"step": 100}\n')
    assert env_steps(tmp_path) == 100
    path = tmp_path / "checkpoints/interrupted/checkpoint.json"
    path.parent.mkdir(parents=True)
    path.write_text('{"step": 164}')
    assert env_steps(tmp_path) == 164


def test_a_search_keeps_the_settings_it_began_with(lab):
    conf = lab.home / "conf"
    shutil.copytree(CONF, conf)
    assert lab.run(*typed(n_trials=1), conf=conf).code == 0
    path = conf / "algo/ppo.yaml"
    path.write_text(path.read_text().replace("gamma: 0.", "gamma: 0.1"))
    changed = lab.run(*typed(n_trials=2), conf=conf)
    assert changed.code == 2
    assert "algo.gamma" in changed.err


def test_a_search_that_was_shot_goes_on_as_if_it_was_not(lab):
    words = typed(sampler="tpe", n_trials=3)
    assert lab.run(*words).code == 0
    whole = study_of(lab).trials
    lab.folder = lab.home / "shot"
    sweep = lab.start(*words)
    wait_until(lambda: len(lab.runs()) == 2)
    jobs = children(sweep.pid)
    sweep.kill()
    sweep.wait()
    answer = lab.run(*words)
    assert answer.code == 0, answer.err
    assert not any(is_alive(job) for job in jobs)
    study = study_of(lab, "shot")
    assert set(ends(study)) <= {"COMPLETE", "FAIL"}
    kept = [one for one in study.trials if one.state.name == "COMPLETE"]
    assert [one.params for one in kept] == [one.params for one in whole]
    assert [one.values for one in kept] == [one.values for one in whole]


def test_a_search_that_is_stopped_has_queued_what_it_was_at(lab):
    words = typed("init_from=first-hang", n_trials=2)
    sweep = lab.start(*words)
    wait_until(lambda: lab.runs() and len(lab.run_of("trial-0/0").metrics()) == 5)
    sweep.send_signal(signal.SIGINT)
    assert sweep.wait() == 130
    assert lab.status("trial-0/0") == "killed"
    study = study_of(lab)
    assert ends(study) == {"FAIL": 1, "WAITING": 1}
    assert study.trials[0].params == study.trials[1].params


def test_two_sweepers_share_a_study(lab):
    storage = f"hydra.sweeper.storage={sqlite_url(lab.home / 'shared.db')}"
    sweeps = []
    for name in ("one", "two"):
        lab.folder = lab.home / name
        sweeps.append(lab.start(*typed(storage, n_trials=4)))
    assert [sweep.wait() for sweep in sweeps] == [0, 0]
    study = optuna.load_study(
        study_name="residual", storage=sqlite_url(lab.home / "shared.db")
    )
    assert ends(study) == {"COMPLETE": 4}
    found = [*lab.home.glob("*/trial-*/0/run.json")]
    assert sorted(int(path.parts[-3][6:]) for path in found) == [0, 1, 2, 3]
    assert {path.parts[-4] for path in found} == {"one", "two"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["evaluation.role=report"], "right is tune"),
        (["seed=0,1"], "hydra.sweeper.seeds"),
        (["hydra.sweeper.seeds=101"], "at most 100"),
        (["hydra.sweeper.n_trails=3"], "n_trails"),
        (["hydra/sweeper/sampler=tpo"], "tpo"),
        (["residual.alpha=interval(0.5,2)"], "residual.alpha=2"),
        (["residual.alpha=interval(1,0)"], "the smaller first"),
        (
            ["hydra.sweeper.storage=postgresql+psycopg://me:secret@host/db"],
            "PGPASSFILE",
        ),
    ],
)
def test_a_search_that_cannot_work_leaves_nothing_behind(lab, words, said):
    answer = lab.run("sweep=residual", *words)
    assert answer.code == 2
    assert said in answer.err
    assert answer.err.count("\n") <= 6
    assert "secret" not in answer.err
    assert not lab.folder.exists()


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("seeds", 0),
        ("n_trials", 0),
        ("heartbeat_s", 0),
        ("grace_s", 10),
        ("direction", "up"),
        ("direction", ["maximize", "minimize"]),
    ],
)
def test_settings_that_make_no_sense_are_refused(key, value):
    text = (ROOT / "conf/hydra/sweeper/optuna.yaml").read_text()
    usual = {
        name: item for name, item in yaml.safe_load(text).items() if name[0] != "_"
    }
    usual |= {"seed": 0, "sampler": None, "pruner": None}
    del usual["defaults"]
    Settings(**usual)
    with pytest.raises(SweepError, match=rf"hydra\.sweeper\.{key}"):
        Settings(**usual | {key: value})

"""Searches: what becomes of the runs of trials; whole ones are in test_sweeps."""

import json
from unittest.mock import DEFAULT, Mock

import optuna
import pytest
from made_up import write
from optuna.distributions import CategoricalDistribution, FloatDistribution
from test_trials import ask, make, sampler_of, states

from so101rl.sweeps.job import SweepError
from so101rl.sweeps.outcome import BrokenSweep, Outcome
from so101rl.sweeps.search.search import Search, SearchPlan
from so101rl.sweeps.search.trials import MAX_LOSSES

TOTAL, EVERY = 100, 10
SCORE = "residual/success_rate"
X = {"x": FloatDistribution(0, 1)}
FAILURES = {
    "bug": Outcome("failed", "bug", "1 / 0"),
    "nan": Outcome("failed", "diverged", "nan"),
    "gone": Outcome("killed", "infrastructure", "ended by signal 9"),
}
BOTH = pytest.mark.parametrize("can_prune", [True, False])


class FakeRunner:
    """Runs whose success grows to `x`, or that fail as `kind` says."""

    def __init__(self, can_prune, is_slow):  # slow: writes one line at a time
        self.can_prune, self._is_slow = can_prune, is_slow
        self._running, self._pruned = {}, set()

    def start(self, job, folder):
        folder.mkdir(parents=True)
        how = dict(word.split("=") for word in job.overrides)
        self._running[job.name] = folder, how, iter(range(0, TOTAL + EVERY, EVERY))

    def prune(self, name):
        self._pruned.add(name)

    def close(self):
        self._running.clear()

    def ended(self, wait_s):
        all_ = {name: self._go_on(name, *run) for name, run in self._running.items()}
        ends = [(name, found) for name, found in all_.items() if found is not None]
        for name, _ in ends:
            del self._running[name]
        return ends

    def _go_on(self, name, folder, how, steps):
        x, kind = float(how.get("x", 0)), how.get("kind")
        if kind in FAILURES or name in self._pruned:
            return FAILURES.get(kind, Outcome("pruned"))
        for step in steps:
            line = {"step": step, "eval/success_rate": x * step / TOTAL}
            with (folder / "metrics.jsonl").open("a") as file:
                file.write(json.dumps(line) + "\n")
            if self._is_slow:
                return None
        rate = None if kind == "none" else x + int(how["seed"]) / 10
        scores = {"success_rate": rate, "wilson_95": [0, 1], "failures": {}}
        run = '{"status": "finished", "error": null, "started": "now"}'
        (folder / "run.json").write_text(run)
        policies = json.dumps({"policies": {"residual": scores}})
        (folder / "evaluation.json").write_text(policies)
        return Outcome("finished")


class Threshold(optuna.pruners.BasePruner):
    """Stops what is below the least after 20 steps."""

    def __init__(self, least):
        self._least = least

    def prune(self, study, trial):
        return trial.last_step >= 20 and trial.intermediate_values[20] < self._least


def searched(
    tmp_path, trials, values, *, least=-1, can_prune=True, is_slow=False, **plan
):
    """Run a search, two trials at a time; returns its trials by their only value."""
    make_sampler = sampler_of("random" if values is X else "grid", values)
    judge = Threshold(least)
    usual = {"objectives": (SCORE,), "seeds": (0,), "fixed": (), "total": TOTAL}
    usual |= {"name": "s", "report": "eval/success_rate"}
    Search(
        SearchPlan(**usual | plan),
        trials,
        lambda: trials.ask(values, make_sampler, judge),
        tmp_path / "a",
        FakeRunner(can_prune, is_slow),
        n_jobs=2,
        heartbeat_s=0,
    ).run()
    return {str(*one.params.values()): one for one in trials.finished()}


def listed(*values, key="kind"):
    return {key: CategoricalDistribution(values)}


@BOTH
def test_failed_trials_are_recorded_and_lost_ones_tried_again(tmp_path, can_prune):
    kinds = {"ok": None, "bug": "bug", "nan": "diverged", "gone": "infrastructure"}
    kinds["none"] = "diverged"
    trials = make(tmp_path, len(kinds))
    found = searched(tmp_path, trials, listed(*kinds), can_prune=can_prune)
    assert {name: one.user_attrs.get("kind") for name, one in found.items()} == kinds
    assert [key for key, one in found.items() if one.state.name != "FAIL"] == ["ok"]
    assert found["bug"].user_attrs["reason"] == "1 / 0"
    assert found["ok"].user_attrs["env_steps"] == TOTAL
    gone = [one for one in trials.study.trials if one.params == {"kind": "gone"}]
    assert len(gone) == MAX_LOSSES  # the same values each time


@pytest.mark.parametrize(
    ("message", "more"),
    [
        ("1 / 0", {"fixed": ["kind=bug"]}),
        ("expected one of the results: residual/", {"objectives": ["base/success_rate"],
         "can_prune": False, "seeds": (0, 1)}),
        (r"report=eval/rate: expected a metric in metrics\.jsonl",
         {"report": "eval/rate"}),
    ],
)  # fmt: skip
def test_the_same_failure_three_times_in_a_row_stops_a_search(tmp_path, message, more):
    trials = make(tmp_path, 9)
    with pytest.raises(BrokenSweep, match=message):
        searched(tmp_path, trials, X, **more)
    assert len(trials.finished()) in (3, 4)  # what ended together is recorded
    assert set(states(trials)) <= {"FAIL", "WAITING"}


@pytest.mark.parametrize("is_slow", [False, True])
def test_a_hopeless_trial_is_pruned_whether_it_is_over_or_not(tmp_path, is_slow):
    more = {"least": 0.1, "seeds": (0, 1), "is_slow": is_slow}
    x = listed("0.2", "0.9", key="x")
    found = searched(tmp_path, make(tmp_path, 2), x, **more)
    bad, good = found["0.2"], found["0.9"]
    assert (bad.state.name, good.state.name) == ("PRUNED", "COMPLETE")
    assert bad.values == [pytest.approx(0.04)]
    assert max(bad.intermediate_values) == 20
    # Steps count on; the second run's mean is with the first's; the end is no report.
    assert list(good.intermediate_values) == [*range(10, 2 * TOTAL, 10)]
    assert good.intermediate_values[110] == pytest.approx((0.9 + 0.09) / 2)
    assert not (tmp_path / "a" / f"trial-{bad.number}" / "1").exists()
    assert (bad.user_attrs["env_steps"] < TOTAL) == is_slow
    # A search for little sees its report with the sign turned: 0.2 is -0.04 here.
    trials = make(tmp_path, 2, worker="c", db="c", directions=["minimize"])
    little = searched(tmp_path / "c", trials, x, least=-0.1, sign=-1)
    assert [little[x].state.name for x in ("0.2", "0.9")] == ["COMPLETE", "PRUNED"]


@BOTH
def test_neither_several_objectives_nor_launchers_prune(tmp_path, can_prune):
    names = [SCORE, "residual/success_high"] if can_prune else [SCORE]
    trials = make(tmp_path, 1, directions=["maximize", "minimize"][: len(names)])
    more = {"objectives": names, "can_prune": can_prune, "least": 0.1}
    x = listed("0.2", key="x")
    (found,) = searched(tmp_path, trials, x, seeds=(1, 3), **more).values()
    assert found.state.name == "COMPLETE"
    assert found.values == pytest.approx([0.4, 1.0][: len(names)])  # means of its runs
    assert [one[0] for one in found.user_attrs["runs"]] == pytest.approx([0.3, 0.5])
    assert found.user_attrs["env_steps"] == 2 * TOTAL


def test_a_search_waits_for_the_trials_of_others_and_takes_over(tmp_path):
    trial = ask(make(tmp_path, 2, worker="b", heartbeat_s=1, grace_s=2), "random", X)
    trials = make(tmp_path, 2, heartbeat_s=1, grace_s=2)
    searched(tmp_path, trials, X)
    assert states(trials) == {"COMPLETE": 2, "FAIL": 1}
    assert trials.finished()[0].params == trial.params


def test_a_trial_that_others_took_for_lost_is_stopped(tmp_path, monkeypatch):
    trials = make(tmp_path, 1)
    # At the third beat the same folder says that this worker is gone.
    events = iter([states, states, lambda trials: make(tmp_path, 1)])
    beat = Mock(wraps=trials.beat)
    beat.side_effect = lambda: next(events, states)(trials) and DEFAULT
    monkeypatch.setattr(trials, "beat", beat)
    searched(tmp_path, trials, listed("ok"), is_slow=True)
    assert states(trials) == {"FAIL": 1, "COMPLETE": 1}


def test_a_directory_is_never_used_twice(tmp_path):
    write(tmp_path / "a/trial-0/0/run.json", "")
    trials = make(tmp_path, 1)
    with pytest.raises(SweepError, match="a run that the study does not know"):
        searched(tmp_path, trials, listed("ok"))
    assert "RUNNING" not in states(trials)


def test_a_database_that_is_lost_is_named_and_nothing_goes_on(tmp_path, monkeypatch):
    trials = make(tmp_path, 1)
    lost = [optuna.exceptions.StorageInternalError("gone"), DEFAULT]
    tell = Mock(wraps=trials.study.tell, side_effect=lost)
    monkeypatch.setattr(trials.study, "tell", tell)
    with pytest.raises(SweepError, match="storage=sqlite"):
        searched(tmp_path, trials, listed("ok"))
    assert states(trials) == {"FAIL": 1, "WAITING": 1}

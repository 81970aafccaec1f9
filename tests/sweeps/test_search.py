"""Searches: what becomes of the runs of trials; whole ones are in test_sweeps."""

import json

import optuna
import pytest
import yaml
from conftest import ROOT
from optuna.distributions import CategoricalDistribution, FloatDistribution
from test_trials import ask, make, sampler_of, states

from so101rl.sweeps.job import SweepError
from so101rl.sweeps.outcome import BrokenSweep, Outcome
from so101rl.sweeps.search.search import Search, SearchPlan
from so101rl.sweeps.search.trials import MAX_LOSSES
from so101rl.sweeps.search.tune import Settings

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
    """Runs whose success grows to `x`, or that fail as `kind` says.

    Args:
        can_prune: as `Processes` can, and launchers cannot.
        is_slow: whether a run writes one line of its metrics at a time.
    """

    def __init__(self, can_prune, is_slow):
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
        run = {"status": "finished", "error": None, "started": "now"}
        (folder / "run.json").write_text(json.dumps(run))
        policies = json.dumps({"policies": {"residual": scores}})
        (folder / "evaluation.json").write_text(policies)
        return Outcome("finished")


class Threshold(optuna.pruners.BasePruner):
    """Stops what is below the least after 20 steps."""

    def __init__(self, least=0.1):
        self._least = least

    def prune(self, study, trial):
        return trial.last_step >= 20 and trial.intermediate_values[20] < self._least


def searched(
    tmp_path, trials, values, *, pruner=None, can_prune=True, is_slow=False, **plan
):
    """Run a search, two trials at a time; returns its trials by their only value."""
    make_sampler = sampler_of("random" if values is X else "grid", values)
    judge = pruner or Threshold(-1)
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
    return {key: CategoricalDistribution(list(values))}


@BOTH
def test_failed_trials_are_recorded_and_lost_ones_tried_again(tmp_path, can_prune):
    kinds = {"ok": None, "bug": "bug", "nan": "diverged", "gone": "infrastructure"}
    kinds["none"] = "diverged"
    trials = make(tmp_path, len(kinds))
    found = searched(tmp_path, trials, listed(*kinds), can_prune=can_prune)
    assert {name: one.user_attrs.get("kind") for name, one in found.items()} == kinds
    ends = {name: one.state.name for name, one in found.items()}
    assert ends == dict.fromkeys(kinds, "FAIL") | {"ok": "COMPLETE"}
    assert found["bug"].user_attrs["reason"] == "1 / 0"
    assert found["ok"].user_attrs["env_steps"] == TOTAL
    assert len(trials.study.trials) == len(kinds) + MAX_LOSSES - 1
    gone = [one for one in trials.study.trials if one.params == {"kind": "gone"}]
    assert len(gone) == MAX_LOSSES  # the same values each time


@pytest.mark.parametrize(
    ("message", "more"),
    [
        ("1 / 0", {"fixed": ["kind=bug"]}),
        ("expected one of the results: residual/", {"objectives": ["residual/rate"]}),
        ("expected one of the results: residual/", {"objectives": ["base/success_rate"],
         "can_prune": False, "seeds": (0, 1)}),
        (r"report=eval/rate: metrics\.jsonl has no such number",
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
    more = {"pruner": Threshold(), "seeds": (0, 1), "is_slow": is_slow}
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


def test_a_search_for_little_keeps_what_is_pruned_of_a_search_for_much(tmp_path):
    """Its pruner sees the report with its sign turned: 0.2 is -0.04 after 20 steps."""
    trials, x = make(tmp_path, 2, directions=["minimize"]), listed("0.2", "9", key="x")
    found = searched(tmp_path, trials, x, pruner=Threshold(least=-0.1), sign=-1)
    ends = {value: one.state.name for value, one in found.items()}
    assert ends == {"0.2": "COMPLETE", "9": "PRUNED"}


@BOTH
def test_neither_several_objectives_nor_launchers_prune(tmp_path, can_prune):
    names = [SCORE, "residual/success_high"] if can_prune else [SCORE]
    trials = make(tmp_path, 1, directions=["maximize", "minimize"][: len(names)])
    more = {"objectives": names, "can_prune": can_prune, "pruner": Threshold()}
    x = listed("0.2", key="x")
    (found,) = searched(tmp_path, trials, x, seeds=(1, 3), **more).values()
    assert found.state.name == "COMPLETE"
    assert found.values == pytest.approx([0.4, 1.0][: len(names)])  # means of its runs
    assert [one[0] for one in found.user_attrs["runs"]] == pytest.approx([0.3, 0.5])
    assert found.user_attrs["env_steps"] == 2 * TOTAL


def test_a_search_waits_for_the_trials_of_others_and_takes_over(tmp_path):
    other = make(tmp_path, 2, worker="b", heartbeat_s=1, grace_s=2)
    trial = ask(other, "random", X)
    trials = make(tmp_path, 2, heartbeat_s=1, grace_s=2)
    searched(tmp_path, trials, X)
    assert states(trials) == {"COMPLETE": 2, "FAIL": 1}
    assert trials.finished()[0].params == trial.params


def test_a_trial_that_others_took_for_lost_is_stopped(tmp_path, monkeypatch):
    trials = make(tmp_path, 1)
    beat, calls = trials.beat, []

    def taken():
        calls.append(states(trials))
        if len(calls) == 3:
            make(tmp_path, 1)  # the same folder: it says that this worker is gone
        return beat()

    monkeypatch.setattr(trials, "beat", taken)
    searched(tmp_path, trials, listed("ok"), is_slow=True)
    assert calls[2] == {"RUNNING": 1}
    assert states(trials) == {"FAIL": 1, "COMPLETE": 1}


def test_a_directory_is_never_used_twice(tmp_path):
    folder = tmp_path / "a" / "trial-0" / "0"
    folder.mkdir(parents=True)
    (folder / "run.json").touch()
    trials = make(tmp_path, 1)
    with pytest.raises(SweepError, match="a run that the study does not know"):
        searched(tmp_path, trials, listed("ok"))
    assert "RUNNING" not in states(trials)


def test_a_database_that_is_lost_is_named_and_nothing_goes_on(tmp_path, monkeypatch):
    trials = make(tmp_path, 1)
    tell, calls = trials.study.tell, []

    def lost(*arguments, **more):
        calls.append(arguments)
        if len(calls) == 1:
            raise optuna.exceptions.StorageInternalError("gone")
        return tell(*arguments, **more)

    monkeypatch.setattr(trials.study, "tell", lost)
    with pytest.raises(SweepError, match="storage=sqlite"):
        searched(tmp_path, trials, listed("ok"))
    assert states(trials) == {"FAIL": 1, "WAITING": 1}


def test_settings_that_make_no_sense_are_refused():
    text = (ROOT / "conf/hydra/sweeper/optuna.yaml").read_text()
    usual = {k: v for k, v in yaml.safe_load(text).items() if k[0] != "_"}
    usual |= {"seed": 0, "sampler": None, "pruner": None}
    del usual["defaults"]
    Settings(**usual)
    for key, value in (
        *(("seeds", 0), ("n_trials", 0), ("grace_s", 10), ("report_direction", "up")),
        *(("direction", "up"), ("direction", ["maximize", "minimize"])),
    ):
        with pytest.raises(SweepError, match=rf"hydra\.sweeper\.{key}"):
            Settings(**usual | {key: value})

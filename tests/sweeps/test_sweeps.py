"""Whole sweeps: every job a process, none takes others along, none is run twice."""

import json
import shutil
import signal
from collections import Counter

import optuna
import pytest
import sweeping
import yaml
from conftest import CONF, SHORT
from made_up import write
from sweeping import children, is_alive, wait_until

from so101rl.config.threads import n_threads
from so101rl.runs.sweep_dir import SweepDir
from so101rl.seeds import TUNING_FROM
from so101rl.sweeps.search.storage import sqlite_url

lab = sweeping.lab
GRID, SEARCH = "n_envs=4,8", "sweep=residual"
ONE, TWO = "hydra.sweeper.n_jobs=1", "hydra.sweeper.n_jobs=2"


def test_all_combinations_run_and_only_once(lab):
    lab.folder = lab.home / """it's "ünï",c=[→]{e} \\"""  # any name will do
    words = ["residual.alpha=0.3,0.7", "seed=0,1", TWO]
    infos = []
    for _ in range(2):  # the second has nothing to run
        answer = lab.run(*words)
        assert answer.code == 0 and "4 finished" in answer.out, answer.err
        found = [lab.run_of(str(number)) for number in range(4)]
        infos.append([run.info for run in found])
    assert infos[0] == infos[1]
    values = [(run.config().residual.alpha, run.config().seed) for run in found]
    assert values == [(0.3, 0), (0.3, 1), (0.7, 0), (0.7, 1)]
    assert all(run.info["part_of"] == {"sweep": lab.folder.name} for run in found)
    assert {run.config().n_threads for run in found} == {max(1, n_threads(None) // 2)}
    with SweepDir.at(lab.folder).locked():
        busy = lab.run(*words)
    assert busy.code == 2 and "a process is running this sweep" in busy.err
    dry = lab.run(*words, "hydra.sweeper.dry_run=true")
    assert dry.out == "4 of 4 jobs are done\n"
    others = lab.run("residual.alpha=0.3,0.7", "seed=0,1,2", TWO)
    assert others.code == 2 and others.err.count("\n") <= 6
    assert "holds a sweep of other settings" in others.err
    assert len(lab.runs()) == 4


def test_failures_stay_with_their_jobs(lab):
    falls = ["null", "bug", "nan", "exit", "refuse", "first-kill", "first-gone"]
    words = [f"init_from={','.join(falls)}", "n_threads=1", TWO]
    answer = lab.run(*words)
    assert answer.code == 2 and answer.err.count("\n") <= 6
    assert "6 of 7 jobs gave no result" in answer.err
    assert "ValueError: a bug" in answer.err
    infos = {name: lab.run_of(name).info for name in lab.runs()}
    assert {name: info["status"] for name, info in infos.items()} == {
        **{"0": "finished", "1": "failed", "2": "failed", "3": "failed"},
        **{"5": "killed", "6": "killed"},  # 4 was refused
    }
    kinds = [info["error"]["kind"] for info in infos.values() if info["error"]]
    assert kinds == ["bug", "diverged", "bug", *["infrastructure"] * 2]
    info = SweepDir.open(lab.folder).info
    assert info["status"] == "failed" and "6 of 7 jobs" in info["error"]["message"]
    assert (info["name"], info["group"]) == ("sweep", None)
    assert info["groups"]["env"] == "paper_push"
    assert "hydra/sweeper" not in info["groups"]
    assert "| 4 |  | failed | init_from=refuse |" in answer.out

    # Killed jobs go on; those that failed by themselves have failed.
    assert "4 of 7 jobs gave no result" in lab.run(*words).err
    assert all(lab.run_of(name).info == infos[name] for name in "0123")
    for name in "56":
        run = lab.run_of(name)
        assert run.info["status"] == "finished"
        assert [one["step"] for one in run.info["resumed"]] == [50]
        assert [line["step"] for line in run.metrics()] == [*range(10, 101, 10)]
        assert run.config().n_threads == 1


def test_the_same_failure_again_and_again_stops_a_sweep(lab):
    answer = lab.run("init_from=bug", "seed=range(0,9)", ONE)
    assert answer.code == 2
    assert "3 jobs in a row failed for the same reason: ValueError: a bug" in answer.err
    assert lab.runs() == ["0", "1", "2"]


def typed(lab, *more, n_trials=2, seeds=1, sampler="random", pruner="none"):
    sweeper = {"n_trials": n_trials, "seeds": seeds, "n_jobs": seeds}
    sweeper["storage"] = sqlite_url(lab.home / "shared.db")
    groups = [f"hydra/sweeper/sampler={sampler}", f"hydra/sweeper/pruner={pruner}"]
    words = [f"hydra.sweeper.{key}={value}" for key, value in sweeper.items()]
    return ["sweep=residual", *groups, *words, *more]


def trials_of(lab, database="shared.db"):
    """A sweep's trials, as Optuna has them, and how many ended how."""
    url = sqlite_url(lab.home / database)
    trials = optuna.load_study(study_name="residual", storage=url).trials
    return trials, Counter(one.state.name for one in trials)


def test_a_search_from_the_command_line(lab):
    answer = lab.run(*typed(lab, "init_from=first-kill", seeds=2))
    assert answer.code == 0, answer.err
    assert "**Best of 2 trials: residual/success_rate" in answer.out
    trials, ends = trials_of(lab)
    assert ends == {"COMPLETE": 2, "FAIL": 1}
    for trial in (one for one in trials if one.state.name == "COMPLETE"):
        rates, part = [], {"sweep": "residual", "trial": trial.number}
        for n in range(2):
            run = lab.run_of(f"trial-{trial.number}/{n}")
            cfg = run.config()
            assert (cfg.seed, cfg.evaluation.role) == (TUNING_FROM + n, "tune")
            assert cfg.residual.alpha == trial.params["residual.alpha"]
            assert run.info["part_of"] == part
            rates.append(run.evaluation()["policies"]["residual"]["success_rate"])
        assert trial.value == pytest.approx(sum(rates) / 2)

    # The total over all calls, and never another space or other settings.
    before = len(lab.runs())
    words = typed(lab, "init_from=first-kill", n_trials=3, seeds=2)
    assert lab.run(*words).code == 0
    assert len(lab.runs()) == before + 2
    for word in ("residual.penalty=interval(0,1)", "algo.gamma=0.5"):
        changed = lab.run(*words, word)
        assert changed.code == 2 and changed.err.count("\n") <= 6
        assert word.split("=")[0] in changed.err


def test_pruning_ends_a_run_early(lab):
    pruner = "hydra.sweeper.pruner"
    answer = lab.run(
        *typed(lab, "total_timesteps=1500", sampler="grid", pruner="median"),
        *("env.act_scale=0.05", "residual.alpha=0.6,0", "residual.penalty=0.001"),
        *(f"{pruner}.n_startup_trials=1", f"{pruner}.n_warmup_steps=100"),
    )
    assert answer.code == 0, answer.err
    (good, bad), _ = trials_of(lab)
    assert good.params["residual.alpha"] == "0.6"
    assert [good.state.name, bad.state.name] == ["COMPLETE", "PRUNED"]
    assert lab.run_of("trial-1/0").info["status"] == "pruned"
    assert lab.run_of("trial-1/0").metrics()[-1]["step"] < 1500


@pytest.mark.parametrize(
    ("number", "code", "ends"),
    [
        (signal.SIGINT, 130, {"FAIL": 1, "WAITING": 1}),
        (signal.SIGTERM, 143, {"FAIL": 1, "WAITING": 1}),
        (signal.SIGKILL, -9, {"RUNNING": 1}),
    ],
)
def test_jobs_end_with_their_search_and_go_on_with_it(lab, number, code, ends):
    words = typed(lab, "init_from=first-hang")
    sweep, name = lab.start(*words), "trial-0/0"
    wait_until(lambda: lab.runs() and len(lab.run_of(name).metrics()) == 5)
    (job,) = children(sweep.pid)
    sweep.send_signal(number)
    assert sweep.wait() == code
    wait_until(lambda: not is_alive(job))
    info = lab.run_of(name).info
    assert (info["status"], info["error"]["kind"]) == ("killed", "stopped")
    assert trials_of(lab)[1] == ends
    assert lab.run(*words).code == 0
    trials, ends = trials_of(lab)
    assert ends == {"FAIL": 1, "COMPLETE": 2}
    assert trials[0].params == trials[1].params


@pytest.mark.slow
def test_jobs_and_searches_run_through_joblib_and_go_on(lab):
    """Its workers import the program anew: the trainings are real ones, and tiny."""
    pytest.importorskip("hydra_plugins.hydra_joblib_launcher")

    def run(*typed):
        words = (*SHORT, "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", *typed)
        code = lab.start(*words).wait(300)
        assert code == 0, (lab.home / "said").read_text()

    infos = []
    for _ in range(2):  # the second call has nothing to run
        run("seed=0,1")
        infos.append([lab.run_of(name).info for name in ("0", "1")])
    assert infos[0] == infos[1]
    assert {info["status"] for info in infos[0]} == {"finished"}
    assert [info["seed"] for info in infos[0]] == [0, 1]
    lab.folder = lab.home / "search"
    for n_trials in (2, 3):
        own = (f"hydra.sweeper.n_trials={n_trials}", "hydra.sweeper.seeds=2")
        run("sweep=residual", *own)
        assert trials_of(lab, "search/study.db")[1] == {"COMPLETE": n_trials}
    assert len(lab.runs()) == 6


STUDY = {
    **{"question": "Does it matter?", "metric": "residual/success_rate"},
    "arms": {"low": ["residual.alpha=0.3"], "high-1.0": ["residual.alpha=1"]},
    **{"reference": "low", "seeds": 2, "significance": 0.05},
    **{"test": "paired_permutation", "correction": "holm"},
}


@pytest.fixture
def study(lab):
    """Run `experiment=small`, a study with some of its keys changed."""
    conf = shutil.copytree(CONF, lab.home / "conf")

    def run(*typed, **changes):
        text = yaml.safe_dump({"study": STUDY | changes}, sort_keys=False)
        write(conf / "experiment/small.yaml", f"# @package _global_\n{text}")
        return lab.run("experiment=small", *typed, conf=conf)

    return run


def test_a_study_registers_then_runs_every_arm_with_the_same_seeds(lab, study):
    def registered():
        return json.loads((lab.folder / "registration.json").read_text())

    assert study("seed=1,1", ONE).code == 0  # some of its seeds may go first
    assert lab.runs() == ["high-1.0/seed-1", "low/seed-1"]
    assert "some of the registered seeds, 0 to 1" in study("seed=0,2").err
    answer = study(ONE)
    assert answer.code == 0, answer.err
    assert answer.out.count("| 2 of 2 |") == 2
    promised = registered()
    assert (promised["name"], promised["deviations"]) == ("small", [])
    assert promised["study"] == STUDY | {"seeds": [0, 1]}
    assert promised["settings"]["low"]["residual.alpha"] == 0.3
    assert SweepDir.open(lab.folder).info["group"] == "arm"

    names = ["low/seed-1", "high-1.0/seed-1", "low/seed-0", "high-1.0/seed-0"]
    runs = [lab.run_of(name) for name in names]
    started = [run.info["started"] for run in runs]
    assert promised["registered"] < started[0]
    assert started == sorted(started)  # a study that is stopped has all arms
    own = [(cfg.seed, cfg.residual.alpha) for cfg in (run.config() for run in runs)]
    assert own == [(1, 0.3), (1, 1), (0, 0.3), (0, 1)]
    part_of = {"sweep": "small", "arm": "low", "registration": promised["sha256"]}
    assert runs[2].info["part_of"] == part_of

    # Another promise is a deviation, printed and kept; the runs stay what they were.
    for _ in range(2):
        answer = study(ONE, significance=0.1)
        assert "DEVIATION" in answer.out
        (deviation,) = registered()["deviations"]
        assert deviation["changes"] == ["study.significance: 0.05 -> 0.1"]
    assert registered()["study"] == promised["study"]
    assert [lab.run_of(name).info for name in names] == [run.info for run in runs]


@pytest.mark.parametrize(
    ("sweep", "message"),
    [
        ([GRID, "seed=interval(0,3)"], "interval"),
        ([GRID, "residual.alpha=0.5,2"], "residual.alpha=2"),
        ([GRID, "init_from=latest"], "init_from"),
        ([SEARCH, "evaluation.role=report"], "expected tune"),
        ([SEARCH, "seed=0,1"], "hydra.sweeper.seeds"),
        ([SEARCH, "hydra.sweeper.seeds=101"], "at most 100"),
        ([SEARCH, "hydra.sweeper.seeds=0"], "hydra.sweeper.seeds=0"),
        ([SEARCH, "hydra.sweeper.grace_s=10"], "hydra.sweeper.grace_s"),
        ([SEARCH, "hydra.sweeper.report_direction=up"], "report_direction"),
        ([SEARCH, "hydra.sweeper.direction=up"], "hydra.sweeper.direction"),
        ([SEARCH, "hydra.sweeper.direction=[maximize,minimize]"], "sweeper.direction"),
        ([SEARCH, "hydra/sweeper/sampler=tpo"], "tpo"),
        ([SEARCH, "residual.alpha=interval(0.5,2)"], "residual.alpha=2"),
        ({"arms": {"low": [], "x": ["residual.alpha=0.1,0.2"]}}, "one value"),
        ({"arms": {"low": [], "x": ["residual.alhpa=1"]}}, "residual.alpha"),
        ({"seeds": 0}, "study.seeds=0"),
        ({"sedes": 3}, "sedes"),
        ({"metric": "residual/succes_rate"}, "metric=residual/succes_rate"),
        ({"metric": "residual on hard/success_rate"}, "study.metric=residual on hard"),
        ({"metric": "residual/mean_final_typo"}, "residual/mean_final_distance_m"),
        ({"reference": "lowest"}, "study.reference=lowest"),
        ({"arms": {f"a{n}": [] for n in range(10)}}, "2 to 9 arms"),
        ({"arms": {"low": [], "../x": []}}, "it becomes a folder"),
        ({"correction": "none"}, "study.correction=none"),
    ],
)
def test_a_sweep_that_cannot_work_leaves_nothing_behind(lab, study, sweep, message):
    answer = study(**sweep) if isinstance(sweep, dict) else lab.run(*sweep)
    assert answer.code == 2 and answer.err.count("\n") <= 6
    assert message in answer.err
    assert not lab.folder.exists()


def test_a_study_with_too_few_seeds_warns_before_it_runs(study):
    answer = study("job=evaluate", "hydra.sweeper.dry_run=true", seeds=3)
    assert "VERDICT POSSIBLE: study.seeds=3: expected 6 or more for 1" in answer.out

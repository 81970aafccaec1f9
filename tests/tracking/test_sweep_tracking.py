"""A sweep has one run of its own in MLflow, above those of its jobs."""

import json
import os
import shutil
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from omegaconf import OmegaConf
from run_dirs import GROUPS, create

from so101rl.files import read_json, to_json
from so101rl.runs.lock import Lock
from so101rl.runs.run_dir import RunDir
from so101rl.runs.signals import Terminated
from so101rl.runs.sweep_dir import SweepDir, find_sweeps, sweep_of, write_summary
from so101rl.tracking.base import followed
from so101rl.tracking.delivery import deliver
from so101rl.tracking.links import links
from so101rl.tracking.mlflow import MlflowTracker

WHAT = {"search residual.alpha": "0.2 to 1", "seeds": [7, 8]}
STARTED = "2026-11-21T12:00:00.000+00:00"
FACTS = {"name": "tiny", "groups": GROUPS, "group": "arm"}
TEXT = "**Best of 2 trials: residual/success_rate 0.87**\n"


def settled(path, what=WHAT):
    """A folder that says what its sweep is, as the sweeper leaves it."""
    path.mkdir(parents=True, exist_ok=True)
    first = {"command": "main.py -m sweep=tiny", "started": STARTED, "git": None}
    (path / "sweep.json").write_text(to_json({**first, "what": what}))
    return path


def begun(path, what=WHAT):
    sweep = SweepDir.open(settled(path, what))
    sweep.begin(**FACTS)
    return sweep


def found(sweep, best=0.87, alpha=0.5):
    metrics = {"best/residual/success_rate": best, "trials/complete": 2.0}
    write_summary(sweep.path, TEXT, metrics, {"trial": 1, "residual.alpha": alpha})
    for name in ("trials.csv", "figures/search.png"):
        sweep.file(name).write_text("x")


def job(sweep, name, **more):
    """A run of a sweep that has finished."""
    cfg = {"seed": 3, "part_of": {"sweep": "tiny", "arm": name}, **more}
    run = create(sweep.path / name, cfg=cfg)
    run.finish("finished")
    return run


def tracker(store):
    return MlflowTracker(uri=store, experiment="so101rl/{env}")


def mirror(run, store):
    own = tracker(store)
    if isinstance(run, SweepDir):
        own = own.of_sweeps()
    own.start(run)
    own.finish(run)


def tracking(uri):
    node = {"_target_": "so101rl.tracking.mlflow.MlflowTracker", "uri": uri}
    more = {"experiment": "so101rl/{env}"}
    return OmegaConf.create({"trackers": {"mlflow": {**node, **more}}})


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A store with tables and nothing in it: to make them takes seconds."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    tracker(f"sqlite:///{path}")._store.open(GROUPS)
    return path


@pytest.fixture
def store(tmp_path, empty):
    shutil.copy(empty, tmp_path / "mlflow.db")
    return f"sqlite:///{tmp_path / 'mlflow.db'}"


@pytest.fixture
def sweep(tmp_path):
    return begun(tmp_path / "multirun" / "tiny")


def recorded(store, words):
    """What MLflow has, by the tags that are asked for."""
    from mlflow import MlflowClient

    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("so101rl/paper_push")
    return client.search_runs([experiment.experiment_id], words)


def parent_of(store, sweep):
    (one,) = recorded(store, f"tags.uid = '{sweep.info['uid']}'")
    return one


def ended(sweep, error=None):
    """The sweep has come to its end."""
    with pytest.raises(type(error)) if error else sweep.lifecycle():
        if error:
            with sweep.lifecycle():
                raise error
    return sweep


# ---- what MLflow gets ----


def test_a_sweep_has_a_run_above_those_of_its_jobs(sweep, store):
    own = tracker(store).of_sweeps()
    own.start(sweep)
    assert parent_of(store, sweep).info.status == "RUNNING"
    runs = [job(sweep, name) for name in ("one", "two")]
    for run in runs:
        mirror(run, store)
    found(sweep)
    own.finish(ended(sweep))
    parent = parent_of(store, sweep)
    assert parent.info.run_name == "tiny"
    assert parent.info.status == "FINISHED"
    children = recorded(store, f"tags.mlflow.parentRunId = '{parent.info.run_id}'")
    assert {child.data.tags["uid"] for child in children} == {
        run.info["uid"] for run in runs
    }


def test_one_can_filter_by_what_a_job_was_part_of(sweep, store):
    mirror(job(sweep, "alpha-0.5"), store)
    mirror(job(sweep, "alpha-1"), store)
    mirror(ended(sweep), store)
    (one,) = recorded(store, "tags.arm = 'alpha-0.5'")
    assert one.info.run_name == "alpha-0.5"  # its folder below the sweep's
    assert one.data.tags["seed"] == "3"
    assert len(recorded(store, "tags.sweep = 'tiny'")) == 3  # and the sweep's own


def test_a_sweeps_run_says_what_it_is_and_what_it_found(sweep, store):
    from mlflow import MlflowClient

    found(sweep)
    mirror(ended(sweep), store)
    parent = parent_of(store, sweep)
    assert parent.data.params == {key: str(value) for key, value in WHAT.items()}
    assert parent.data.metrics["best/residual/success_rate"] == 0.87
    tags = parent.data.tags
    assert tags["best.residual.alpha"] == "0.5" and tags["best.trial"] == "1"
    assert tags["mlflow.note.content"].startswith(TEXT.strip())
    assert "main.py -m sweep=tiny" in tags["mlflow.note.content"]
    files = {
        item.path for item in MlflowClient(store).list_artifacts(parent.info.run_id)
    }
    assert files == {
        *("sweep.json", "summary.md", "summary.json", "trials.csv", "figures"),
    }


def test_going_on_changes_the_run_and_adds_none(sweep, store):
    found(sweep)
    mirror(ended(sweep, KeyboardInterrupt()), store)
    stopped = parent_of(store, sweep)
    assert stopped.info.status == "KILLED"
    assert "The same command goes on" in stopped.data.tags["mlflow.note.content"]
    assert stopped.data.tags["error"].startswith("KeyboardInterrupt")
    again = SweepDir.open(sweep.path)
    again.begin(**FACTS)
    assert again.info["uid"] == sweep.info["uid"]
    write_summary(sweep.path, TEXT, {"best/residual/success_rate": 0.9}, {"trial": 2})
    mirror(ended(again), store)
    parent = parent_of(store, sweep)
    assert parent.info.run_id == stopped.info.run_id
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["best/residual/success_rate"] == 0.9
    best = {key: own for key, own in parent.data.tags.items() if "best" in key}
    assert best == {"best.trial": "2"}
    assert "error" not in parent.data.tags
    assert "Killed" not in parent.data.tags["mlflow.note.content"]


def test_jobs_that_were_first_are_put_below_their_sweep_later(sweep, store):
    run = job(sweep, "one")
    mirror(run, store)
    (child,) = recorded(store, "tags.arm = 'one'")
    assert "mlflow.parentRunId" not in child.data.tags
    mirror(ended(sweep), store)
    (child,) = recorded(store, "tags.arm = 'one'")
    parent = parent_of(store, sweep).info.run_id
    assert child.data.tags["mlflow.parentRunId"] == parent
    mirror(run, store)  # delivered again
    assert len(recorded(store, "tags.arm = 'one'")) == 1


def test_a_job_in_another_experiment_is_below_its_sweep_too(sweep, store):
    from mlflow import MlflowClient

    own = tracker(store).of_sweeps()
    own.start(sweep)
    cfg = {"seed": 3, "part_of": {"sweep": "tiny"}}
    groups = {**GROUPS, "env": "pick_place"}
    run = create(sweep.path / "one", cfg=cfg, groups=groups)
    run.finish("finished")
    mirror(run, store)
    other = MlflowClient(store).get_experiment_by_name("so101rl/pick_place")
    (child,) = MlflowClient(store).search_runs([other.experiment_id])
    parent = parent_of(store, sweep).info.run_id
    assert child.data.tags["mlflow.parentRunId"] == parent


def test_a_run_without_its_sweep_is_mirrored_all_the_same(sweep, store, tmp_path):
    run = job(sweep, "one")
    shutil.move(run.path, tmp_path / "elsewhere")
    mirror(RunDir.open(tmp_path / "elsewhere"), store)
    (alone,) = recorded(store, "tags.arm = 'one'")
    assert alone.info.status == "FINISHED"
    assert not {"sweep_uid", "mlflow.parentRunId"} & alone.data.tags.keys()


def test_a_run_beside_the_jobs_is_none_of_them(sweep, store):
    run = create(sweep.path / "mine", cfg={"seed": 3})
    run.finish("finished")
    mirror(run, store)
    (alone,) = recorded(store, f"tags.uid = '{run.info['uid']}'")
    assert "sweep_uid" not in alone.data.tags


def test_the_newest_sweeps_have_a_link_to_their_runs(tmp_path, store):
    started = [f"2026-11-{day:02}T12:00:00+00:00" for day in range(20, 27)]
    for day in started:
        sweep = begun(tmp_path / day)
        sweep.info |= {"started": day, "name": f"on {day[:10]}"}
        sweep.begin(**FACTS)
        mirror(ended(sweep), store)
    page, *sweeps = links(Path(store.removeprefix("sqlite:///")), "http://server")
    assert page.startswith("so101rl/paper_push: http://server/#/experiments/")
    names = [line.partition(":")[0] for line in sweeps]
    assert names == [f"sweep on 2026-11-{day}" for day in (26, 25, 24, 23, 22)]
    query = parse_qs(sweeps[0].rpartition("?")[2])
    assert query["searchFilter"] == [f'tags.sweep_uid = "{sweep.info["uid"]}"']


def test_names_that_mlflow_does_not_take_are_changed(tmp_path, store):
    sweep = begun(tmp_path / "sweep", {"search +algo@x": "1"})
    write_summary(sweep.path, TEXT, {"residual/success_rate/a+b": 1.0}, {"+x": 2})
    mirror(ended(sweep), store)
    parent = parent_of(store, sweep)
    assert parent.data.params == {"search _algo_x": "1"}
    assert parent.data.metrics == {"residual/success_rate/a_b": 1.0}
    assert parent.data.tags["best._x"] == "2"


# ---- the folder ----


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "finished"),
        (ValueError("boom"), "failed"),
        (KeyboardInterrupt(), "killed"),
        (Terminated(), "killed"),
    ],
)
def test_the_status_of_a_sweep_is_truthful(sweep, error, status):
    assert read_json(sweep.path / "sweep.json")["status"] == "running"
    ended(sweep, error)
    info = SweepDir.open(sweep.path).info
    assert info["status"] == status
    assert info["what"] == WHAT
    assert (info["error"] is None) == (error is None)


def test_a_sweep_whose_process_is_gone_was_killed(sweep):
    lock = Lock(sweep.path / ".lock")
    assert lock.take()
    assert not SweepDir.open(sweep.path).update_status()
    lock.free()
    log = sweep.path / "one.log"
    log.touch()
    os.utime(log, (2e9, 2e9))
    assert SweepDir.open(sweep.path).update_status()
    info = SweepDir.open(sweep.path).info
    assert info["status"] == "killed" and info["error"]["class"] == "ProcessGone"
    assert info["ended"].startswith("2033-05-18")
    assert not SweepDir.open(sweep.path).update_status()


def test_a_sweep_that_was_refused_before_it_began_is_none(tmp_path):
    folder = settled(tmp_path / "refused")
    assert sweep_of(folder / "one") is None
    assert find_sweeps([tmp_path]) == []


def test_sweeps_are_found_and_runs_are_not_searched(sweep, tmp_path):
    run = job(sweep, "one")
    begun(run.path / "inside")
    two = begun(tmp_path / "two")
    assert [one.path for one in find_sweeps([tmp_path])] == [sweep.path, two.path]
    assert sweep_of(run.path).info["uid"] == sweep.info["uid"]


# ---- delivery ----


def test_sync_delivers_a_sweep_exactly_once(sweep, store):
    trackers = tracking(store).trackers
    lock = Lock(sweep.path / ".lock")
    assert lock.take()
    assert deliver(sweep, trackers) == "mlflow has to wait: the sweep is running"
    lock.free()
    assert deliver(SweepDir.open(sweep.path), trackers) == "mlflow has it"
    assert parent_of(store, sweep).info.status == "KILLED"
    assert deliver(SweepDir.open(sweep.path), trackers) == "mlflow had it"
    found(sweep)
    assert deliver(SweepDir.open(sweep.path), trackers) == "mlflow has it"
    assert parent_of(store, sweep).data.tags["best.trial"] == "1"


def test_sync_delivers_sweeps_before_their_runs(store, run_main, tmp_path):
    sweep = ended(begun(tmp_path / "multirun" / "tiny"))
    job(sweep, "one")
    code, said, _ = run_main("job=sync", "tracking=mlflow", f"tracking.uri={store}")
    assert code == 0
    first, second, last = said.out.splitlines()
    assert first == f"{sweep.path}: mlflow has it"
    assert second == f"{sweep.path / 'one'}: mlflow has it"
    assert last == "1 runs and 1 sweeps, 0 not delivered"
    (child,) = recorded(store, "tags.arm = 'one'")
    parent = parent_of(store, sweep).info.run_id
    assert child.data.tags["mlflow.parentRunId"] == parent


def test_a_tracker_without_sweeps_gets_none(sweep):
    node = {"_target_": "so101rl.tracking.tensorboard.TensorboardTracker"}
    chosen = OmegaConf.create({"trackers": {"tensorboard": node}})
    assert deliver(sweep, chosen.trackers) == "tensorboard keeps no sweeps"
    with followed(
        SweepDir.open(sweep.path), chosen, name="tiny", groups=GROUPS, group="arm"
    ):
        pass
    assert SweepDir.open(sweep.path).info["status"] == "finished"


def test_trackers_follow_a_sweep_in_a_process_of_their_own(tmp_path, store):
    folder, chosen = settled(tmp_path / "sweep"), tracking(store)
    with followed(
        SweepDir.open(folder), chosen, name="tiny", groups=GROUPS, group="arm"
    ):
        sweep = SweepDir.open(folder)
        found(sweep)
    parent = parent_of(store, sweep)
    assert parent.info.status == "FINISHED"
    assert parent.data.tags["best.trial"] == "1"
    assert deliver(SweepDir.open(folder), chosen.trackers) == "mlflow had it"


def test_mlflow_being_down_never_costs_a_sweep(tmp_path, monkeypatch, capfd):
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    folder, chosen = settled(tmp_path / "sweep"), tracking("http://127.0.0.1:9")
    with followed(
        SweepDir.open(folder), chosen, name="tiny", groups=GROUPS, group="arm"
    ):
        pass
    assert SweepDir.open(folder).info["status"] == "finished"
    (warning,) = [line for line in capfd.readouterr().err.splitlines() if line]
    assert "mlflow stopped at start" in warning
    assert warning.endswith("deliver it later: python main.py job=sync")


def test_a_sweep_may_have_more_jobs_than_parameters_fit(tmp_path, store):
    what = {f"job {number}": f"seed={number}" for number in range(101)}
    sweep = begun(tmp_path / "sweep", what)
    mirror(ended(sweep), store)
    assert parent_of(store, sweep).data.params == {}
    assert json.loads((sweep.path / "sweep.json").read_text())["what"] == what

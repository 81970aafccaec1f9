"""MLflow mirrors runs, and sweeps above the runs of their jobs, each exactly once."""

import json
import shutil
import sqlite3
import subprocess
import sys
from pathlib import Path
from urllib.parse import parse_qs

import pytest
from conftest import config_of
from mlflow import MlflowClient
from omegaconf import OmegaConf
from run_dirs import CONFIG, GROUPS, SWEEP, begun, create, defined, scores

from so101rl.config.schema import NEUTRAL_KEYS, settings
from so101rl.figures.style import GROUP_COLOURS
from so101rl.runs.run_dir import RunDir
from so101rl.runs.summary import run_summary
from so101rl.runs.sweep_dir import SweepDir, write_summary
from so101rl.tracking import Mirror, TrackerError
from so101rl.tracking.base import followed
from so101rl.tracking.links import links, main
from so101rl.tracking.mlflow import MlflowTracker
from so101rl.tracking.mlflow_store import KIND, MlflowStore

NOTE, PARENT = "mlflow.note.content", "mlflow.parentRunId"
TEXT = "**Best of 2 trials: residual/success_rate 0.87**\n"


@pytest.fixture(scope="module")
def empty(tmp_path_factory):
    """A store with tables and nothing in it: to make them takes seconds."""
    path = tmp_path_factory.mktemp("empty") / "mlflow.db"
    with MlflowStore(f"sqlite:///{path}", "").client() as client:
        client.search_experiments()
    return path


@pytest.fixture
def store(tmp_path, empty):
    """A store whose folder needs quoting in a URI."""
    (tmp_path / "a store").mkdir()
    return f"sqlite:///{shutil.copy(empty, tmp_path / 'a store')}"


@pytest.fixture
def sweep(tmp_path):
    return begun(tmp_path / "tiny")


def job(sweep, name, groups=GROUPS, **more):
    """A run of a sweep that has finished."""
    cfg = {**CONFIG, "part_of": {"sweep": "tiny", "arm": name}, **more}
    run = create(sweep.path / name, cfg=cfg, groups=groups)
    run.finish("finished")
    return run


def tracker(store):
    return MlflowTracker(uri=store, experiment="so101rl/{env}")


def mirror(run, store):
    own = tracker(store)
    own = own.of_sweeps() if isinstance(run, SweepDir) else own
    for step in (own.start, own.push, own.finish):
        step(run)


def recorded(store, words="tags.uid != ''"):
    client = MlflowClient(store)
    known = [one.experiment_id for one in client.search_experiments()]
    return client.search_runs(known, words)


def mirrored(store, run):
    (one,) = recorded(store, f"tags.uid = '{run.info['uid']}'")
    return one


def history(store, run, name):
    found = MlflowClient(store).get_metric_history(run.info.run_id, name)
    return [(metric.step, metric.value) for metric in found]


def test_mlflow_holds_what_the_run_directory_holds(tmp_path, store, monkeypatch):
    send, sizes = MlflowClient.log_batch, []

    def log_batch(client, run_id, metrics=(), params=(), tags=()):
        sizes.append((len(metrics), len(params)))
        send(client, run_id, metrics, params, tags)

    monkeypatch.setattr(MlflowClient, "log_batch", log_batch)
    base = {"_target_": "so101rl.base_policies.zero.Zero", "gain": 2}
    cfg = {**CONFIG, "residual": {"alpha": [0.5] * 6}, "base_policy": base}
    cfg |= {"tracking": {"uri": store}, "run": str(tmp_path), "long": "x" * 7000}
    run = create(tmp_path / "run", cfg=cfg, init_from={"name": "calm-otter"})
    lines = [(step, step / 1000) for step in range(1, 301)]
    for step, value in lines:
        run.log(step, {f"reward/{i}": value for i in range(5)}, {"time/fps": 1.0})
    base = {**scores(40, jammed=60), "mean_time_to_success_s": None}
    run.write_evaluation({"policies": {"base": base}})
    run.file("figures/summary.png").write_bytes(b"png")
    run.finish("finished")
    mirror(run, store)
    found = mirrored(store, run)
    assert history(store, found, "reward/4") == lines
    assert (1000, 0) in sizes and max(sizes)[0] == 1000  # a server takes no more
    assert history(store, found, "base/success_rate") == [(0, 0.4)]  # drawn as a bar
    assert (found.info.status, found.info.run_name) == ("FINISHED", run.info["name"])
    metrics, params = found.data.metrics, found.data.params
    assert metrics["base/failures/jammed"] == 60 and metrics["time/fps"] == 1.0
    assert "base/mean_time_to_success_s" not in metrics
    assert found.data.tags[NOTE] == run_summary(RunDir.open(run.path))
    wanted = {"seed": "3", "base_policy.gain": "2", "init_from": "calm-otter"}
    wanted |= {"residual.alpha": str([0.5] * 6), "long": "x" * 6000}
    assert params.items() >= {**GROUPS, **wanted}.items()
    for key in params:
        assert not key.startswith((*NEUTRAL_KEYS, "job")) and "._" not in key
    keys = settings(config_of())
    for key in NEUTRAL_KEYS:
        assert any(f"{known}.".startswith(f"{key}.") for known in keys), key
    files = MlflowClient(store).list_artifacts(found.info.run_id)
    names = {"run.json", "evaluation.json", "figures", ".hydra"}
    assert names <= {item.path for item in files}
    assert list(tmp_path.glob("a store/mlruns/*/*/figures/summary.png"))
    mirror(run, store)  # again: nothing is added
    again = mirrored(store, run)
    assert history(store, again, "reward/4") == lines
    assert history(store, again, "base/success_rate") == [(0, 0.4)]
    assert again.data.tags == found.data.tags


def test_a_run_that_goes_on_keeps_its_mirror_and_gets_its_true_status(tmp_path, store):
    run = create(tmp_path / "run")
    run.log(1, {"a": 1.0})
    size = run.log_size()
    run.log(2, {"a": 2.0})
    with pytest.raises(TrackerError, match="has ended"):
        mirror(run, store)
    assert mirrored(store, run).info.status == "RUNNING"
    run.finish("killed", KeyboardInterrupt())
    mirror(run, store)
    found = mirrored(store, run)
    assert found.info.status == "KILLED"
    assert found.data.tags["error"] == "KeyboardInterrupt: stopped by Ctrl+C"
    assert "Killed" in found.data.tags[NOTE]
    with run.locked():
        run.reopen(step=1, metrics=size, resume="exact")
    run.log(2, {"a": 2.0})
    run.finish("pruned")
    mirror(run, store)
    found = mirrored(store, run)
    assert (found.info.status, found.data.tags["status"]) == ("KILLED", "pruned")
    assert "error" not in found.data.tags and "Pruned" in found.data.tags[NOTE]
    assert history(store, found, "a") == [(1, 1.0), (2, 2.0)]


def test_an_experiment_that_somebody_made_opens_on_its_runs_too(tmp_path, store):
    made = MlflowClient(store).create_experiment("theirs", tags={"theirs": "kept"})
    MlflowStore(store, "theirs").open({})
    tags = MlflowClient(store).get_experiment(made).tags
    assert tags.items() >= {"theirs": "kept", **KIND}.items()
    with pytest.raises(TrackerError, match=r"'enw'.*expected \{env\}"):
        MlflowStore(store, "x/{enw}").open({"env": "paper_push"})


@pytest.mark.parametrize("count", [2, pytest.param(8, marks=pytest.mark.slow)])
def test_many_processes_open_a_fresh_store_at_once(tmp_path, count):
    program = (
        "import sys; from so101rl.tracking.mlflow_store import MlflowStore\n"
        "import mlflow; print('ready', flush=True); input()\n"
        "print(MlflowStore(sys.argv[1], 'x').open({})[1])"
    )
    command = [sys.executable, "-c", program, f"sqlite:///{tmp_path}/new/m.db"]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    workers = [subprocess.Popen(command, **pipes) for _ in range(count)]
    assert {worker.stdout.readline() for worker in workers} == {"ready\n"}
    for worker in workers:
        print(file=worker.stdin, flush=True)
    assert {worker.communicate(timeout=120)[0] for worker in workers} == {"1\n"}
    with sqlite3.connect(tmp_path / "new" / "m.db") as database:
        assert database.execute("pragma integrity_check").fetchone() == ("ok",)


def test_a_sweeps_run_says_what_it_is_and_what_it_has_found_so_far(sweep, store):
    metrics = {"best/residual/success_rate": 0.87, "on/a+b": 2.0}
    write_summary(sweep.path, TEXT, metrics, {"trial": 1, "+residual.alpha": 0.5})
    for name in ("trials.csv", "figures/search.png"):
        sweep.file(name).write_text("x")
    with sweep.lifecycle():
        pass
    mirror(sweep, store)
    found = mirrored(store, sweep)
    assert (found.info.run_name, found.info.status) == ("tiny", "FINISHED")
    assert found.data.params == {"search residual.alpha": "0.2 to 1", "seeds": "[7, 8]"}
    assert found.data.metrics == {"best/residual/success_rate": 0.87, "on/a_b": 2.0}
    tags = found.data.tags
    assert tags.items() >= {"best._residual.alpha": "0.5", "best.trial": "1"}.items()
    assert tags[NOTE].startswith(TEXT.strip())
    assert "main.py -m sweep=tiny" in tags[NOTE]
    files = MlflowClient(store).list_artifacts(found.info.run_id)
    names = {"sweep.json", "summary.md", "summary.json", "trials.csv", "figures"}
    assert {item.path for item in files} == names
    with pytest.raises(KeyboardInterrupt), sweep.lifecycle():
        raise KeyboardInterrupt
    mirror(sweep, store)
    stopped = mirrored(store, sweep)  # the same run, which changes
    assert stopped.info.status == "KILLED"
    assert "The same command continues the sweep" in stopped.data.tags[NOTE]
    assert stopped.data.tags["error"].startswith("KeyboardInterrupt")
    sweep.begin(**SWEEP)
    write_summary(sweep.path, TEXT, {"on/a+b": 3.0}, {"trial": 2})
    with sweep.lifecycle():
        pass
    mirror(sweep, store)
    found = mirrored(store, sweep)
    assert (found.info.status, found.data.metrics["on/a_b"]) == ("FINISHED", 3.0)
    tags = found.data.tags
    assert {key: tags[key] for key in tags if "best" in key} == {"best.trial": "2"}
    assert "error" not in tags and "Killed" not in tags[NOTE]


def test_jobs_are_below_their_sweep_whichever_is_mirrored_first(sweep, store, tmp_path):
    first = job(sweep, "alpha-0.5", residual={"alpha": 0.25})
    mirror(first, store)
    assert PARENT not in mirrored(store, first).data.tags
    tracker(store).of_sweeps().start(sweep)
    assert PARENT in mirrored(store, first).data.tags
    second = job(sweep, "other", {**GROUPS, "env": "pick_place"})  # and experiment
    mirror(second, store)
    mirror(first, store)  # delivered again
    parent = mirrored(store, sweep).info.run_id
    for run in (first, second):
        assert mirrored(store, run).data.tags[PARENT] == parent
    (one,) = recorded(store, "tags.arm = 'alpha-0.5'")  # one can filter by it
    assert one.info.run_name == "alpha-0.5 residual.alpha=0.25"
    assert one.data.tags["seed"] == "3"
    assert len(recorded(store, "tags.sweep = 'tiny'")) == 3  # and the sweep's own
    shutil.move(job(sweep, "one").path, tmp_path / "elsewhere")
    for run in (RunDir.open(tmp_path / "elsewhere"), create(sweep.path / "mine")):
        tracker(store).start(run)  # they are no jobs of it
        assert not {"sweep_uid", PARENT} & mirrored(store, run).data.tags.keys()


def test_jobs_of_a_plain_sweep_are_named_by_the_overrides_that_differ(tmp_path, store):
    what = {f"job {number}": f"n_envs=4 seed={number}" for number in range(101)}
    sweep = begun(tmp_path / "sweep", what)
    tracker(store).of_sweeps().start(sweep)
    tracker(store).start(job(sweep, "7"))
    names = {one.info.run_name: one.data.params for one in recorded(store)}
    assert set(names) == {"tiny", "7 seed=7"}
    assert names["tiny"] == {}  # MLflow takes a hundred parameters


def test_links_lead_to_experiments_and_the_newest_sweeps(
    sweep, store, monkeypatch, capsys
):
    file, own = Path(store.removeprefix("sqlite:///")), tracker(store).of_sweeps()
    assert links(file.with_name("absent.db"), "x") == links(file, "x") == []
    for day in range(20, 27):  # one more than there are colours
        started = f"2026-11-{day}T12:00:00+00:00"
        sweep.info |= {"started": started, "name": f"on {day}", "uid": str(day)}
        own.start(sweep)
    newest, *others = (one.data.tags["mlflow.runColor"] for one in recorded(store))
    assert sorted(others) == sorted(GROUP_COLOURS) and newest == others[-1]
    monkeypatch.setattr(sys, "argv", ["links", str(file), "http://server"])
    main()
    page, *sweeps = capsys.readouterr().out.splitlines()
    number = MlflowClient(store).get_experiment_by_name("so101rl/paper_push")
    address = f"http://server/#/experiments/{number.experiment_id}/runs?"
    assert page.startswith(f"so101rl/paper_push: {address}") and address in sweeps[0]
    names = [line.partition(":")[0] for line in sweeps]
    assert names == [f"sweep on {day}" for day in range(26, 21, -1)]
    query = parse_qs(sweeps[0].rpartition("?")[2])
    assert query["searchFilter"] == ['tags.sweep_uid = "26"']
    assert query["workflowType"] == ["machine_learning"]


def test_a_sweep_and_its_run_are_followed_and_sync_delivers_what_a_store_lacks(
    tmp_path, store, run_main
):
    folder = tmp_path / "multirun" / "tiny"
    node = {"_target_": "so101rl.tracking.mlflow.MlflowTracker", "uri": store}
    chosen = {"trackers": {"mlflow": {**node, "experiment": "so101rl/{env}"}}}
    with followed(defined(folder), OmegaConf.create(chosen), **SWEEP):
        run = create(folder / "one", cfg={**CONFIG, "part_of": {"sweep": "tiny"}})
        with Mirror({"mlflow": tracker(store)}).follow(run), run.lifecycle():
            run.log(1, {"a": 1.0})
        write_summary(folder, TEXT, {}, {"trial": 1})
    sweep = SweepDir.open(folder)

    def sync(uri, *more):
        uri = "tracking.uri=" + json.dumps(uri)
        code, shown, _ = run_main("job=sync", "tracking=mlflow", uri, *more)
        return code, shown.out.splitlines(), shown.err

    def delivered(uri):
        parent, child = mirrored(uri, sweep), mirrored(uri, run)
        assert parent.info.status == child.info.status == "FINISHED"
        assert parent.data.tags["best.trial"] == "1"
        assert child.data.tags[PARENT] == parent.info.run_id
        assert history(uri, child, "a") == [(1, 1.0)]

    delivered(store)
    other = f"sqlite:///{shutil.copy(store[10:], tmp_path / 'b.db')}"
    total = "1 runs and 1 sweeps, 0 not delivered"
    for uri, result in ((store, "already has it"), (other, "has received it")):
        both = [f"{path}: mlflow {result}" for path in (folder, run.path)]
        assert sync(uri) == (0, [*both, total], "")  # the sweep first
    delivered(other)
    (tmp_path / "file").touch()
    code, _, error = sync(f"sqlite:///{tmp_path}/file/b.db", f"run={run.path}")
    assert code == 2 and "1 of 1 runs could not be delivered" in error

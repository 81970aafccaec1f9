"""The run directory tells the truth, byte for byte, and nothing leaves it."""

import json
import os
import signal
import subprocess
import sys
import threading

import numpy as np
import pytest
from hydra.errors import InstantiationException
from hydra.utils import instantiate
from run_dirs import GROUPS, create, episode

from so101rl.errors import ConfigError, DivergedError, So101Error
from so101rl.files import FileError, UnsafePath, inside, read_jsonl, write_atomic
from so101rl.runs.episodes_csv import COLUMNS, EpisodeRowError
from so101rl.runs.metrics_log import BadMetric
from so101rl.runs.provenance import git_state, readable_name
from so101rl.runs.run_dir import RunDir, RunDirError, find_runs
from so101rl.runs.signals import Terminated
from so101rl.runs.status_dir import BusyError


@pytest.fixture
def run(tmp_path):
    return create(tmp_path / "run")


def read(run, name):
    return json.loads((run.path / name).read_text())


def test_create_records_where_the_run_comes_from(run):
    info = read(run, "run.json")
    assert info == run.info
    assert info["status"] == "running"
    assert info["command"] == "main.py seed=3"
    assert info["groups"] == GROUPS
    assert info["seeds"] == {"root": 3}
    assert info["name"].startswith("jacobian-ppo-")
    assert info["versions"]["numpy"] == np.__version__
    assert info["cpu_count"] == os.cpu_count()


def test_create_drops_hydras_own_groups_and_empty_choices(tmp_path):
    groups = {"env": "fetch", "hydra/launcher": "basic", "experiment": None}
    assert create(tmp_path, groups=groups).info["groups"] == {"env": "fetch"}


def test_config_comes_back_resolved_and_strict(run):
    config = RunDir.open(run.path).config()
    assert config.twice == 0.5
    with pytest.raises(Exception, match="not in struct"):
        config.typo = 1


def test_a_directory_holds_one_run(run):
    with pytest.raises(RunDirError, match="already holds a run"):
        create(run.path)


def test_open_refuses_what_is_no_run(tmp_path):
    with pytest.raises(RunDirError, match=r"no run\.json"):
        RunDir.open(tmp_path)


def test_unwritable_place_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="file/run"):
        create(tmp_path / "file" / "run")


def test_same_metrics_give_same_bytes(tmp_path):
    lines = []
    for name in ("a", "b"):
        run = create(tmp_path / name)
        run.log(64, {"b/x": np.float32(0.5), "a/y": 1}, {"time/fps": 7.0})
        run.log(128, {"a/y": 0.1 + 0.2})
        lines.append((run.path / "metrics.jsonl").read_bytes())
    assert lines[0] == lines[1]
    assert lines[0].splitlines() == [
        b'{"a/y": 1, "b/x": 0.5, "step": 64}',
        b'{"a/y": 0.30000000000000004, "step": 128}',
    ]


def test_every_metric_line_has_its_timing_line(run):
    run.log(64, {"a": 1}, {"time/fps": 7.0})
    run.log(64, {"b": 1})
    lines = (run.path / "timings.jsonl").read_text().splitlines()
    assert [json.loads(line)["step"] for line in lines] == [64, 64]
    assert json.loads(lines[0])["time/fps"] == 7.0


@pytest.mark.parametrize("value", [float("nan"), float("inf"), np.float32("-inf")])
def test_non_finite_metric_is_named_and_nothing_is_written(run, value):
    with pytest.raises(BadMetric, match=r"train/loss is .* at step 64"):
        run.log(64, {"good": 1.0, "train/loss": value})
    assert run.metrics() == []
    assert not (run.path / "timings.jsonl").exists()


def test_clock_metrics_stay_out_of_metrics(run):
    with pytest.raises(BadMetric, match="time/fps"):
        run.log(64, {"time/fps": 1.0})


@pytest.mark.parametrize("name", ["step", "", "a\nb", "x" * 300])
def test_bad_metric_names_are_refused(run, name):
    with pytest.raises(BadMetric):
        run.log(1, {name: 1.0})


def test_steps_never_go_back_even_after_reopening(run):
    run.log(64, {"a": 1})
    with pytest.raises(BadMetric, match="step 32 comes after step 64"):
        RunDir.open(run.path).log(32, {"a": 1})


def test_torn_last_line_is_left_alone(run):
    run.log(64, {"a": 1})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"a": 2, "st')
    assert run.metrics() == [{"a": 1, "step": 64}]


def test_damaged_line_is_an_error(run):
    (run.path / "metrics.jsonl").write_text("rubbish\n")
    with pytest.raises(FileError, match=r"metrics\.jsonl"):
        run.metrics()


@pytest.mark.parametrize(
    ("raised", "status"),
    [
        (ValueError("boom"), "failed"),
        (SystemExit(1), "failed"),
        (KeyboardInterrupt(), "killed"),
        (Terminated(), "killed"),
    ],
)
def test_lifecycle_records_how_the_run_ended(run, raised, status):
    with pytest.raises(type(raised)), run.lifecycle():
        raise raised
    info = read(run, "run.json")
    assert info["status"] == status
    assert info["error"]["class"] == type(raised).__name__
    assert info["ended"] >= info["started"]


class Act:
    def __init__(self, scale):
        if scale < 0:
            raise ConfigError("env.act_scale", got=scale, expected="a number > 0")
        raise ValueError("boom")


@pytest.mark.parametrize(
    ("scale", "named"),
    [
        (-1, ("ConfigError", "env.act_scale=-1: expected a number > 0.")),
        (1, ("ValueError", "boom")),
    ],
)
def test_run_json_holds_the_sentence_without_hydras_words(run, scale, named):
    node = {"a": {"_target_": f"{__name__}.Act", "scale": scale}}
    with pytest.raises(InstantiationException), run.lifecycle():
        instantiate({"_target_": "builtins.dict", **node})
    error = read(run, "run.json")["error"]
    assert (error["class"], error["message"]) == named


def test_run_json_says_who_stopped_a_run(run):
    run.finish("killed", KeyboardInterrupt())
    assert read(run, "run.json")["error"]["message"] == "stopped by Ctrl+C"
    run.finish("killed", Terminated())
    assert read(run, "run.json")["error"]["message"] == "stopped by SIGTERM"


def test_lifecycle_finishes_and_restores_the_signal_handler(run):
    before = signal.getsignal(signal.SIGTERM)
    with run.lifecycle():
        assert signal.getsignal(signal.SIGTERM) is not before
    assert signal.getsignal(signal.SIGTERM) is before
    assert read(run, "run.json")["status"] == "finished"
    assert read(run, "run.json")["wall_clock_s"] >= 0


def test_lifecycle_keeps_a_status_set_inside(run):
    with run.lifecycle():
        run.finish("killed")
    assert read(run, "run.json")["status"] == "killed"


def test_lifecycle_works_in_a_thread(run):
    def job():
        with run.lifecycle():
            pass

    thread = threading.Thread(target=job)
    thread.start()
    thread.join()
    assert run.info["status"] == "finished"


def test_sigterm_kills_truthfully(tmp_path):
    program = (
        "import sys, time; from so101rl.runs.run_dir import RunDir\n"
        "run = RunDir.create(sys.argv[1], cfg={'seed': 0}, command='x')\n"
        "with run.lifecycle():\n  print('up', flush=True); time.sleep(60)\n"
    )
    arguments = [sys.executable, "-c", program, str(tmp_path / "run")]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"up\n"
        process.terminate()
        assert process.wait(10) == 143
    assert RunDir.open(tmp_path / "run").info["status"] == "killed"


def test_finish_knows_its_statuses(run):
    with pytest.raises(RunDirError, match="finished, failed, killed"):
        run.finish("done")


def test_evaluation_round_trip(run):
    assert run.evaluation() is None
    run.write_evaluation({"policies": {"base": {"success_rate": 0.4}}})
    assert run.evaluation() == {"policies": {"base": {"success_rate": 0.4}}}


def test_evaluation_refuses_nan_by_its_place(run):
    with pytest.raises(So101Error, match="policies/base/mean_return is nan"):
        run.write_evaluation({"policies": {"base": {"mean_return": float("nan")}}})
    assert run.evaluation() is None


def test_episodes_are_plain_csv(run):
    run.write_episodes([episode(policy="base", time_to_success_s=None)])
    (row,) = run.episodes()
    assert row["time_to_success_s"] is None
    assert row["is_success"] is False
    assert row["return"] == 0.0
    lines = (run.path / "episodes.csv").read_text().splitlines()
    assert lines == [",".join(COLUMNS), "base,0,0,0,0,0,0,0,,0,0"]


def test_episodes_refuse_a_wrong_column(run):
    with pytest.raises(EpisodeRowError, match="'sucess'"):
        run.write_episodes([episode(sucess=1)])


@pytest.mark.parametrize(
    "name",
    ["../x", "a/../../x", "/etc/passwd", "", "a//b", "..", ".", "a\0b", "a\\b", "a\n"],
)
def test_names_never_leave_the_run_directory(run, name):
    with pytest.raises(UnsafePath):
        run.file(name)


@pytest.mark.parametrize("name", ["x" * 300, "%2e%2e/x y", "\u2025/x", "~/x"])
def test_odd_names_are_refused(run, name):
    with pytest.raises(UnsafePath):
        run.file(name)


def test_links_never_leave_the_run_directory(run, tmp_path):
    (run.path / "out").symlink_to(tmp_path)
    with pytest.raises(UnsafePath, match="link"):
        run.file("out/x")


def test_write_atomic_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_atomic(path, "old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_find_runs_oldest_first(tmp_path):
    runs = [create(tmp_path / name) for name in ("b/deep", "a")]
    runs[0].info["started"] = "2026-01-01"
    runs[0].finish("finished")
    found = find_runs([tmp_path, tmp_path / "a", tmp_path / "absent"])
    assert [run.path.name for run in found] == ["deep", "a"]


def git(folder, *args):
    identity = ["-c", "user.name=x", "-c", "user.email=x@x"]
    subprocess.run(["git", "-C", folder, *identity, *args], check=True)


def test_git_state_sees_tracked_and_untracked_changes(tmp_path):
    assert git_state(tmp_path) is None
    git(tmp_path, "init", "-q")
    assert git_state(tmp_path) is None
    (tmp_path / "a").write_text("1")
    git(tmp_path, "add", "a")
    git(tmp_path, "commit", "-qm", "a")
    clean = git_state(tmp_path)
    (tmp_path / "a").write_text("2")
    changed = git_state(tmp_path)
    (tmp_path / "new").write_text("3")
    extended = git_state(tmp_path)
    assert len(clean["commit"]) == 40
    assert not clean["dirty"] and clean["diff_sha256"] is None
    assert changed["dirty"] and changed["diff_sha256"] != extended["diff_sha256"]


def test_git_state_ignores_a_repository_further_up(tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "commit", "-qm", "a", "--allow-empty")
    (tmp_path / "below").mkdir()
    assert git_state(tmp_path / "below") is None


def test_spoken_names_are_stable_and_many():
    assert readable_name("abc") == readable_name("abc")
    assert len({readable_name(str(i)) for i in range(1000)}) > 500


def test_import_is_cheap():
    heavy = ("torch", "mlflow", "matplotlib", "scipy", "numpy", "omegaconf")
    program = (
        "import sys, so101rl.runs.run_dir\n"
        f"print([m for m in {heavy} if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"


def test_a_log_that_lost_lines_is_not_gone_on_with(run):
    run.log(64, {"a": 1.0})
    size = run.log_size()
    run.finish("killed")
    (run.path / "metrics.jsonl").write_text("")
    with pytest.raises(FileError, match=r"metrics\.jsonl has 0 bytes"):
        go_on(run, 64, size)


def test_whose_fault_it_is_is_written_down(tmp_path):
    kinds = {
        ConfigError("seed", got=1, expected="2"): "config",
        DivergedError("the reward", "nan"): "diverged",
        OSError(28, "No space left"): "infrastructure",
        MemoryError(): "infrastructure",
        ZeroDivisionError(): "bug",
    }
    for number, (error, kind) in enumerate(kinds.items()):
        run = create(tmp_path / str(number))
        with pytest.raises(type(error)), run.lifecycle():
            raise error
        assert read(run, "run.json")["error"]["kind"] == kind


def test_a_run_that_goes_on_cuts_what_comes_after(run):
    run.log(64, {"a": 1.0})
    size = run.log_size()
    run.log(128, {"a": 2.0})
    run.log(192, {"a": 3.0})
    clocks = (run.path / "timings.jsonl").read_text()
    run.finish("killed")
    for _ in range(3):  # also if it is killed before it has written them again
        again = go_on(run, 64, size)
        assert [line["step"] for line in again.metrics()] == [64]
        again.log(128, {"a": 2.0})
        again.finish("killed")
    again = go_on(run, 64, size)
    for step in (128, 192, 256):
        again.log(step, {"a": step / 64})
    assert [line["step"] for line in again.metrics()] == [64, 128, 192, 256]
    assert (run.path / "timings.jsonl").read_text().startswith(clocks)
    assert len(again.info["resumed"]) == 4


def test_clocks_of_another_course_are_forgotten(run):
    """Where a resumed run is not exact, a line may come at another step."""
    run.log(64, {"a": 1.0})
    size = run.log_size()
    run.log(128, {"a": 2.0})
    run.log(192, {"a": 3.0})
    run.finish("killed")
    again = go_on(run, 64, size)
    again.log(130, {"a": 2.0})
    again.log(194, {"a": 3.0})
    for name in ("metrics", "timings"):
        lines = read_jsonl(run.path / f"{name}.jsonl")[0]
        assert [line["step"] for line in lines] == [64, 130, 194]


def go_on(run, step, size):
    again = RunDir.open(run.path)
    with again.locked():
        again.reopen(step=step, metrics=size, resume="exact")
    return again


def test_only_one_process_holds_a_run(run):
    one, two = RunDir.open(run.path), RunDir.open(run.path)
    with pytest.raises(BusyError, match="is running this run"), one.locked():
        pass
    assert not one.update_status()
    run.finish("finished")
    with one.locked(), pytest.raises(BusyError), two.locked():
        pass
    with two.locked():
        pass


def test_who_waited_sees_how_it_ended_meanwhile(run):
    stale = RunDir.open(run.path)
    run.finish("finished")
    with stale.locked():
        assert stale.info["status"] == "finished"


def test_provenance_has_what_a_rebuild_needs(run):
    found = read(run, "provenance.json")
    assert found["command"] == "main.py seed=3"
    assert found["packages"]["mujoco"] == found_version("mujoco")
    assert list(found["models_sha256"]) == ["assets/so101.xml"]
    assert len(found["code_sha256"]) == 64
    assert found["cpu"]


def found_version(package):
    from importlib.metadata import version

    return version(package)


def test_ten_thousand_odd_names_stay_inside_or_are_refused(tmp_path):
    rng = np.random.default_rng(0)
    parts = [
        "..",
        ".",
        "/",
        "\\",
        "a",
        "%2e",
        "\0",
        "\n",
        "~",
        "é",
        "CON",
        " ",
        "x" * 300,
    ]
    root = tmp_path / "run"
    root.mkdir()
    (root / "out").symlink_to(tmp_path)
    refused = 0
    for _ in range(10_000):
        count = rng.integers(1, 6)
        name = "".join(rng.choice([*parts, "out", "/"]) for _ in range(count))
        try:
            path = inside(root, name)
        except UnsafePath:
            refused += 1
        else:
            assert path.resolve().is_relative_to(root.resolve()), name
            assert path != root
    assert 5_000 < refused < 10_000

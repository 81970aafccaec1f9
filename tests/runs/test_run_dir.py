"""The run directory is truthful, byte for byte; no file is written outside of it."""

import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from importlib.metadata import version
from unittest import mock

import numpy as np
import pytest
from run_dirs import COLUMNS, GROUPS, create, episode

from so101rl.errors import ConfigError, DivergedError, So101Error
from so101rl.files import FileError, UnsafePath, read_jsonl, write_atomic
from so101rl.runs.episodes_csv import EpisodeRowError
from so101rl.runs.metrics import policy_scores
from so101rl.runs.metrics_log import BadMetric
from so101rl.runs.provenance import changes_since, full_name, git_state, readable_name
from so101rl.runs.run_dir import RunDir, RunDirError
from so101rl.runs.signals import REASONS
from so101rl.runs.status_dir import BusyError


@pytest.fixture
def run(tmp_path):
    return create(tmp_path / "run")


def read(run, name="run.json"):
    return json.loads((run.path / name).read_text())


def test_a_run_tells_where_it_comes_from(tmp_path):
    groups = {**GROUPS, "hydra/launcher": "basic", "experiment": None}
    run = create(tmp_path / "run", groups=groups)
    info, found = read(run), read(run, "provenance.json")
    shown = {"status": "running", "seeds": {"root": 3}, "groups": GROUPS}
    assert info == run.info == info | shown
    assert info["name"].startswith("jacobian-ppo-s3-")
    config = RunDir.open(run.path).config()
    assert config.twice == 0.5
    with pytest.raises(Exception, match="not in struct"):
        config.typo = 1
    assert full_name({"job": "evaluate"}, 0, "x").startswith("evaluate-s0-")
    assert len({readable_name(str(i)) for i in range(1000)}) > 500
    assert info["versions"]["numpy"] == np.__version__
    assert info["cpu_count"] == os.cpu_count() and found["cpu"]
    assert info["command"] == found["command"] == "main.py seed=3"
    assert found["packages"]["mujoco"] == version("mujoco")
    assert list(found["models_sha256"]) == ["assets/so101.xml"]
    assert changes_since(run.info) == []
    info["versions"]["mujoco"] = "1.0"
    assert changes_since({**info, "code_sha256": "x", "git": None}) == [
        f"mujoco: 1.0 -> {version('mujoco')}",
        "code: it was that of commit (unknown)",
    ]


def test_a_directory_that_is_taken_missing_or_unwritable_is_named(run, tmp_path):
    with pytest.raises(RunDirError, match="already holds a run"):
        create(run.path)
    with pytest.raises(RunDirError, match=r"no run\.json"):
        RunDir.open(tmp_path)
    (tmp_path / "file").write_text("")
    with pytest.raises(FileError, match="file/run"):
        create(tmp_path / "file" / "run")


def test_same_metrics_give_same_bytes_and_each_line_its_timing(run):
    run.log(64, {"b/x": np.float32(0.5), "a/y": 1}, {"time/fps": 7.0})
    run.log(64, {"a/y": 0.1 + 0.2})
    assert (run.path / "metrics.jsonl").read_bytes().splitlines() == [
        b'{"a/y": 1, "b/x": 0.5, "step": 64}',
        b'{"a/y": 0.30000000000000004, "step": 64}',
    ]
    first, second = read_jsonl(run.path / "timings.jsonl")[0]
    assert (first["step"], second["step"], first["time/fps"]) == (64, 64, 7.0)


def test_a_bad_metric_is_named_and_nothing_is_written(run):
    for name, value, message in (
        ("train/loss", float("nan"), "train/loss is nan at step 64"),
        ("train/loss", np.float32("-inf"), "train/loss is -inf at step 64"),
        ("time/fps", 1.0, "time/fps depends on the clock"),
        ("step", 1.0, "expected a name such as"),
        ("a\nb", 1.0, "expected a name such as"),
    ):
        with pytest.raises(BadMetric, match=message):
            run.log(64, {"good": 1.0, name: value})
    assert run.metrics() == []
    assert not (run.path / "timings.jsonl").exists()


def test_a_log_goes_on_after_a_torn_line_never_back_and_never_after_rubbish(run):
    run.log(64, {"a": 1})
    with (run.path / "metrics.jsonl").open("a") as file:
        file.write('{"a": 2, "st')
    assert run.metrics() == [{"a": 1, "step": 64}]
    with pytest.raises(BadMetric, match="step 32 comes after step 64"):
        RunDir.open(run.path).log(32, {"a": 1})
    (run.path / "metrics.jsonl").write_text("rubbish\n")
    with pytest.raises(FileError, match=r"metrics\.jsonl"):
        run.metrics()


@pytest.mark.parametrize(
    ("raised", "status", "kind", "message"),
    [
        (ValueError("boom"), "failed", "bug", "boom"),
        (ConfigError("seed", got=1, expected="2"), "failed", "config", "seed=1: expe"),
        (DivergedError("the reward", "nan"), "failed", "diverged", "the reward is not"),
        (OSError(28, "No space left"), "failed", "infrastructure", "No space left"),
        (SystemExit(1), "failed", "bug", "1"),
        (signal.SIGINT, "killed", "stopped", "stopped by Ctrl+C"),
        (signal.SIGTERM, "killed", "stopped", "stopped by SIGTERM"),
        (signal.SIGUSR1, "pruned", "stopped", "pruned by its sweep"),
    ],
)
def test_lifecycle_records_how_the_run_ended(run, raised, status, kind, message):
    before = signal.getsignal(signal.SIGTERM)
    reason = REASONS.get(raised) or type(raised)
    with pytest.raises(reason), run.lifecycle():
        if raised not in REASONS:
            raise raised
        signal.raise_signal(raised)
    assert signal.getsignal(signal.SIGTERM) is before
    info = read(run)
    assert (info["status"], info["error"]["kind"]) == (status, kind)
    assert info["error"]["class"] == reason.__name__
    assert message in info["error"]["message"]
    assert info["ended"] >= info["started"] and info["wall_clock_s"] >= 0


def test_lifecycle_works_in_a_thread_and_keeps_a_status_set_inside(run):
    def job():
        with run.lifecycle():
            run.finish("killed")

    with ThreadPoolExecutor() as threads:
        threads.submit(job).result()
    assert read(run)["status"] == "killed"
    with pytest.raises(RunDirError, match="expected one of finished, failed, killed"):
        run.finish("done")


def test_results_are_read_as_written_and_bad_ones_are_named(run):
    assert run.evaluation() is None
    assert run.episodes() == run.tests() == []
    with pytest.raises(So101Error, match="policies/base/mean_return=nan"):
        run.write_evaluation({"policies": {"base": {"mean_return": float("nan")}}})
    assert run.evaluation() is None
    scores = {"policies": {"base": {"success_rate": 0.4}}}
    run.write_evaluation(scores)
    assert run.evaluation() == scores
    run.write_episodes([episode(policy="base", time_to_success_s=None)])
    (row,) = run.episodes()
    found = row["time_to_success_s"], row["is_success"], row["return"]
    assert found == (None, False, 0.0)
    lines = (run.path / "episodes.csv").read_text().splitlines()
    assert lines == [",".join(COLUMNS), "base,0,0,0,0,0,0,0,,0,0"]
    with pytest.raises(EpisodeRowError, match="'sucess'"):
        run.write_episodes([episode(sucess=1)])


def test_scores_are_computed_from_the_episodes():
    won = episode(is_success=True, time_to_success_s=2.0, final_distance_m=0.5, seed=9)
    lost = episode(is_success=False, time_to_success_s=None, failure="jammed")
    assert policy_scores([won, lost, lost, lost], root=3, role="report") == {
        **{"success_rate": 0.25, "mean_return": 0.0, "mean_final_distance_m": 0.125},
        "mean_final_yaw_error_rad": 0.0,
        **{"mean_time_to_success_s": 2.0, "mean_residual_l2": 0.0, "n_episodes": 4},
        "wilson_95": pytest.approx([0.0456, 0.6994], abs=1e-4),
        "failures": {"jammed": 3},
        "seeds": {"role": "report", "root": 3, "first": 9, "n": 4},
    }
    assert policy_scores([lost], root=3, role="tune")["mean_time_to_success_s"] is None


def test_no_name_and_no_link_leads_out_of_the_run_directory(run, tmp_path):
    (run.path / "out").symlink_to(tmp_path)
    outside = ["../x", "a/../../x", "/etc/passwd", "%2e%2e/x y", "~/x", "out/x"]
    odd = ["", "a//b", ".", "a\0b", "a\\b", "a\n", "x" * 300, "\u2025/x"]
    for name in outside + odd:
        with pytest.raises(UnsafePath):
            run.file(name)


def test_write_atomic_leaves_the_old_file_when_it_fails(tmp_path, monkeypatch):
    path = tmp_path / "x.json"
    write_atomic(path, "old")
    full = mock.Mock(side_effect=OSError(28, "No space left on device"))
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match="No space left"):
        write_atomic(path, "new")
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_git_state_sees_every_change_in_this_repository(tmp_path):
    def git(*args):
        identity = ["-c", "user.name=x", "-c", "user.email=x@x"]
        subprocess.run(["git", "-C", tmp_path, *identity, *args], check=True)

    assert git_state(tmp_path) is None
    git("init", "-q")
    assert git_state(tmp_path) is None
    (tmp_path / "a").touch()
    git("add", "a")
    git("commit", "-qm", "a")
    clean = git_state(tmp_path)
    assert len(clean.pop("commit")) == 40
    assert clean == {"dirty": False, "diff_sha256": None}
    hashes = set()
    for name in "ab":  # a change, and a new file
        (tmp_path / name).write_text("2")
        changed = git_state(tmp_path)
        assert changed["dirty"]
        hashes.add(changed["diff_sha256"])
    assert len(hashes) == 2
    (tmp_path / "below").mkdir()
    assert git_state(tmp_path / "below") is None


def logged(run, *steps):
    for step in steps:
        run.log(step, {"a": step / 64})


def resumed(run, step, size, *steps):
    """Open the killed run, go back to a step and log others."""
    again = RunDir.open(run.path)
    with again.locked():
        again.reopen(step=step, metrics=size, resume="exact")
    logged(again, *steps)
    again.finish("killed")
    return again


def steps_in(run, name="metrics"):
    return [line["step"] for line in read_jsonl(run.path / f"{name}.jsonl")[0]]


def test_a_resumed_run_cuts_what_comes_after_and_keeps_the_clock_times(run):
    logged(run, 64)
    size = run.log_size()
    logged(run, 128, 192)
    clocks = (run.path / "timings.jsonl").read_text()
    run.finish("killed")
    for _ in range(3):  # also if it is killed before it has written them again
        resumed(run, 64, size)
        assert steps_in(run) == [64]
        resumed(run, 64, size, 128)
    again = resumed(run, 64, size, 128, 192, 256)
    assert steps_in(run) == [64, 128, 192, 256]
    assert (run.path / "timings.jsonl").read_text().startswith(clocks)
    assert len(again.info["resumed"]) == 7
    resumed(run, 64, size, 130, 192)  # it is not exact: those clocks are dropped
    assert steps_in(run) == steps_in(run, "timings") == [64, 130, 192]
    (run.path / "metrics.jsonl").write_text("")
    with pytest.raises(FileError, match=r"metrics\.jsonl has 0 bytes"):
        resumed(run, 64, size)


def test_one_process_at_a_time_holds_a_run(run):
    one, two = RunDir.open(run.path), RunDir.open(run.path)
    with pytest.raises(BusyError, match="a process is running this run"), one.locked():
        pass
    assert not one.update_status()
    run.finish("finished")
    with one.locked(), pytest.raises(BusyError), two.locked():
        pass
    with two.locked():
        assert two.info["status"] == "finished"  # not as it was when opened


def test_a_run_whose_process_is_gone_was_killed_at_its_last_line(run):
    logged(run, 64)
    run._lock.free()
    found = RunDir.open(run.path)
    assert found.update_status() and not found.update_status()
    assert read(run)["error"]["class"] == "ProcessGone"
    clock = read_jsonl(run.path / "timings.jsonl")[0][-1]["time/unix_s"]
    ended = datetime.fromisoformat(read(run)["ended"]).timestamp()
    assert ended == pytest.approx(clock, abs=0.01)
    found.mark_failed({"kind": "timeout", "class": "Timeout", "message": "late"})
    assert (read(run)["status"], read(run)["error"]["kind"]) == ("failed", "timeout")

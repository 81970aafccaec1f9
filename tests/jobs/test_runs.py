"""Runs are listed whole, and nothing is deleted without the user's consent."""

import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from unittest import mock

import pytest
from conftest import config_of
from rich.console import Console
from run_dirs import create, scores

from so101rl.config.schema import validate
from so101rl.errors import ConfigError
from so101rl.runs import prune as pruning
from so101rl.runs import usage
from so101rl.runs.prune import delete, leftovers, select
from so101rl.runs.run_dir import RunDir, find_runs
from so101rl.runs.usage import format_age, format_duration, format_size, size_bytes

NO_PROCESS = 999_999_999  # more than a process's number may be


def make(path, status="finished", *, days=0.0, best=True, steps=(), evaluations=()):
    """A run that ended some days ago, with checkpoints of 1000 bytes each."""
    run = create(path)
    for name in [*(f"step-{step}" for step in steps), *["best", "final"] * best]:
        checkpoint(run, name)
    for number in evaluations:
        make(run.path / "evaluations" / str(number), days=days)
    if status != "running":
        run.finish(status)
        ended = datetime.now(UTC) - timedelta(days=days)
        write(run, ended=ended.isoformat())
    return run


def checkpoint(run, name):
    run.file(f"checkpoints/{name}/policy.pt").write_bytes(bytes(1000))


def write(run, **changes):
    run.info |= changes
    (run.path / "run.json").write_text(json.dumps(run.info))


def tree(root):
    return {str(path.relative_to(root)) for path in Path(root).rglob("*")}


def test_the_list_shows_how_runs_went_and_nothing_is_cut_off(run_main, tmp_path):
    assert run_main("job=runs")[1].out == "no runs below outputs or multirun yet\n"
    assert not list(tmp_path.iterdir())
    old = make(tmp_path / "multirun/x/0", "failed", days=3, best=False)
    write(old, started="2020-01-01T00:00:00+00:00")
    place = "outputs/[red]no-markup[/nothing]" + "/long-name-of-a-folder" * 9
    new = make(tmp_path / place, evaluations=[1])
    new.log(12345, {"a": 1.0})
    new.write_evaluation({"policies": {"base": scores(40), "residual": scores(90)}})
    code, shown, _ = run_main("job=runs")
    (old.path / "run.json").write_text("{")
    refused, damaged, _ = run_main("job=runs")
    assert (code, refused) == (0, 2) and "multirun/x/0/run.json" in damaged.err
    head, first, second, _, total = shown.out.splitlines()
    columns = "run status env seed env steps base [%] residual [%] size age directory"
    assert head.split() == columns.split()
    assert first.split()[:4] == [old.info["name"], "failed", "paper_push", "3"]
    assert first.rstrip().endswith("3 d  multirun/x/0")
    for words in (new.info["name"], "finished", "12,345", "40.0 [30.9, 49.8]", place):
        assert words in second
    assert "90.0 [82.6, 94.5]" in second and Console().width < len(place)
    assert total.startswith("2 runs, ") and "\x1b" not in shown.out


def test_ages_durations_and_sizes_are_shown_in_their_unit():
    ages = [format_age(seconds) for seconds in (59.9, 60, 7199, 1e7)]
    assert ages == ["59 s", "1 min", "1 h", "115 d"]
    sizes = [format_size(n) for n in (999, 999_999, 12_340_000, 5.6e9)]
    assert sizes == ["1 kB", "1,000 kB", "12.3 MB", "5.6 GB"]
    times = (99.4, 99.6, 120, 599.6, 750, 5970.1, 720_000)
    shown = "99 s, 1 min 40 s, 2 min, 10 min, 12 min, 1 h 40 min, 200 h"
    assert ", ".join(map(format_duration, times)) == shown


def test_sizes_follow_no_link_and_forgive_files_that_vanish(tmp_path, monkeypatch):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_bytes(bytes(700))
    (tmp_path / "d").write_bytes(bytes(30))
    (tmp_path / "a/out").symlink_to("/")
    assert 730 <= size_bytes([tmp_path / "a", tmp_path / "d"]) < 800  # and the link
    lost = [(str(tmp_path), [], ["gone"])]
    monkeypatch.setattr(usage.os, "walk", lambda path: lost)
    assert size_bytes([tmp_path]) == 0


def test_unneeded_checkpoints_of_finished_runs_are_deleted(tmp_path):
    run = make(tmp_path / "a", steps=[32, 64])
    for rest in (".step-96.1.tmp", ".best.old", ".gone.old"):
        checkpoint(run, rest)
    make(tmp_path / "b", "killed", steps=[32])  # may be resumed
    make(tmp_path / "c", best=False, steps=[32])  # all that there is
    make(tmp_path / "d")
    (item,) = select(find_runs([tmp_path, run.path]), "checkpoints")
    names = [path.name for path in item.paths]
    assert names == [".best.old", ".step-96.1.tmp", "step-32", "step-64"]
    assert item.size == 4000
    assert delete(item, "checkpoints")
    left = {path.name for path in run.checkpoints.iterdir()}
    assert left == {"best", "final", ".gone.old"}


def test_failed_and_old_runs_are_selected_but_none_that_learned_or_runs(tmp_path):
    for status in ("finished", "failed", "killed"):
        make(tmp_path / status, status, days=30.1, best=False)
    make(tmp_path / "new", days=29.9)
    make(tmp_path / "learned", "failed")
    for policy in (".best.old", "interrupted", "step-32"):
        checkpoint(make(tmp_path / policy, "killed", best=False), policy)
    make(tmp_path / "lately", days=31)
    make(tmp_path / "lately/evaluations/1", days=1)
    make(tmp_path / "old", days=31, evaluations=[1])
    make(tmp_path / "running", "running", steps=[32])
    evaluated = make(tmp_path / "evaluated", days=31, steps=[32])
    make(evaluated.path / "evaluations/1", "running")
    failed, old, ended, checkpoints = (
        {item.run.path.name for item in select(find_runs([tmp_path]), rule)}
        for rule in ("failed", "30d", "0d", "checkpoints")
    )
    assert failed == {"failed", "killed"}
    assert old == {"failed", "finished", "killed", "old"}
    assert not {"running", "evaluated"} & ended and not checkpoints


def test_a_run_that_has_changed_since_the_question_is_left(tmp_path):
    run = make(tmp_path / "a", "failed", best=False, days=31, evaluations=[1])
    (failed,) = select(find_runs([tmp_path]), "failed")
    (old,) = select(find_runs([tmp_path]), "30d")
    for where in (run.path, run.path / "evaluations/1"):
        before = tree(tmp_path)
        with RunDir.open(where).locked():
            assert not delete(failed, "failed")
        assert tree(tmp_path) == before
    make(run.path / "evaluations/2")
    assert not delete(old, "30d")
    write(run, status="finished")
    assert not delete(failed, "failed")
    assert run.path.exists()
    write(run, status="failed")
    assert delete(failed, "failed")
    assert not tree(tmp_path)


def test_no_link_is_followed(tmp_path):
    outside = tmp_path / "outside"
    (outside / "step-8").mkdir(parents=True)
    (outside / "step-8/precious").touch()
    one, two = (make(tmp_path / f"in/{name}", steps=[1]) for name in ("one", "two"))
    (one.checkpoints / "step-2").symlink_to(outside / "step-8")
    two.checkpoints.rename(outside / "checkpoints")
    two.checkpoints.symlink_to(outside / "checkpoints")
    (tmp_path / "in/three").symlink_to(make(outside / "run", "failed", best=False).path)
    before = tree(outside)
    for rule in ("checkpoints", "failed", "0d"):
        for item in select(find_runs([tmp_path / "in"]), rule):
            assert item.run.path.name != "three"
            assert delete(item, rule)
    assert tree(outside) - {"run/.lock"} == before - {"run/.lock"}
    assert tree(tmp_path / "in") == {"three"}


@pytest.mark.parametrize("at", ["unlink", "rmtree"])
def test_a_half_deleted_run_is_a_whole_one_or_a_leftover(tmp_path, monkeypatch, at):
    run = make(tmp_path / "outputs/a", "failed", best=False)
    whole = tree(run.path)
    (item,) = select(find_runs([tmp_path]), "failed")
    stopped = mock.Mock(side_effect=KeyboardInterrupt)
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Path if at == "unlink" else pruning.shutil, at, stopped)
        delete(item, "failed")
    found = [tree(left.path) for left in find_runs([tmp_path])]
    assert found == ([whole] if at == "unlink" else [])
    assert len(leftovers([tmp_path])) == (at == "rmtree")


def test_leftovers_are_those_of_ended_deletions_outside_of_runs(tmp_path):
    make(tmp_path / "outputs/a", steps=[1])
    root, rest = tmp_path / "outputs", f"{NO_PROCESS}.tmp"
    ours = root / f"env/.a.{rest}"
    (root / f".link.{rest}").symlink_to("/")
    always = ".b.1.tmp"  # of a process that always runs
    for path in (f"{ours}/b/.b.{rest}", ".m.tmp", f"a/.x.{rest}", always):
        (root / path).mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as other:
        theirs = root / f".c.{other.pid}.tmp"
        theirs.mkdir()
        assert leftovers([root]) == [ours]
        other.kill()
    assert sorted(leftovers([root])) == [theirs, ours]


def test_only_a_yes_on_a_terminal_deletes_and_only_what_was_listed(
    run_main, tmp_path, monkeypatch
):
    def answered(text, *, tty=True):
        stdin = io.StringIO(text)
        stdin.isatty = lambda: tty
        monkeypatch.setattr(sys, "stdin", stdin)
        code, shown, _ = run_main("job=runs", "prune=failed")
        assert code == 0
        return shown.out

    rest = f"outputs/env/.e.{NO_PROCESS}.tmp"
    gone = ("outputs/env/a", "multirun/b", rest)
    make(tmp_path / gone[0], "failed", best=False)
    make(tmp_path / gone[1], "killed", best=False)
    (tmp_path / rest).mkdir()
    make(tmp_path / "outputs/env/c")
    make(tmp_path / "elsewhere/d", "failed", best=False)
    before = tree(tmp_path)
    for typed, tty in (("", True), ("n\n", True), ("yep\n", True), ("y\n", False)):
        shown = answered(typed, tty=tty)
        assert "nothing was deleted" in shown
        assert ("no terminal to ask on" in shown) == (not tty)
        assert tree(tmp_path) == before
    shown = answered("y\n")
    for words in (*gone[:2], "the rest of a run", "MLflow", "deleted: 3 of 3"):
        assert words in shown
    assert tree(tmp_path) == {path for path in before if not path.startswith(gone)}
    assert answered("y\n") == "prune=failed: nothing to delete\n"


def test_a_wrong_rule_is_refused():
    for value in ("all", "30", "-1d", "1e3d"):
        expected = rf"prune='?{value}'?: expected checkpoints, failed, or an age .* 30d"
        with pytest.raises(ConfigError, match=expected):
            validate(config_of("job=runs", f"prune={value}"))

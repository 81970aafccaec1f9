"""The folder of a sweep says what it is, how it stands and what it found."""

import contextlib
import os

import pytest
from run_dirs import WHAT, begun, create, defined

from so101rl.runs.signals import Terminated
from so101rl.runs.status_dir import BusyError
from so101rl.runs.sweep_dir import SweepDir, SweepDirError, find_sweeps, sweep_of


def test_the_status_of_a_sweep_is_truthful(tmp_path):
    sweep = begun(tmp_path)
    assert SweepDir.open(tmp_path).info["status"] == "running"
    for error, status in (
        *((ValueError, "failed"), (KeyboardInterrupt, "killed")),
        *((Terminated, "killed"), (None, "finished")),
    ):
        with contextlib.suppress(error or ()), sweep.lifecycle():
            if error:
                raise error
        info = SweepDir.open(tmp_path).info
        assert (info["status"], info["what"]) == (status, WHAT)
        assert (info["error"] and info["error"]["class"]) == (error and error.__name__)


def test_a_sweep_whose_process_is_gone_was_killed_when_a_job_wrote_last(tmp_path):
    begun(tmp_path)
    found, alive = SweepDir.open(tmp_path), SweepDir.at(tmp_path)
    assert alive._lock.take()
    assert not found.update_status()
    with pytest.raises(BusyError, match="is running this sweep"), found.locked():
        pass
    alive._lock.free()
    (tmp_path / "one.log").touch()
    os.utime(tmp_path / "one.log", (2e9, 2e9))
    assert found.update_status()
    info = SweepDir.open(tmp_path).info
    assert info["status"] == "killed" and info["error"]["class"] == "ProcessGone"
    assert info["ended"].startswith("2033-05-18")
    assert not found.update_status()


def test_a_refused_sweep_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError), SweepDir.at(tmp_path / "new").locked():
        1 / 0  # noqa: B018
    assert not (tmp_path / "new").exists()
    run = create(tmp_path / "old" / "0")
    sweep = SweepDir.at(tmp_path / "old")
    with pytest.raises(SweepDirError, match="runs of no sweep"), sweep.locked():
        sweep.define({}, "main.py -m")
    assert [path.name for path in sweep.path.iterdir()] == [run.path.name]


def test_sweeps_are_found_if_they_began_and_are_in_no_run(tmp_path):
    refused = defined(tmp_path / "refused")
    assert sweep_of(refused.path / "one") is None
    one, two = begun(tmp_path / "one"), begun(tmp_path / "two")
    run = create(one.path / "job")
    begun(run.path / "inside")
    assert [sweep.path for sweep in find_sweeps([tmp_path])] == [one.path, two.path]
    assert sweep_of(run.path).info["uid"] == one.info["uid"]
    assert sweep_of(tmp_path) is None

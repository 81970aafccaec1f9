"""The folder of a sweep says what it is, how it stands and what it found."""

import os

import pytest
from run_dirs import GROUPS, WHAT, create, defined

from so101rl.runs.signals import Terminated
from so101rl.runs.status_dir import BusyError
from so101rl.runs.sweep_dir import SweepDir, SweepDirError, find_sweeps, sweep_of

FACTS = {"name": "tiny", "groups": GROUPS, "group": "arm"}


def begun(path):
    sweep = SweepDir.open(defined(path))
    sweep.begin(**FACTS)
    return sweep


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (None, "finished"),
        (ValueError("boom"), "failed"),
        (KeyboardInterrupt(), "killed"),
        (Terminated(), "killed"),
    ],
)
def test_the_status_of_a_sweep_is_truthful(tmp_path, error, status):
    sweep = begun(tmp_path)
    assert SweepDir.open(tmp_path).info["status"] == "running"
    if error is None:
        with sweep.lifecycle():
            pass
    else:
        with pytest.raises(type(error)), sweep.lifecycle():
            raise error
    info = SweepDir.open(tmp_path).info
    assert info["status"] == status
    assert info["what"] == WHAT
    assert (info["error"] is None) == (error is None)


def test_a_sweep_whose_process_is_gone_was_killed_when_a_job_wrote_last(tmp_path):
    begun(tmp_path)
    alive = SweepDir.at(tmp_path)
    assert alive._lock.take()
    assert not SweepDir.open(tmp_path).update_status()
    with pytest.raises(BusyError, match="a process is running this sweep"):
        SweepDir.at(tmp_path)._take_lock()
    alive._lock.free()
    log = tmp_path / "one.log"
    log.touch()
    os.utime(log, (2e9, 2e9))
    assert SweepDir.open(tmp_path).update_status()
    info = SweepDir.open(tmp_path).info
    assert info["status"] == "killed" and info["error"]["class"] == "ProcessGone"
    assert info["ended"].startswith("2033-05-18")
    assert not SweepDir.open(tmp_path).update_status()


def test_a_refused_sweep_leaves_nothing_behind(tmp_path):
    with pytest.raises(ZeroDivisionError), SweepDir.at(tmp_path / "new").locked():
        1 / 0  # noqa: B018
    assert not (tmp_path / "new").exists()
    run = create(tmp_path / "old" / "0")
    sweep = SweepDir.at(tmp_path / "old")
    with pytest.raises(SweepDirError, match="runs of no sweep"), sweep.locked():
        sweep.define({}, "main.py -m")
    assert [path.name for path in sweep.path.iterdir()] == [run.path.name]


def test_a_sweep_that_goes_on_must_be_the_same(tmp_path):
    first = SweepDir.at(tmp_path)
    with first.locked():
        first.define({"a": 1, "seeds": [1, 2]}, "main.py -m")
        first.begin(**FACTS)
        with first.lifecycle():
            pass
    again = SweepDir.at(tmp_path)
    with again.locked():
        with pytest.raises(SweepDirError, match=r"a: 1 -> 2\n  seeds: \[1, 2\] -> abs"):
            again.define({"a": 2}, "main.py -m")
        again.define({"seeds": [1, 2], "a": 1}, "main.py -m")
        again.begin(**FACTS)
        assert again.info["uid"] == first.info["uid"]
        assert again.info["status"] == "running"
        again._save(status="killed")


def test_sweeps_are_found_if_they_began_and_are_in_no_run(tmp_path):
    refused = defined(tmp_path / "refused")
    assert sweep_of(refused / "one") is None
    one, two = begun(tmp_path / "one"), begun(tmp_path / "two")
    run = create(one.path / "job")
    begun(run.path / "inside")
    assert [sweep.path for sweep in find_sweeps([tmp_path])] == [one.path, two.path]
    assert sweep_of(run.path).info["uid"] == one.info["uid"]
    assert sweep_of(tmp_path) is None

"""job=doctor finds what this machine lacks and names what fixes it."""

import os
import sqlite3
import sys

import mujoco
import pytest
from conftest import ROOT
from omegaconf import OmegaConf

from so101rl.jobs import doctor
from so101rl.rendering import gl


def test_packages_are_compared_with_the_pins_of_the_project(monkeypatch):
    pins = doctor._pins(ROOT / "constraints.txt")
    assert "torch" in doctor._dependencies()
    assert {doctor._normalized(name) for name in doctor._dependencies()} <= pins.keys()
    monkeypatch.setattr(doctor, "version_of", lambda name: None)
    check = next(doctor.check_packages())
    assert check.state == "FAIL" and "mujoco" in check.found
    assert "make setup" in check.fix
    monkeypatch.setattr(doctor, "version_of", lambda name: "0.0.1")
    (check,) = doctor.check_packages()
    assert check.state == "warn" and "torch 0.0.1 (pin " in check.found


def test_rendering_is_checked_as_runs_draw(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    try:
        model = mujoco.MjModel.from_xml_string("<mujoco/>")
        window, context = gl.open_context(model, 8, 8)
    except gl.NoGraphicsError as error:
        assert doctor.check_rendering().found == str(error).splitlines()[0]
    else:
        context.free()
        window.free()
        assert doctor.check_rendering().state == "ok"
    monkeypatch.setenv("MUJOCO_GL", "direct3d")
    check = doctor.check_rendering()
    assert check.state == "FAIL" and "direct3d" in check.found
    assert check.fix.startswith("unset MUJOCO_GL")
    monkeypatch.delenv("MUJOCO_GL")
    monkeypatch.setattr(doctor, "_RENDER", "import os; os.abort()")
    check = doctor.check_rendering()
    assert check.state == "FAIL" and "exit code -6" in check.found
    assert "libegl1" in check.fix or sys.platform != "linux"


def test_folders_stores_and_threads_that_are_no_good_are_found(monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    assert doctor.check_outputs(tmp_path / "gone").state == "FAIL"
    assert doctor.check_outputs(tmp_path).state == "ok"
    assert list(tmp_path.iterdir()) == []
    usage = type("Usage", (), {"free": 1000})
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda folder: usage)
    assert doctor.check_disk(tmp_path).state == "FAIL"
    (tmp_path / "text.db").write_text("this is no database, only text" * 100)
    with sqlite3.connect(tmp_path / "m.db") as db:
        db.execute("CREATE TABLE alembic_version (version_num TEXT)")
    for uri, state in {
        **{None: "info", "sqlite:///absent.db": "info", "sqlite:///m.db": "ok"},
        **{"sqlite:///text.db": "warn", "http://127.0.0.1:9/": "warn"},
    }.items():
        assert doctor.check_tracking(uri).state == state, uri
    monkeypatch.setattr(doctor, "_torch_threads", lambda: "1")
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1, 2}, raising=False)
    assert doctor.check_threads(None).found.startswith("3 core(s)")
    assert doctor.check_threads(None).state == "ok"
    assert doctor.check_threads(10**6).state == "warn"


def test_the_table_names_the_fix_and_the_exit_code_is_1(monkeypatch, capsys):
    check = doctor.Check("rendering", "FAIL", "no EGL", "apt-get install x")
    monkeypatch.setattr(doctor, "_checks", lambda cfg: iter([check]))
    with pytest.raises(SystemExit) as stop:
        doctor.doctor(OmegaConf.create())
    assert stop.value.code == 1
    shown = capsys.readouterr().out
    assert "fix: apt-get install x" in shown and "1 required check(s) failed." in shown

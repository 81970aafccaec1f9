"""Sweeps that are shot, and workers on a server: the recordings, short."""

import json

import pytest

from benchmarks import postgres, sweep_faults


@pytest.mark.slow
def test_sweeps_that_are_shot_end_as_if_they_were_not(tmp_path, capsys):
    assert sweep_faults.main(["--trials", "2", "--out", str(tmp_path)]) == 0, (
        capsys.readouterr().out
    )
    rows = json.loads((tmp_path / "sweep_faults.json").read_text())["cases"]
    assert [row["survived"] for row in rows] == [2, 2, 1]
    assert "| 2 | 2 |" in (tmp_path / "sweep_faults.md").read_text()


@pytest.mark.slow
@pytest.mark.skipif(postgres.binaries() is None, reason=postgres.MISSING)
def test_workers_on_a_server_lose_nothing(tmp_path, capsys):
    words = ["--workers", "3", "--trials", "9", "--out", str(tmp_path)]
    assert postgres.main(words) == 0, capsys.readouterr().out
    found = json.loads((tmp_path / "postgres.json").read_text())
    assert found["states"] == {"COMPLETE": 9, "FAIL": 1}
    assert found["retry_same_values"]


def test_without_a_server_its_package_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(postgres, "binaries", lambda: None)
    assert postgres.main(["--out", str(tmp_path)]) == 3
    assert "apt-get install postgresql" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())

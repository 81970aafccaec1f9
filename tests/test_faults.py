"""The fault suite, short: real programs, killed, damaged and ended in eight ways."""

import json

import pytest

from benchmarks import faults


@pytest.mark.parametrize(
    ("case", "trials"), [("kill", 1), ("damage", 1), ("death", 1), ("twice", 1)]
)
def test_runs_survive(case, trials, tmp_path, capsys):
    arguments = ["--only", case, "--trials", str(trials), "--out", str(tmp_path)]
    assert faults.main(arguments) == 0, capsys.readouterr().out
    (row,) = json.loads((tmp_path / "faults.json").read_text())["cases"]
    assert row["survived"] == row["trials"] >= trials
    assert (
        f"| {row['case']} | {row['trials']} |" in (tmp_path / "faults.md").read_text()
    )


def test_what_does_not_survive_is_counted(tmp_path, monkeypatch):
    def broken(lab, trials):
        return faults.Outcome("broken", trials, trials - 1)

    monkeypatch.setitem(faults.CASES, "kill", (broken, 2))
    assert faults.main(["--only", "kill", "--out", str(tmp_path)]) == 1

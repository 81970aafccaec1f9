"""The fault suite, short: real programs, killed, damaged and ended in eight ways."""

import json

import pytest

from benchmarks import faults

# What these break once more, the tests of `job=resume` break in their own way.
SLOW = ("kill", "damage", "death")


@pytest.mark.parametrize(
    "case", ["twice", *(pytest.param(case, marks=pytest.mark.slow) for case in SLOW)]
)
def test_runs_survive(case, tmp_path, capsys):
    arguments = ["--only", case, "--trials", "1", "--out", str(tmp_path)]
    assert faults.main(arguments) == 0, capsys.readouterr().out
    (row,) = json.loads((tmp_path / "faults.json").read_text())["cases"]
    assert row["survived"] == row["trials"] >= 1
    assert (
        f"| {row['case']} | {row['trials']} |" in (tmp_path / "faults.md").read_text()
    )


def test_what_does_not_survive_is_counted(tmp_path, monkeypatch):
    def broken(lab, trials):
        return faults.Outcome("broken", trials, trials - 1)

    monkeypatch.setitem(faults.CASES, "kill", (broken, 2))
    assert faults.main(["--only", "kill", "--out", str(tmp_path)]) == 1

"""The benchmarks that break things count what survives and what is caught."""

import json

import pytest

from benchmarks import faults, planted_faults, postgres, sweep_faults


@pytest.mark.slow
@pytest.mark.parametrize("program", [faults, sweep_faults, postgres])
def test_everything_survives(program, tmp_path, capsys):
    if program is postgres and postgres.binaries() is None:
        pytest.skip(postgres.MISSING)
    arguments = ["--trials", "9" if program is postgres else "1"]
    code = program.main([*arguments, "--out", str(tmp_path)])
    assert code == 0, capsys.readouterr().out


def test_a_case_that_does_not_survive_is_counted(tmp_path, monkeypatch):
    for name, lost in (("twice", 0), ("kill", 1)):
        outcome = faults.Outcome(name, 2, 2 - lost)
        case = (lambda lab, trials, outcome=outcome: outcome, 2)
        monkeypatch.setitem(faults.CASES, name, case)
        assert faults.main(["--only", name, "--out", str(tmp_path)]) == lost
    rows = json.loads((tmp_path / "faults.json").read_text())["cases"]
    assert [row["survived"] for row in rows] == [1, 2]  # in the order of the table


def test_a_planted_fault_is_caught_or_not(tmp_path):
    (tmp_path / "sums.py").write_text("def add(a, b):\n    return a + b\n")
    test = "from sums import add\n\ndef test_add():\n    assert add(2, {}) == {}\n"
    wrong = planted_faults.Edit(
        file="sums.py", search="a + b", replace="a - b", tests=["test_sums.py"]
    )
    for values, by in (((1, 3), "test_sums.py::test_add"), ((0, 2), None)):
        (tmp_path / "test_sums.py").write_text(test.format(*values))
        assert planted_faults.try_fault(tmp_path, wrong)["by"] == by
        assert "a + b" in (tmp_path / "sums.py").read_text()
    (tmp_path / "test_sums.py").write_text(test.format(1, 9))
    with pytest.raises(planted_faults.PlantError, match="without the fault too"):
        planted_faults.try_fault(tmp_path, wrong)
    (tmp_path / "sums.py").write_text("a + b\na + b\n")
    assert "got 2" in planted_faults.problems(tmp_path, [wrong])[0]

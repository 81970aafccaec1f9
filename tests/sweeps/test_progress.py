"""The progress of a sweep, on a terminal and in a log."""

import json
import re

import pytest
from made_up import write

from so101rl.sweeps.outcome import Outcome
from so101rl.sweeps.progress import SweepProgress, best_run, last_line

FINISHED = Outcome("finished")
FAILED = Outcome("failed", "diverged", "NaN in the loss")


def evaluated(folder, **rates):
    policies = {name: {"success_rate": rate} for name, rate in rates.items()}
    write(folder / "evaluation.json", json.dumps({"policies": policies}))


def test_every_job_counts_once_and_the_time_left_is_known_after_the_first(
    tmp_path, capsys
):
    progress = SweepProgress("tiny", 5, 2)
    progress.ended_before(FINISHED)
    progress.started("one", tmp_path / "a")
    progress.started("two", tmp_path)
    progress.ended("two", FAILED)  # no usual duration: nothing is known yet
    assert progress.summary() == "tiny: 2 of 5 done (1 finished, 1 failed), 1 running"
    for name, rates in (("a", (0.7, 0.84)), ("b", (0.9, 0.3))):
        evaluated(tmp_path / name, base=rates[0], residual=rates[1])
    evaluated(tmp_path / "c", base=0.4)
    assert best_run({name: tmp_path / name for name in "abcd"}) == "84% (a)"
    assert best_run({"d": tmp_path / "d"}) == ""
    progress.ended("one", FINISHED)
    progress.started("three", tmp_path)
    progress.best = "0.87 (trial 1)"
    shown = re.sub(r"about \d+ s", "T", progress.summary())
    counts = "3 of 5 done (2 finished, 1 failed), 1 running"
    assert shown == f"tiny: {counts}, T left; best 0.87 (trial 1)"
    progress.ended("three", Outcome("pruned"))
    progress.add_jobs(-1)
    assert "4 of 4 done (2 finished, 1 pruned, 1 failed)" in progress.summary()
    lines = re.sub(r"about \d+ s", "T", capsys.readouterr().out).splitlines()
    assert lines == [
        "[2/5] two  failed  NaN in the loss",
        "[3/5, T left] one  finished  base 70%, residual 84%",
        "[4/5, T left] three  pruned",
    ]


@pytest.mark.parametrize(("padding", "torn"), [(0, ""), (10_000, '{"step": 96, "r')])
def test_the_last_whole_line_of_a_log_is_shown(tmp_path, torn, padding):
    assert last_line(tmp_path) == {}
    line = {"step": 64, "rollout/success_rate": 0.6}
    text = '{"step": 32}\n' + json.dumps(line) + "\n" + torn
    (tmp_path / "metrics.jsonl").write_text("\n" * padding + text)
    assert last_line(tmp_path) == line
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line | {"a" * 5000: 1}) + "\n")
    assert last_line(tmp_path) == {}  # longer than what is read


def test_a_terminal_gets_a_live_table(tmp_path, monkeypatch, capsys):
    terminal = {"TTY_COMPATIBLE": "1", "COLUMNS": "100", "TERM": "xterm"}
    monkeypatch.setattr("rich.console.Console._environ", terminal)
    line = '{"step": 16384, "rollout/success_rate": 0.25}\n'
    (tmp_path / "metrics.jsonl").write_text(line)
    with SweepProgress("tiny", 3, 2) as progress:
        for name in ("one", "two"):
            progress.started(name, tmp_path)
        progress.ended("two", FAILED)
        progress.best = "0.87 (trial 1)"
    shown = capsys.readouterr().out
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1  # the cursor
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "")
    *_, head, columns, row, ended = plain.rstrip().splitlines()
    assert head == "tiny: 1 of 3 done (1 failed), 1 running; best 0.87 (trial 1)"
    assert columns.split() == ["running", "env", "steps", "success", "for"]
    assert row.split()[:3] == ["one", "16,384", "25%"]
    assert ended.rstrip() == "two  failed  NaN in the loss"

"""Whoever waits for a sweep sees how it stands, on a terminal and in a log."""

import json
import os
import pty
import re
import subprocess
import sys

import pytest

from so101rl.sweeps.outcome import Outcome
from so101rl.sweeps.progress import SweepProgress, best_run, last_line, solved

FINISHED, PRUNED = Outcome("finished"), Outcome("pruned")
FAILED = Outcome("failed", "diverged", "NaN in the loss")
PROGRAM = """
import sys
from pathlib import Path
from so101rl.sweeps.progress import SweepProgress
from so101rl.sweeps.outcome import Outcome

folder = Path(sys.argv[1])
with SweepProgress("tiny", 3, 2) as board:
    board.started("one", folder)
    board.started("two", folder)
    board.ended("two", Outcome("failed", "diverged", "NaN in the loss"))
    board.best("0.87 (trial 1)")
print("the end")
"""


@pytest.fixture
def board(tmp_path):
    """Four jobs, two at a time; one of an earlier call, one running, one failed."""
    board = SweepProgress("tiny", 4, 2)
    board.known(FINISHED)
    board.started("one", tmp_path)
    board.started("two", tmp_path)
    board.ended("two", FAILED)
    return board


def test_a_log_gets_a_line_per_end(board, tmp_path, capsys):
    with board:
        board.started("three", tmp_path)
        board.ended("three", FAILED)
        board.ended("one", FINISHED)
    first, second = capsys.readouterr().out.splitlines()
    assert first == "[3/4] three  failed  NaN in the loss"
    assert second == "[4/4] one  finished"


def test_the_summary_counts_every_job_once(board, tmp_path):
    assert board.summary() == "tiny: 2 of 4 done (1 finished, 1 failed), 1 running"
    board.started("three", tmp_path)
    board.ended("three", PRUNED)
    board.best("0.87 (trial 1)")
    head, _, rest = board.summary().partition(", 1 running, ")
    assert head == "tiny: 3 of 4 done (1 finished, 1 pruned, 1 failed)"
    assert re.fullmatch(r"about \d+ s left; best 0.87 \(trial 1\)", rest)


def test_nobody_knows_how_long_it_takes_before_the_first_end_and_after_the_last(
    board, tmp_path
):
    assert "left" not in board.summary()  # what failed took no usual time
    board.ended("one", FINISHED)
    assert "left" in board.summary()
    board.dropped(1)
    assert board.summary() == "tiny: 3 of 3 done (2 finished, 1 failed)"


def test_what_a_job_solves_is_news(board, tmp_path, capsys):
    policies = {"base": {"success_rate": 0.7}, "residual": {"success_rate": 0.84}}
    (tmp_path / "evaluation.json").write_text(json.dumps({"policies": policies}))
    assert solved(tmp_path) == "base 70%, residual 84%"
    board.ended("one", FINISHED)
    (line,) = capsys.readouterr().out.splitlines()
    assert re.fullmatch(
        r"\[3/4, about \d+ s left\] one  finished  base 70%, residual 84%", line
    )


def test_the_best_run_is_the_one_whose_residual_solves_most(tmp_path):
    rates = {"a": (0.9, 0.3), "b": (0.1, 0.5), "c": (0.4, None)}
    for name, (base, residual) in rates.items():
        policies = {"base": {"success_rate": base}}
        if residual is not None:
            policies["residual"] = {"success_rate": residual}
        (tmp_path / name).mkdir()
        text = json.dumps({"policies": policies})
        (tmp_path / name / "evaluation.json").write_text(text)
    folders = {name: tmp_path / name for name in [*rates, "not judged yet"]}
    assert best_run(folders) == "50% (b)"
    assert best_run({"not judged yet": tmp_path / "d"}) == ""


@pytest.mark.parametrize("padding", [0, 10_000])
@pytest.mark.parametrize("torn", ["", '{"step": 96, "rol'])
def test_the_last_whole_line_of_a_log_is_shown(tmp_path, torn, padding):
    assert last_line(tmp_path) == {}
    lines = [{"step": step, "rollout/success_rate": step / 100} for step in (32, 64)]
    text = "".join(json.dumps(line) + "\n" for line in lines)
    (tmp_path / "metrics.jsonl").write_text("\n" * padding + text + torn)
    assert last_line(tmp_path) == lines[-1]


def test_a_line_longer_than_what_is_read_shows_nothing(tmp_path):
    text = json.dumps({"step": 32, "a" * 5000: 1.0}) + "\n"
    (tmp_path / "metrics.jsonl").write_text(text)
    assert last_line(tmp_path) == {}


def on_terminal(folder, term):
    """What a program shows on a terminal of 100 columns."""
    ours, its = pty.openpty()
    env = os.environ | {"TERM": term, "COLUMNS": "100", "LINES": "30"}
    for name in ("NO_COLOR", "FORCE_COLOR", "TTY_COMPATIBLE", "TTY_INTERACTIVE"):
        env.pop(name, None)
    command = [sys.executable, "-c", PROGRAM, str(folder)]
    process = subprocess.Popen(command, stdout=its, env=env)
    os.close(its)
    shown = b""
    while True:
        try:
            new = os.read(ours, 65536)
        except OSError:  # how Linux says that nobody writes any more
            break
        if not new:
            break
        shown += new
    os.close(ours)
    assert process.wait() == 0
    return shown.decode()


def test_a_terminal_gets_a_table_that_lives(tmp_path):
    line = {"step": 16384, "rollout/success_rate": 0.25}
    (tmp_path / "metrics.jsonl").write_text(json.dumps(line) + "\n")
    shown = on_terminal(tmp_path, "xterm-256color")
    assert shown.count("\x1b[?25l") == shown.count("\x1b[?25h") == 1  # the cursor
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", shown).replace("\r", "")
    *_, head, columns, row, news, end = plain.splitlines()
    assert head == ("tiny: 1 of 3 done (1 failed), 1 running; best 0.87 (trial 1)")
    assert columns.split() == ["running", "env", "steps", "success", "for"]
    assert row.split()[:3] == ["one", "16,384", "25%"]
    assert news == "two  failed  NaN in the loss"
    assert end == "the end"


def test_a_terminal_that_cannot_move_its_cursor_gets_lines(tmp_path):
    shown = on_terminal(tmp_path, "dumb").replace("\r", "")
    assert shown == "[1/3] two  failed  NaN in the loss\nthe end\n"

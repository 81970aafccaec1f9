"""A finished run can be trained again, and every number compared."""

import json
from pathlib import Path

import pytest
from conftest import PPO_KEYS

from so101rl.jobs.reproduce import FOLDER
from so101rl.runs.run_dir import RunDir


@pytest.fixture
def finished(run_main):
    code, _, path = run_main(*PPO_KEYS)
    assert code == 0
    return path


def edit(path, change):
    path.write_text(change(path.read_text()))


def test_a_run_is_reproduced_elsewhere(finished, run_main):
    code, said, _ = run_main("job=reproduce", f"run={finished}")
    assert code == 0
    assert "identical: metrics, episodes, evaluation and policies" in said.out
    (second,) = FOLDER.iterdir()
    assert second.name.startswith(RunDir.open(finished).info["name"])
    assert (second / "metrics.jsonl").read_bytes() == (
        finished / "metrics.jsonl"
    ).read_bytes()
    # What comes out is a run like any other, and knows what was typed.
    typed = Path(".hydra") / "overrides.yaml"
    assert (second / typed).read_bytes() == (finished / typed).read_bytes()
    assert run_main("job=resume", f"run={second}")[0] == 0


@pytest.mark.parametrize(
    ("file", "change", "message"),
    [
        (
            "metrics.jsonl",
            lambda text: text.replace(
                '"residual/alpha": 1.0', '"residual/alpha": 0.5', 1
            ),
            "line 2: step 32, residual/alpha: 0.5 -> 1.0",
        ),
        ("metrics.jsonl", lambda text: text + text.splitlines()[-1] + "\n", "lines"),
        ("episodes.csv", lambda text: text.replace("base,0", "base,9"), "episodes"),
        ("evaluation.json", lambda text: text.replace("3", "4"), "evaluation.json"),
    ],
)
def test_what_differs_is_named(file, change, message, finished, run_main):
    edit(finished / file, change)
    code, said, _ = run_main("job=reproduce", f"run={finished}")
    assert code == 2
    assert message in said.err


def test_other_surroundings_are_named(finished, run_main):
    def older(text):
        info = json.loads(text)
        info["versions"]["torch"], info["code_sha256"] = "1.0", "0"
        return json.dumps(info)

    edit(finished / "run.json", older)
    code, said, _ = run_main("job=reproduce", f"run={finished}")
    assert code == 0  # a change that changes nothing
    assert "differs here: torch: 1.0 -> " in said.out
    assert "differs here: code" in said.out


def test_only_a_finished_run_can_be_reproduced(finished, run_main):
    edit(finished / "run.json", lambda text: text.replace("finished", "killed"))
    code, said, _ = run_main("job=reproduce", f"run={finished}")
    assert code == 2
    assert "is killed" in said.err
    assert not Path(FOLDER).exists()

"""A finished run can be trained again, and every number compared."""

import shutil

import pytest
from finished import edit_json, finished_run

from so101rl.jobs.reproduce import FOLDER, compare_results
from so101rl.runs.run_dir import RunDir


@pytest.fixture
def copied(tmp_path):
    return shutil.copytree(finished_run(), tmp_path / "copied")


def test_a_run_is_reproduced_elsewhere_or_refused_if_it_differs(copied, run_main):
    edit_json(copied / "run.json", versions={"torch": "1.0"}, code_sha256="0")
    code, said, _ = run_main("job=reproduce", f"run={copied}")
    assert code == 0
    assert "identical: metrics, episodes, evaluation and policies" in said.out
    assert "differs here: torch: 1.0 -> " in said.out
    assert "differs here: code" in said.out
    (second,) = FOLDER.iterdir()
    assert second.name == f"{RunDir.open(copied).info['name']}-1"
    # The reproduction is a run like any other, and has the typed keys.
    for name in ("metrics.jsonl", ".hydra/overrides.yaml"):
        assert (second / name).read_bytes() == (copied / name).read_bytes()
    assert run_main("job=resume", f"run={second}")[0] == 0
    (copied / "metrics.jsonl").write_text("")
    code, said, _ = run_main("job=reproduce", f"run={copied}")
    assert code == 2 and "metrics.jsonl: 0 and 7 lines" in said.err
    edit_json(copied / "run.json", status="killed")
    code, said, _ = run_main("job=reproduce", f"run={copied}")
    assert code == 2 and "is killed" in said.err
    assert len(list(FOLDER.iterdir())) == 2


def test_what_differs_is_named(copied):
    alpha = '"residual/alpha": '
    other_alpha = "metrics.jsonl line 2: step 32, residual/alpha: 1.0 -> 0.5"
    best = "checkpoints/best/checkpoint.json"
    assert list(compare_results(finished_run(), copied)) == []
    for file, before, after, message in (
        ("metrics.jsonl", f"{alpha}1.0", f"{alpha}0.5", other_alpha),
        ("metrics.jsonl", '"step": 0}', '"step": 0 }', "written differently"),
        ("episodes.csv", "base,0", "base,9", "episodes.csv: other episodes"),
        ("evaluation.json", "3", "4", "evaluation.json: other results"),
        (best, '"policy.pt": "', '"policy.pt": "0', "best"),
    ):
        text = (copied / file).read_text()
        (copied / file).write_text(text.replace(before, after, 1))
        (found,) = compare_results(finished_run(), copied)
        assert message in found
        (copied / file).write_text(text)

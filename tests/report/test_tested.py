"""Policies under other conditions: `evaluation.tests`, and reports of them."""

import csv
import json
import shutil

import pytest
from made_up import episodes, make_study, scores, write
from scipy import stats

from so101rl.files import to_json
from so101rl.report import folder
from so101rl.report.folder import write_report
from so101rl.report.registered import load_registered
from so101rl.report.verify import VerifyError, verify
from so101rl.runs.episodes_csv import to_csv
from so101rl.runs.run_dir import RunDir, find_runs
from so101rl.seeds import episode_seeds

ON_DEFAULT = "+randomization@evaluation.tests.same=default"
ON_NONE = "+randomization@evaluation.tests.none=none"
HARD = "residual on hard/success_rate"


def played(run, policy):
    """The episodes of a policy, without its name."""
    rows = [*run.episodes(), *run.tests()]
    return [{**row, "policy": ""} for row in rows if row["policy"] == policy]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    """A study of two arms, each also tested under `hard`, where all solve half."""
    path = tmp_path_factory.mktemp("tested") / "randomization"
    make_study(path, {"a": [10] * 6, "b": [18] * 6}, metric=HARD)
    for run in find_runs([path]):
        seed = run.info["seed"]
        own = run.evaluation()
        half = round(own["policies"]["residual"]["success_rate"] * 10) - seed % 3
        rows = {
            "base on hard": episodes("base on hard", 2, root=seed),
            "residual on hard": episodes("residual on hard", half, root=seed),
        }
        own["tests"] = {name: scores(each, seed) for name, each in rows.items()}
        write(run.path / "evaluation.json", to_json(own))
        text = to_csv([row for each in rows.values() for row in each])
        write(run.path / "tests.csv", text)
    return path


@pytest.fixture
def sweep(swept, tmp_path, monkeypatch):
    """A copy of it; reports are not drawn."""
    monkeypatch.setattr(folder, "draw", lambda *_: None)
    return shutil.copytree(swept, tmp_path / "multirun/randomization")


def report_on(sweep, out):
    """Write the report of a study."""
    return write_report(out, load_registered(sweep, None), sweep / "registration.json")


def test_own_conditions_as_a_test_give_the_own_episodes(run_main):
    _, _, path = run_main(ON_DEFAULT, ON_NONE)
    run = RunDir.open(path)
    for policy in ("base", "residual"):
        assert played(run, f"{policy} on same") == played(run, policy)
        assert played(run, f"{policy} on none") != played(run, policy)
    own = run.evaluation()
    assert own["tests"]["residual on same"] == own["policies"]["residual"]


def test_tests_leave_the_run_itself_as_it_is(run_main):
    _, _, plain = run_main(name="plain")
    _, _, tested = run_main(ON_NONE, name="tested")
    for name in ("episodes.csv", "metrics.jsonl"):
        assert (plain / name).read_bytes() == (tested / name).read_bytes()
    assert not (plain / "tests.csv").exists()


def test_a_run_is_tested_again_as_it_was(run_main):
    _, _, path = run_main(ON_NONE)
    run_main("job=evaluate", f"run={path}", "tracking=none")
    again = path / "evaluations/1/tests.csv"
    assert again.read_bytes() == (path / "tests.csv").read_bytes()


def test_an_evaluation_says_whose_episodes_it_played(run_main):
    words = ("seed=2147483648", "evaluation.role=tune", ON_NONE)
    _, _, path = run_main(*words)
    own = RunDir.open(path).evaluation()
    for scored in (*own["policies"].values(), *own["tests"].values()):
        assert scored["seeds"]["role"] == "tune"
        assert scored["seeds"]["first"] == episode_seeds(2**31, "tune", 1)[0]


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("+randomization@evaluation.tests.On=default", "evaluation.tests=On"),
        ("+randomization@evaluation.tests.on=nope", "randomization=nope"),
    ],
)
def test_a_wrong_test_is_refused(command, word, said):
    answer = command(word)
    assert answer.code != 0
    assert said in answer.err


def test_a_report_takes_its_metric_from_a_test(sweep, tmp_path):
    report = report_on(sweep, tmp_path / "out")
    rows = {row.name: row for row in report.rows}
    assert rows["a"].values == {seed: (5 - seed % 3) / 20 for seed in range(6)}
    (base,) = [row for row in report.rows if row.kind == "base"]
    assert set(base.values.values()) == {0.1}
    assert report.comparisons[0].difference == pytest.approx(0.2)


def test_a_report_has_arms_by_tests(sweep, tmp_path):
    report = report_on(sweep, tmp_path / "out")
    one = next(one for one in report.conditions if one.arm == "b")
    rates = [(9 - seed % 3) / 20 for seed in range(6)]
    low, high = stats.t.interval(0.95, 5, sum(rates) / 6, stats.sem(rates))
    assert (one.test, list(one.values.values())) == ("hard", rates)
    assert (one.low, one.high) == pytest.approx((low, high))
    shown = f"{100 * one.mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    for name in ("table.md", "table.tex", "report.html"):
        assert "on hard" in (tmp_path / "out" / name).read_text()
        assert shown in (tmp_path / "out" / name).read_text()
    content = json.loads((tmp_path / "out/report.json").read_text())
    assert len(content["tests"]) == 2


def test_a_report_of_tests_is_verified(sweep, tmp_path):
    out = tmp_path / "out"
    report_on(sweep, out)
    assert "identical" in verify(out, load_registered(sweep, None))[0]
    path = sweep / "a/seed-0/tests.csv"
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    path.write_text(path.read_text().replace(rows[0]["return"], "0.5"))
    with pytest.raises(VerifyError, match="other episodes"):
        verify(out, load_registered(sweep, None))


def test_a_run_without_the_test_gives_no_result(sweep, tmp_path):
    (sweep / "a/seed-0/tests.csv").unlink()
    report = report_on(sweep, tmp_path / "out")
    (lost,) = [one for one in report.study.records if not one.has_result]
    assert lost.reason == "no evaluation of base on hard"

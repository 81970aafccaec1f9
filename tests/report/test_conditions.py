"""Policies under other conditions: `evaluation.tests`, and reports of them."""

import itertools

import pytest
from made_up import episodes, make_study, write
from scipy import stats

from so101rl.files import to_json
from so101rl.report import folder
from so101rl.report.registered import load_registered
from so101rl.report.verify import VerifyError, verify
from so101rl.runs.episodes_csv import to_csv
from so101rl.runs.metrics import policy_scores
from so101rl.runs.run_dir import RunDir, find_runs
from so101rl.seeds import episode_seeds

ROLE = ("seed=2147483648", "evaluation.role=tune")
TESTS = [f"+randomization@evaluation.tests.{name}" for name in ("same", "none")]


def test_tests_leave_the_run_as_it_is_and_can_be_repeated(run_main):
    run_main(*ROLE, name="plain")
    _, _, path = run_main(*ROLE, f"{TESTS[0]}=default", f"{TESTS[1]}=none")
    for name in ("episodes.csv", "metrics.jsonl"):
        plain = path.with_name("plain") / name
        assert (path / name).read_bytes() == plain.read_bytes()
    run = RunDir.open(path)
    rows = {}
    for row in [*run.episodes(), *run.tests()]:
        rows.setdefault(row["policy"], []).append({**row, "policy": ""})
    for policy in ("base", "residual"):
        assert rows[f"{policy} on same"] == rows[policy] != rows[f"{policy} on none"]
    own = run.evaluation()
    first = episode_seeds(2**31, "tune", 1)[0]
    assert own["tests"]["residual on same"] == own["policies"]["residual"]
    for scored in own["tests"].values():
        assert (scored["seeds"]["role"], scored["seeds"]["first"]) == ("tune", first)
    run_main("job=evaluate", f"run={path}", "tracking=none")
    again = path / "evaluations/1/tests.csv"
    assert again.read_bytes() == (path / "tests.csv").read_bytes()


def test_a_report_takes_metric_and_columns_from_tests(tmp_path, monkeypatch):
    monkeypatch.setattr(folder, "draw", lambda *_: None)
    sweep, out = tmp_path / "randomization", tmp_path / "out"
    metric = "residual on hard/success_rate"
    make_study(sweep, {"a": [10] * 6, "b": [18] * 6}, metric=metric)
    for run in find_runs([sweep]):
        seed, own = run.info["seed"], run.evaluation()
        half = round(own["policies"]["residual"]["success_rate"] * 10) - seed % 3
        solved = {"base on hard": 2, "residual on hard": half}
        tests = {name: episodes(name, n, root=seed) for name, n in solved.items()}
        own["tests"] = {
            name: policy_scores(rows, root=seed, role="report")
            for name, rows in tests.items()
        }
        write(run.path / "evaluation.json", to_json(own))
        write(run.path / "tests.csv", to_csv(itertools.chain(*tests.values())))
    loaded = load_registered(sweep, None)
    report = folder.write_report(out, loaded, sweep / "registration.json")
    means = {row.name: row.mean for row in report.rows}
    assert means["a"] == pytest.approx(0.2)
    assert means["base: jacobian on paper_push"] == pytest.approx(0.1)
    assert report.comparisons[0].difference == pytest.approx(0.2)
    one = next(one for one in report.conditions if one.arm == "b")
    rates = [(9 - seed % 3) / 20 for seed in range(6)]
    low, high = stats.t.interval(0.95, 5, sum(rates) / 6, stats.sem(rates))
    assert (one.test, list(one.values.values())) == ("hard", rates)
    assert (one.low, one.high) == pytest.approx((low, high))
    shown = f"{100 * one.mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]"
    for name in ("table.md", "table.tex", "report.html"):
        text = (out / name).read_text()
        assert "on hard" in text and text.count(shown) == 2
    path = sweep / "a/seed-0/tests.csv"
    path.write_text(path.read_text().replace("timed_out", "jammed"))
    with pytest.raises(VerifyError, match="other episodes"):
        verify(out, loaded)
    path.unlink()
    lost = load_registered(sweep, None).study.records[0]
    assert lost.reason == "no evaluation of base on hard"

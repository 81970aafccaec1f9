"""A report counts every run, and claims what its test allows."""

from dataclasses import replace

import pytest
from made_up import N, episodes

from so101rl.report import figure
from so101rl.report.document import make_report
from so101rl.report.record import RunRecord, StudyRecord
from so101rl.report.registered import with_missing
from so101rl.runs.arms import StudyError
from so101rl.seeds import TUNING_FROM

METRIC = "residual/success_rate"
# Per seed the solved episodes of 20: b is better than a in every pair, c is not.
A, B = [8, 9, 10, 8, 11, 9, 10, 7], [12, 14, 13, 12, 16, 13, 15, 11]
SOLVED = {"a": A, "b": B, "c": [9, 8, 12, 7, 11, 10, 9, 8]}
FEW = "no claim: {} paired seeds, expected 7 or more"
NO_RUNS, NOT_SHOWN = "no claim: runs are missing", "no difference shown"


def study_of(solved, metric=METRIC):
    """A study and its episodes, from solved episodes, or a status, by arm and seed."""
    records, played = [], {}
    for arm, counts in solved.items():
        for seed, count in enumerate(counts):
            facts = {"status": count, "reason": "no luck"}
            if not isinstance(count, str):
                facts = {"status": "finished", "reason": "", "n_episodes": N}
                own = episodes("residual", count, root=seed, size=1)
                base = episodes("base", 8, root=seed)
                played[f"{arm}-{seed}"] = {"base": base, "residual": own}
            facts |= {"uid": f"{arm}-{seed}", "folder": f"{arm}/seed-{seed}"}
            records.append(RunRecord(arm, seed, **facts))
    arms = {arm: list(range(len(counts))) for arm, counts in solved.items()}
    study = StudyRecord("alpha", metric, arms, records, reference=next(iter(solved)))
    return study, played


@pytest.mark.parametrize(
    ("changes", "verdicts"),
    [
        ({}, ["better than a", NOT_SHOWN]),
        # Six pairs reach p = 0.031, which Holm doubles where two were registered.
        ({"a": A[:6], "b": B[:6], "c": A[:6]}, [FEW.format(6)] * 2),
        ({"a": [8], "b": [9], "c": [9]}, [FEW.format(1)] * 2),
        # To count the reference as zero would make the others look better.
        ({"a": ["failed", *A[1:]]}, [NO_RUNS] * 2),
        # As zeros, seven seeds that were killed would make b worse than a.
        ({"b": [12, *["killed"] * 7]}, [NO_RUNS, NOT_SHOWN]),
        ({"b": [0, *["failed"] * 7]}, ["worse than a", NOT_SHOWN]),
    ],
)
def test_a_claim_is_made_only_if_the_test_allows_it(changes, verdicts):
    report = make_report(*study_of(SOLVED | changes))
    assert [one.verdict for one in report.comparisons] == verdicts
    last = report.comparisons[-1]  # of two that were registered, also if one is missing
    if verdicts[0] == NO_RUNS and last.adjusted_p:
        assert last.adjusted_p == pytest.approx(min(1.0, 2 * last.p))


def test_less_is_described_in_the_words_of_the_metric():
    solved = {"a": [4, 5, 6] * 3, "b": [16, 17, 16] * 3}
    study, played = study_of(solved, "residual/mean_time_to_success_s")
    played["a-0"]["base"] = played["b-0"]["base"] = episodes("base", 0)  # has no time
    report = make_report(study, played)
    assert report.comparisons[0].verdict == "slower than a"
    assert report.content.results.head[3] == "residual time to success [s]"
    # the k episodes that succeed take (40 + 0 ... k - 1) / 30 s
    assert report.rows[0].values[0] == pytest.approx((40 + 1.5) / 30)


def test_a_failed_seed_is_listed_and_counts_as_zero(monkeypatch):
    study, played = study_of(SOLVED | {"b": ["failed", *B[1:]]})
    study.records[-1] = replace(study.records[-1], deviates=True)
    report = make_report(study, played)
    cells = {cells[0]: cells[1:] for cells in report.content.results.rows}
    worst = next(row for row in report.rows if row.kind == "worst")
    assert (worst.values[0], worst.runs[0], len(worst.values)) == (0, "b-0", 8)
    assert cells["b"][1] == "7 of 8 x 20"
    assert cells["b"][4:] == ["", "", "", "", "PRELIMINARY, INCOMPLETE"]  # no test
    assert cells["b, failed seeds as 0.0 %"][-1] == "no difference shown, PRELIMINARY"
    assert cells["c"][-1] == "no difference shown, PRELIMINARY, DEVIATES"
    note = next(note for note in report.content.notes if note.is_important)
    assert note.text == "1 of 24 runs gave no result:"
    assert note.items[0].endswith("b, seed 0): failed, no luck")
    monkeypatch.setattr(figure, "figure_study", lambda _, drawn: drawn)
    drawn = figure.draw(None, report, {})
    assert drawn.title == "alpha PRELIMINARY, INCOMPLETE, DEVIATES"
    remarks = ["", "reference", "7 of 8 seeds; no difference shown", NOT_SHOWN]
    assert [arm.remark for arm in drawn.arms] == remarks
    assert figure.draw(None, replace(report, rows=report.rows[:1]), {}) is None


def test_bases_that_share_no_seed_are_not_averaged():
    gone = ["failed"] * 2
    study, played = study_of({"a": [9, 9, *gone], "b": [*gone, 9, 9]})
    for seed in (2, 3):
        played[f"b-{seed}"]["base"] = episodes("base", 12, root=seed)
    rows = make_report(study, played).rows
    assert [row.mean for row in rows if row.kind == "base"] == [0.4, 0.6]


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (episodes("base", 9, root=2, role="tune"), "tune episode 0 of root seed 2"),
        (
            episodes("base", 9, root=2**32 - 1),
            "report episode 0 of root seed 4294967295",
        ),
        ([{**episodes("base", 9)[0], "seed": -1}], "with the unknown seed"),
        (episodes("base", 9, root=2)[:1] * 2, "one episode twice"),
        (episodes("base", 9, 10, root=2), "a/seed-2 played 20 .* and b/seed-2 10"),
    ],
)
def test_only_the_same_report_episodes_of_the_own_root_count(rows, message):
    study, played = study_of(SOLVED)
    played["b-2"] = {"base": rows, "residual": rows}
    with pytest.raises(StudyError, match=message):
        make_report(study, played)


def test_tuning_seeds_and_two_results_of_a_seed_are_refused():
    study = StudyRecord("x", METRIC, {"a": []}, [RunRecord("a", TUNING_FROM)])
    with pytest.raises(StudyError, match="are for tuning"):
        make_report(study, {})
    twins = [RunRecord("b", 2, reason="", folder=name) for name in ("x/1", "x/2")]
    with pytest.raises(StudyError, match=r"x/1 and x/2 .* are both seed 2 of b"):
        with_missing({"b": [2]}, twins)

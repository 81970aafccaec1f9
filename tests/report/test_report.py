"""A report counts every run, claims what its test allows, and can be checked."""

import csv
import gzip
import itertools
import json
import re
import shutil
import subprocess
from html.parser import HTMLParser

import numpy as np
import pytest
from conftest import ROOT
from made_up import (
    N,
    episodes,
    make_run,
    make_study,
    scores,
    write_episodes,
)
from scipy import stats

from so101rl.errors import So101Error
from so101rl.figures.style import FigureError
from so101rl.figures.summary import _draw_failures, _mark_kept, figure_summary
from so101rl.files import to_json
from so101rl.report import folder, latex, markdown
from so101rl.report.folder import write_report
from so101rl.report.raw import unpack_episodes
from so101rl.report.registered import load_registered
from so101rl.report.unregistered import load_unregistered
from so101rl.report.verify import VerifyError, verify
from so101rl.runs.arms import SAME_ARM, StudyError
from so101rl.runs.metrics import ScoreError
from so101rl.runs.run_dir import RunDir, find_runs
from so101rl.seeds import ROLES, TUNING_FROM, episode_seeds

# Per seed the solved episodes of 20: b is better than a in every pair, c is not.
SOLVED = {
    "a": [8, 9, 10, 8, 11, 9, 10, 7],
    "b": [12, 14, 13, 12, 16, 13, 15, 11],
    "c": [9, 8, 12, 7, 11, 10, 9, 8],
}


@pytest.fixture
def undrawn(monkeypatch):
    """Reports without figure, which takes longer than all the rest."""
    monkeypatch.setattr(folder, "draw", lambda *_: None)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study of three arms with eight seeds each."""
    path = tmp_path_factory.mktemp("made") / "multirun/alpha"
    make_study(path, SOLVED)
    return path


@pytest.fixture
def sweep(made, tmp_path):
    """A copy of it that a test may spoil."""
    return shutil.copytree(made, tmp_path / "multirun/alpha")


@pytest.fixture(scope="module")
def reported(made):
    """Its report, and the folder of it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "draw", lambda *_: None)
        return report_on(made), made.parents[1] / "out"


@pytest.fixture
def written(reported, tmp_path):
    """The report, and a copy of its folder that a test may spoil."""
    report, folder = reported
    return report, shutil.copytree(folder, tmp_path / "out")


def report_on(sweep, now=None):
    """Write the report of a study beside its sweep."""
    out = sweep.parents[1] / "out"
    return write_report(out, load_registered(sweep, now), sweep / "registration.json")


def plain_report(folder, *runs):
    """Write the report of runs without a registration; returns `table.md`."""
    write_report(
        folder, load_unregistered(find_runs(runs or [folder.parent]), folder.name), None
    )
    return (folder / "table.md").read_text()


def lines_of(report):
    """The cells of the table by name of the row."""
    return {cells[0]: cells[1:] for cells in report.content.results.rows}


def said(report):
    """All that stands below the table, in one text."""
    notes = report.content.notes
    return "\n".join(text for note in notes for text in (note.text, *note.items))


# --- the numbers ---


def test_rows_are_what_scipy_says_of_the_seed_means(written):
    report, _ = written
    for arm, solved in SOLVED.items():
        row = next(row for row in report.rows if row.name == arm)
        rates = np.array(solved) / N
        low, high = stats.t.interval(0.95, 7, rates.mean(), stats.sem(rates))
        assert list(row.values.values()) == rates.tolist()
        np.testing.assert_allclose(
            [row.mean, row.low, row.high], [rates.mean(), low, high]
        )
        assert row.iqm == pytest.approx(stats.trim_mean(rates, 0.25))


def test_comparisons_are_what_scipy_and_all_sign_flips_say(written):
    report, _ = written
    a = np.array(SOLVED["a"]) / N
    flips = np.array(list(itertools.product((1, -1), repeat=8)))
    p = {}
    for one in report.comparisons:
        differences = np.array(SOLVED[one.arm]) / N - a
        ends = stats.ttest_1samp(differences, 0).confidence_interval()
        np.testing.assert_allclose([one.low, one.high], ends)
        assert one.difference == pytest.approx(differences.mean())
        assert one.effect == pytest.approx(differences.mean() / differences.std(ddof=1))
        sums = abs((flips * differences).sum(1))
        p[one.arm] = (sums >= abs(differences.sum()) - 1e-12).mean()
        assert one.p == pytest.approx(p[one.arm])
    adjusted = {one.arm: one.adjusted_p for one in report.comparisons}
    assert p["b"] == 2 / 2**8
    assert adjusted == pytest.approx({"b": 2 * p["b"], "c": max(2 * p["b"], p["c"])})


def test_a_claim_is_made_only_where_the_test_passes(written):
    report, out = written
    assert {one.arm: one.verdict for one in report.comparisons} == {
        "b": "better than a",
        "c": "no difference shown",
    }
    text = (out / "table.md").read_text()
    assert text.count("**better than a, PRELIMINARY**") == 1
    assert text.count("better than") == 1
    assert "c: 8 pairs show a difference of" in text
    assert "one of the size seen takes about" in text


def test_the_table_shows_rounded_numbers_in_percent(written):
    report, _ = written
    cells = lines_of(report)
    assert cells["a"][:4] == ["200k", "8 x 20", "45.0 [39.5, 50.5]", "45.0"]
    assert cells["b"][4] == "+21.2 [18.3, 24.2]"
    assert cells["b"][5:8] == ["0.0078", "0.016", "6.01"]
    assert cells["a"][-1] == "reference, PRELIMINARY"
    assert {len(line) for line in report.content.results.rows} == {
        len(report.content.results.head)
    }


def test_two_claims_need_more_seeds_than_one(tmp_path, undrawn):
    """Six pairs reach p = 0.031, which Holm doubles where two were registered."""
    make_study(
        tmp_path / "multirun/x", {"a": [5] * 6, "b": list(range(9, 15)), "c": [6] * 6}
    )
    report = report_on(tmp_path / "multirun/x")
    assert {one.verdict for one in report.comparisons} == {
        "no claim: 6 paired seeds, it takes 7"
    }


def test_too_few_pairs_make_no_claim(tmp_path, undrawn):
    make_study(
        tmp_path / "multirun/x", {"a": [1, 2, 1, 2, 1], "b": [18, 19, 18, 19, 17]}
    )
    (one,) = report_on(tmp_path / "multirun/x").comparisons
    assert one.verdict == "no claim: 5 paired seeds, it takes 6"


def test_less_is_said_in_the_words_of_the_metric(tmp_path, undrawn):
    sweep = tmp_path / "multirun/x"
    metric = "residual/mean_time_to_success_s"
    make_study(
        sweep,
        {"a": [4 + s % 3 for s in range(8)], "b": [16 + s % 2 for s in range(8)]},
        metric=metric,
    )
    report = report_on(sweep)
    (one,) = report.comparisons
    assert one.verdict == "slower than a"
    assert report.content.results.head[3] == "residual time to success [s]"
    # the k episodes that succeed take (40 + 0 ... k - 1) / 30 s
    assert report.rows[1].values[0] == pytest.approx((40 + 1.5) / 30)


def test_ten_seeds_are_not_preliminary(tmp_path, undrawn):
    make_study(tmp_path / "multirun/x", {"a": [7, 8] * 5, "b": [7, 9] * 5})
    assert "PRELIMINARY" not in str(report_on(tmp_path / "multirun/x").content)


# --- bases ---


def test_arms_whose_base_played_the_same_share_its_row(written):
    report, _ = written
    bases = [row.name for row in report.rows if row.kind == "base"]
    assert bases == ["base: jacobian on paper_push"]
    # all seeds alike: Wilson of 8 of 20
    assert lines_of(report)[bases[0]][2] == "40.0 [21.9, 61.3] W"


def test_bases_that_differ_have_rows_of_their_own(sweep, undrawn):
    run = sweep / "b/seed-3"
    rows = episodes("base", 5, root=3), episodes("residual", 12, root=3, size=1)
    write_episodes(run, dict(zip(("base", "residual"), rows, strict=True)), 3)
    bases = [row.name for row in report_on(sweep).rows if row.kind == "base"]
    what = "base: jacobian on paper_push in"
    assert bases == [f"{what} a, c", f"{what} b"]


def test_odd_seed_means_are_pointed_out(tmp_path, undrawn):
    make_study(
        tmp_path / "multirun/x",
        {"a": [18, 19, 18, 19, 18, 19, 18, 4], "b": [9, 10] * 4},
    )
    text = said(report_on(tmp_path / "multirun/x"))
    assert "a: the seed means look skewed" in text


# --- runs that are missing, failed or foreign ---


def lose(run, status="failed", error="the loss is not finite"):
    """Let a run have failed instead."""
    (run / "episodes.csv").unlink()
    (run / "evaluation.json").unlink()
    info = json.loads((run / "run.json").read_text())
    info["status"] = status
    info["error"] = {"class": "DivergedError", "message": error, "kind": "diverged"}
    (run / "run.json").write_text(json.dumps(info))
    return info


def test_a_failed_seed_is_listed_and_counts_as_zero(sweep, undrawn):
    info = lose(sweep / "b/seed-2")
    report = report_on(sweep)
    cells = lines_of(report)
    assert cells["b"][1] == "7 of 8 x 20"
    assert cells["b"][-1] == "PRELIMINARY, INCOMPLETE"
    assert cells["b"][4] == ""  # the seeds that are left are not tested
    worst = next(row for row in report.rows if row.kind == "worst")
    assert worst.name == "b, failed seeds as 0.0 %"
    assert worst.values[2] == 0
    assert worst.runs[2] == info["uid"]
    assert cells[worst.name][-1] == "no difference shown, PRELIMINARY"
    assert "1 of 24 runs gave no result" in said(report)
    assert "b, seed 2): failed, DivergedError: the loss is not finite" in said(report)


def test_a_missing_run_is_listed(sweep, undrawn):
    shutil.rmtree(sweep / "c/seed-1")
    shutil.rmtree(sweep / "c/seed-5")
    report = report_on(sweep)
    assert "that are missing, 2 of 24:\nc: seed 1, 5" in said(report)
    rows = list(csv.DictReader((sweep.parents[1] / "out/results.csv").open()))
    assert [row["status"] for row in rows].count("missing") == 2
    assert len(rows) == 24


@pytest.mark.parametrize("status", ["missing", "running", "killed", "pruned"])
def test_a_run_that_may_still_end_is_no_failure(sweep, undrawn, status):
    """As zeros, seven seeds nobody has run would make b worse than a."""
    for seed in range(1, 8):
        if status == "missing":
            shutil.rmtree(sweep / f"b/seed-{seed}")
        else:
            lose(sweep / f"b/seed-{seed}", status)
    report = report_on(sweep)
    assert not any(row.kind == "worst" for row in report.rows)
    first, second = report.comparisons
    assert (first.decision, first.adjusted_p) == ("withheld", None)
    assert first.verdict == "no claim: runs are missing"
    assert second.adjusted_p == pytest.approx(min(1.0, 2 * second.p))  # 2 registered
    assert (
        "PRELIMINARY, INCOMPLETE" in (sweep.parents[1] / "out/report.html").read_text()
    )


@pytest.mark.parametrize("kind", ["infrastructure", "stopped"])
def test_what_a_full_disk_has_ended_is_no_failure_of_its_arm(sweep, undrawn, kind):
    info = lose(sweep / "b/seed-2", error="No space left on device")
    info["error"] |= {"kind": kind, "class": "OSError"}
    (sweep / "b/seed-2/run.json").write_text(json.dumps(info))
    report = report_on(sweep)
    assert not any(row.kind == "worst" for row in report.rows)
    assert report.comparisons[0].verdict == "no claim: runs are missing"
    assert "b, seed 2): killed, OSError: No space left on device" in said(report)


def test_failures_do_not_hide_how_few_the_results_are(sweep, undrawn):
    for seed in range(1, 8):
        lose(sweep / f"b/seed-{seed}")
    worst = next(row for row in report_on(sweep).rows if row.kind == "worst")
    assert len(worst.values) == 8
    assert worst.marks == ["PRELIMINARY"]


def test_bases_that_share_no_seed_are_not_averaged(tmp_path, undrawn):
    for seed in range(2):
        make_run(
            tmp_path / f"runs/a{seed}", seed=seed, base=2, alpha=0, base_policy="zero"
        )
        make_run(tmp_path / f"runs/b{seed}", seed=seed + 5, base=12)
    plain_report(tmp_path / "out", tmp_path / "runs")
    rows = json.loads((tmp_path / "out/report.json").read_text())["rows"]
    bases = {row["name"]: row["mean"] for row in rows if row["kind"] == "base"}
    assert sorted(bases.values()) == [0.1, 0.6]


def test_with_a_lost_reference_nothing_is_claimed(sweep, undrawn):
    """To count it as zero would make the others look better."""
    lose(sweep / "a/seed-0")
    report = report_on(sweep)
    assert {one.verdict for one in report.comparisons} == {"no claim: runs are missing"}
    assert "**better" not in markdown.table_md(report.content)


def test_a_study_of_failures_only_says_so(tmp_path):
    make_study(tmp_path / "multirun/x", {"a": [8, 8], "b": [9, 9]})
    for run in find_runs([tmp_path]):
        lose(run.path)
    report = report_on(tmp_path / "multirun/x")
    assert "4 of 4 runs gave no result" in said(report)
    assert {one.verdict for one in report.comparisons} == {"no claim: runs are missing"}
    assert not (tmp_path / "out/figure.png").exists()


def test_a_running_run_gives_no_result(sweep, undrawn):
    info = lose(sweep / "b/seed-2", "killed")
    info |= {"status": "running", "error": None}
    (sweep / "b/seed-2/run.json").write_text(json.dumps(info))
    assert "b, seed 2): killed" in said(report_on(sweep))  # its process is gone


def test_a_seed_counts_once(sweep):
    shutil.copytree(sweep / "b/seed-2", sweep / "b/seed-2-again")
    with pytest.raises(StudyError, match="both seed 2 of b"):
        load_registered(sweep, None)


@pytest.mark.parametrize(
    ("role", "named"), [("tune", "tune"), ("select", "select"), ("train", "train")]
)
def test_episodes_of_another_role_are_refused(sweep, undrawn, role, named):
    run = sweep / "b/seed-2"
    rows = {p: episodes(p, 9, root=2, role=role) for p in ("base", "residual")}
    write_episodes(run, rows, 2)
    with pytest.raises(StudyError, match=f"{named} episode 0 of root seed 2: expected"):
        report_on(sweep)
    assert not (sweep.parents[1] / "out").exists()


def test_episodes_of_another_root_are_refused(sweep, undrawn):
    rows = {p: episodes(p, 9, root=3) for p in ("base", "residual")}
    write_episodes(sweep / "b/seed-2", rows, 2)
    with pytest.raises(StudyError, match="report episode 0 of root seed 3"):
        report_on(sweep)


def test_an_episode_counts_once(sweep, undrawn):
    rows = {p: episodes(p, 9, root=2) for p in ("base", "residual")}
    rows["residual"][7] = rows["residual"][6]
    write_episodes(sweep / "b/seed-2", rows, 2)
    with pytest.raises(StudyError, match="one episode twice"):
        report_on(sweep)


def test_tuning_seeds_are_refused(tmp_path, undrawn):
    make_run(tmp_path / "runs/a", seed=TUNING_FROM)
    with pytest.raises(StudyError, match="are for tuning"):
        plain_report(tmp_path / "out", tmp_path / "runs")


def test_every_role_is_recognised():
    from so101rl.report.held_out import describe_seed

    for role in ROLES:
        for root in (0, 7, 2**32 - 1):
            seed = episode_seeds(root, role, 1, first=5)[0]
            assert describe_seed(seed) == f"{role} episode 5 of root seed {root}"


def test_arms_are_compared_on_the_same_episodes(sweep, undrawn):
    rows = {p: episodes(p, 9, 10, root=2) for p in ("base", "residual")}
    write_episodes(sweep / "b/seed-2", rows, 2)
    with pytest.raises(StudyError, match="a/seed-2 played 20 episodes and b/seed-2 10"):
        report_on(sweep)


def test_files_of_a_run_that_contradict_each_other_are_refused(sweep):
    path = sweep / "b/seed-2/evaluation.json"
    content = json.loads(path.read_text())
    content["policies"]["residual"]["success_rate"] = 0.95
    path.write_text(to_json(content))
    with pytest.raises(
        ScoreError, match=r"success_rate 0\.95, its episodes give 0\.65"
    ):
        load_registered(sweep, None)


# --- what was registered ---


def test_an_edited_registration_is_refused(sweep):
    path = sweep / "registration.json"
    path.write_text(path.read_text().replace("0.05", "0.5"))
    with pytest.raises(StudyError, match="has been edited"):
        load_registered(sweep, None)


def test_a_study_that_never_started_is_explained(tmp_path):
    with pytest.raises(StudyError, match="no registration"):
        load_registered(tmp_path, None)


def edit(run, **changes):
    info = json.loads((run / "run.json").read_text())
    (run / "run.json").write_text(json.dumps(info | changes))
    return info


def test_deviating_runs_are_shown(sweep, undrawn):
    info = json.loads((sweep / "c/seed-0/run.json").read_text())
    edit(sweep / "c/seed-0", part_of={**info["part_of"], "registration": "0" * 64})
    edit(sweep / "b/seed-1", started="2026-11-21T10:00:00.000+00:00")
    for seed in (0, 4):
        config = sweep / f"b/seed-{seed}/.hydra/config.yaml"
        config.write_text(config.read_text() + "n_envs: 8\n")
    report = report_on(sweep)
    assert report.study.deviations == [
        "b, seed 0, 4: other settings, n_envs: absent -> 8",
        "b, seed 1: started before the study was registered",
        "c, seed 0: started under another registration",
    ]
    assert "3 deviations from what was registered" in said(report)
    assert lines_of(report)["b"][-1] == "better than a, PRELIMINARY, DEVIATES"
    assert "DEVIATES" not in lines_of(report)["a"][-1]


def test_seeds_and_arms_that_nobody_registered_stay_out(sweep, undrawn):
    part = json.loads((sweep / "b/seed-0/run.json").read_text())["part_of"]
    make_run(sweep / "b/seed-8", seed=8, residual=20, part_of=part)
    make_run(sweep / "d/seed-0", residual=20, part_of={**part, "arm": "d"})
    make_run(sweep / "e", residual=20)
    report = report_on(sweep)
    assert len(report.study.records) == 24
    first, second, third = report.study.deviations
    assert first.startswith("b/seed-8 (")
    assert first.endswith("a seed that was not registered, 8; left out of the table")
    assert second.startswith("d/seed-0 (")
    assert "an arm that was not registered, d;" in second
    assert third.startswith("alpha/e (")
    assert "no run of this study" in third


def test_later_edits_of_the_study_are_shown(sweep, undrawn):
    path = sweep / "registration.json"
    content = json.loads(path.read_text())
    changes = ["study.seeds: 12 -> 8"]
    entry = {
        "at": "2026-11-21T13:30:00.000+00:00",
        "sha256": "1" * 64,
        "changes": changes,
    }
    content["deviations"] = [{**entry, "git": {"commit": "c" * 40, "dirty": False}}]
    path.write_text(to_json(content))
    now = {**content["study"], "seeds": 8, "significance": 0.1}
    report = report_on(sweep, now)
    assert report.study.deviations == [
        "2026-11-21T13:30, commit cccccccccc: study.seeds: 12 -> 8",
        "in the study's file by now, but run as registered: "
        "study.significance: 0.05 -> 0.1",
    ]
    assert report.study.significance == 0.05


def test_runs_of_a_later_registration_are_the_studys(sweep, undrawn):
    path = sweep / "registration.json"
    content = json.loads(path.read_text())
    entry = {"at": "2026-11-21T11:30:00.000+00:00", "sha256": "1" * 64, "git": None}
    content["deviations"] = [{**entry, "changes": ["study.question: x -> y"]}]
    path.write_text(to_json(content))
    info = json.loads((sweep / "c/seed-0/run.json").read_text())
    edit(sweep / "c/seed-0", part_of={**info["part_of"], "registration": "1" * 64})
    assert len(report_on(sweep).study.deviations) == 1


def test_mixed_and_uncommitted_code_is_said(sweep, undrawn):
    other = {"commit": "b" * 40, "dirty": False}
    edit(sweep / "b/seed-0", git=other)
    text = said(report_on(sweep))
    assert "Commit: aaaaaaaaaa, bbbbbbbbbb." in text
    assert "code is the same at all of these commits" in text
    edit(sweep / "b/seed-0", git={**other, "dirty": True}, code_sha256="f" * 64)
    text = said(report_on(sweep))
    assert "The runs come from different code." in text
    assert "1 of 24 runs had changes that were not committed." in text
    edit(sweep / "b/seed-0", git=None)
    assert "Commit: aaaaaaaaaa, unknown." in said(report_on(sweep))


# --- what is written ---


def test_same_runs_same_bytes_wherever_they_lie(sweep, tmp_path):
    elsewhere = tmp_path / "elsewhere/multirun/alpha"
    shutil.copytree(sweep, elsewhere)
    report_on(sweep)
    report_on(elsewhere)
    first, second = tmp_path / "out", tmp_path / "elsewhere/out"
    names = sorted(path.name for path in first.iterdir())
    assert names == [
        "README.md",
        "curves.csv",
        "episodes.csv.gz",
        "figure.png",
        "figure.svg",
        "registration.json",
        "report.html",
        "report.json",
        "results.csv",
        "table.md",
        "table.tex",
    ]
    for name in names:
        assert (first / name).read_bytes() == (second / name).read_bytes(), name
    assert (first / "figure.png").read_bytes().startswith(b"\x89PNG")
    assert str(tmp_path).encode() not in (first / "report.html").read_bytes()


def test_every_number_names_its_runs(written, sweep):
    _, out = written
    content = json.loads((out / "report.json").read_text())
    row = next(row for row in content["rows"] if row["name"] == "b")
    for seed, uid in row["runs"].items():
        run = RunDir.open(sweep / f"b/seed-{seed}")
        assert uid == run.info["uid"]
        rate = run.evaluation()["policies"]["residual"]["success_rate"]
        assert row["values"][seed] == rate
    rows = list(csv.DictReader((out / "results.csv").open()))
    assert rows[9]["uid"] == row["runs"]["1"]
    assert rows[9]["commit"] == "a" * 40
    assert rows[9]["residual/success_rate"] == "0.7"
    assert rows[9]["base/success_rate"] == "0.4"


def test_raw_episodes_are_all_there_and_packed(written, sweep):
    _, out = written
    played = unpack_episodes(out / "episodes.csv.gz")
    for run in find_runs([sweep]):
        own = played[run.info["uid"]]
        assert [*own["base"], *own["residual"]] == run.episodes()


def test_bases_that_played_the_same_are_packed_once(written, tmp_path):
    """24 runs have half of their episodes in common: the base's of 8 seeds."""
    _, out = written
    text = gzip.decompress((out / "episodes.csv.gz").read_bytes())
    rest = b"".join(line for line in text.splitlines(True) if b",base," not in line)
    packed, of_residuals = (len(gzip.compress(part, 9)) for part in (text, rest))
    assert packed - of_residuals < of_residuals / 2


def test_the_page_needs_nothing_but_itself(sweep, tmp_path):
    report_on(sweep)
    text = (tmp_path / "out/report.html").read_text()
    picture = re.search(r'src="data:image/png;base64,([^"]+)"', text)
    assert len(picture[1]) * 3 // 4 == pytest.approx(
        (tmp_path / "out/figure.png").stat().st_size, abs=3
    )
    rest = text.replace(picture[0], "")
    for foreign in ("http", "<script", "src=", "<link", "@import", "url("):
        assert foreign not in rest
    assert 'name="viewport"' in text
    assert_balanced(text)


def assert_balanced(text):
    opened = []

    class Parser(HTMLParser):
        def handle_starttag(self, tag, attrs):
            if tag not in ("meta", "img"):
                opened.append(tag)

        def handle_endtag(self, tag):
            assert opened.pop() == tag

    Parser().feed(text)
    assert opened == []


def test_words_of_strangers_are_escaped_everywhere(sweep, undrawn):
    lose(sweep / "b/seed-2", error="<b>50 % & more_ | of #1 {x} $y$ ~ ^ \\ `z`*")
    report_on(sweep)
    out = sweep.parents[1] / "out"
    assert "&lt;b&gt;50 % &amp; more_" in (out / "report.html").read_text()
    assert (
        r"\<b\>50 % & more_ \| of #1 {x} $y$ ~ ^ \\ \`z\`\*"
        in (out / "table.md").read_text()
    )
    tex = (out / "table.tex").read_text()
    assert r"50 \% \& more\_ \textbar{} of \#1 \{x\} \$y\$ \textasciitilde{}" in tex


def test_latex_has_as_many_cells_as_columns(written):
    _, out = written
    text = (out / "table.tex").read_text()
    columns = re.search(r"begin{tabular}{(\w+)}", text)[1]
    body = text.split("\\midrule\n")[1].split("\\bottomrule")[0]
    for line in body.splitlines():
        assert len(re.findall(r"(?<!\\)&", line)) == len(columns) - 1
        assert line.endswith(r" \\")
    assert text.count("{") == text.count("}")
    assert r"\textbf{better than a, PRELIMINARY}" in text


@pytest.mark.skipif(shutil.which("pdflatex") is None, reason="there is no pdflatex")
def test_latex_compiles(written, tmp_path):
    _, out = written
    (tmp_path / "paper.tex").write_text(
        "\\documentclass{article}\n\\usepackage{booktabs,graphicx}\n"
        "\\usepackage[T1]{fontenc}\n\\begin{document}\n"
        f"\\input{{{out / 'table.tex'}}}\n\\end{{document}}\n"
    )
    done = subprocess.run(
        ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "paper.tex"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-2000:]
    assert "Overfull" not in done.stdout


@pytest.mark.parametrize("letter", map(chr, latex.SPECIAL))
def test_latex_escapes(letter):
    found = latex.escaped(f"a{letter}b")
    assert found.startswith("a\\")
    assert found.endswith("b")


def test_a_report_elsewhere_names_the_command_for_its_own_folder(sweep, undrawn):
    """The study of its name may be another one by then."""
    report_on(sweep)
    out = sweep.parents[1] / "out"
    page = (out / "report.html").read_text()
    assert "job=report out=experiments/out verify=true" in page
    readme = (out / "README.md").read_text()
    assert "job=report experiment=alpha out=experiments/out\n" in readme
    sub = sweep.parents[1] / "alpha"
    write_report(sub, load_registered(sweep, None), sweep / "registration.json")
    assert (
        "job=report experiment=alpha verify=true" in (sub / "report.html").read_text()
    )


def test_a_readme_is_begun_and_then_left_alone(sweep, undrawn):
    report_on(sweep)
    readme = sweep.parents[1] / "out/README.md"
    text = readme.read_text()
    assert text.startswith("# What does alpha do?\n")
    assert "python main.py job=report out=experiments/out verify=true" in text
    readme.write_text("mine")
    report_on(sweep)
    assert readme.read_text() == "mine"


# --- verify ---


def test_what_was_written_verifies(written, sweep):
    _, out = written
    computed, runs, curves = verify(out, load_registered(sweep, None))
    assert "960 episodes" in computed
    assert "24 of 24 run directories" in runs
    assert "curves.csv" in curves


def test_a_report_verifies_without_its_runs(written, sweep):
    _, out = written
    shutil.rmtree(sweep)
    assert "not compared with run directories" in verify(out, None)[1]


def test_a_report_verifies_with_some_of_its_runs(written, sweep):
    _, out = written
    shutil.rmtree(sweep / "b")
    assert "16 of 24 run directories" in verify(out, load_registered(sweep, None))[1]


def repack(path, change):
    """Change the text of a packed file."""
    text = gzip.decompress(path.read_bytes()).decode()
    new = change(text)
    assert new != text
    path.write_bytes(gzip.compress(new.encode(), mtime=0))


def test_one_flipped_episode_is_found(written):
    report, out = written
    uid = next(one.uid for one in report.study.records if one.folder == "b/seed-3")
    pattern = rf"(b,{uid},residual,3,\d+,)True"
    repack(out / "episodes.csv.gz", lambda text: re.sub(pattern, r"\1False", text))
    with pytest.raises(
        VerifyError, match=r"report.json, rows/2/values/3: written 0.6, computed 0.55"
    ):
        verify(out, None)


def test_an_episode_that_no_number_needs_is_found_with_the_runs(written, sweep):
    _, out = written
    repack(out / "episodes.csv.gz", lambda text: text.replace("timed_out", "jammed"))
    verify(out, None)
    with pytest.raises(VerifyError, match="has other episodes"):
        verify(out, load_registered(sweep, None))


def test_lost_episodes_are_found(written):
    report, out = written
    uid = report.study.records[0].uid
    drop = re.compile(rf"^a,{uid},residual.*\n", re.MULTILINE)
    repack(out / "episodes.csv.gz", lambda text: drop.sub("", text))
    with pytest.raises(So101Error, match="no episodes of residual"):
        verify(out, None)


@pytest.mark.parametrize(
    ("name", "was", "now", "found"),
    [
        (
            "report.json",
            '"low": 0.39526',
            '"low": 0.39536',
            "rows/1/low: written 0.39536",
        ),
        ("report.json", '"decision": "undecided"', '"decision": "better"', "decision"),
        ("table.md", "45.0 [39.5", "46.0 [39.5", "line 6"),
        ("table.tex", "45.0 [39.5", "46.0 [39.5", "line 11"),
        ("results.csv", ",0.4,0.6\n", ",0.4,0.7\n", "results.csv, line"),
        ("report.html", "better than a", "worse than a", "report.html, line"),
    ],
)
def test_one_edited_number_is_found(written, name, was, now, found):
    _, out = written
    path = out / name
    text = path.read_text()
    assert was in text
    path.write_text(text.replace(was, now, 1))
    with pytest.raises(VerifyError, match=found):
        verify(out, None)


def test_other_significance_than_registered_is_found(written):
    """Though every file that is made from it says the same."""
    _, out = written
    text = (
        (out / "report.json")
        .read_text()
        .replace('"significance": 0.05', '"significance": 0.2')
    )
    (out / "report.json").write_text(text)
    with pytest.raises(StudyError, match=r"significance 0\.05, the report 0\.2"):
        verify(out, None)


def test_a_run_that_is_hidden_is_found(written, sweep):
    """A report made before the last run was there, or by somebody who left it out."""
    _, out = written
    hidden = sweep / "b/seed-3"
    shutil.move(hidden, sweep.parent / "hidden")
    report_on(sweep)
    shutil.move(sweep.parent / "hidden", hidden)
    with pytest.raises(VerifyError, match="b/seed-3 is not in"):
        verify(out, load_registered(sweep, None))


def test_a_run_that_says_otherwise_is_found(written, sweep):
    _, out = written
    edit(sweep / "b/seed-3", wall_clock_s=1.0)
    with pytest.raises(
        VerifyError, match=r"wall_clock_s: written 63\.5, the runs have 1\.0"
    ):
        verify(out, load_registered(sweep, None))


def test_edited_curves_are_found(written, sweep):
    _, out = written
    path = out / "curves.csv"
    path.write_text(path.read_text().replace(",25000,0.", ",25000,0.9", 1))
    with pytest.raises(VerifyError, match=r"curves\.csv, line 2"):
        verify(out, load_registered(sweep, None))


# --- the command line ---


def test_command_line_writes_and_verifies(tmp_path, run_main, undrawn):
    make_run(tmp_path / "runs/a", seed=0)
    make_run(tmp_path / "runs/b", seed=1, residual=17)
    code, said, _ = run_main("job=report", "runs=[runs]", "out=out")
    assert code == 0, said.err
    assert "report: out/table.md" in said.out
    code, said, _ = run_main("job=report", "out=out", "verify=true", "runs=[runs]")
    assert code == 0, said.err
    assert "2 of 2 run directories" in said.out
    path = tmp_path / "out/table.md"
    path.write_text(path.read_text().replace("87.5", "88.5"))
    code, said, _ = run_main("job=report", "out=out", "verify=true")
    assert code == 1
    assert said.err.startswith("error: out/table.md, line ")
    assert not (tmp_path / "outputs").exists()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["runs=[absent]", "out=out"], "there is no such folder"),
        (["out=out"], "runs=null"),
        (["runs=[runs]"], "experiment=null"),
        (["runs=[runs]", "out=out"], "no runs: expected folders"),
    ],
)
def test_command_line_answers_a_mistake_in_one_line(tmp_path, run_main, typed, message):
    (tmp_path / "runs").mkdir()
    code, said, _ = run_main("job=report", *typed)
    assert code == 2
    assert message in said.err
    assert len(said.err.splitlines()) == 1


# --- runs without a registration ---


def test_runs_of_different_configs_are_different_arms(tmp_path, undrawn):
    """Seeds 0 and 1 with either penalty: two arms of two seeds, never one of four."""
    for penalty, solved in ((0.001, 10), (0.1, 18)):
        for seed in range(2):
            make_run(
                tmp_path / f"runs/{penalty}-{seed}",
                seed=seed,
                residual=solved + seed,
                keys={"residual.penalty": penalty},
            )
    text = plain_report(tmp_path / "out", tmp_path / "runs")
    assert "| residual.penalty=0.001 | 200k | 2 x 20 | 52.5 [20.7, 84.3] |" in text
    assert "| residual.penalty=0.1 | 200k | 2 x 20 | 92.5 [60.7, 124.3] |" in text
    assert "All runs: paper_push / jacobian / ppo." in text
    assert "No test was registered, so there is no verdict." in text


def test_a_choice_stands_for_its_keys_and_a_key_within_it_for_itself(tmp_path, undrawn):
    choices = (
        ("default", {"randomization.low": 0.7, "randomization.high": 1.4}),
        ("hard", {"randomization.low": 0.5, "randomization.high": 2.0}),
        ("hard", {"randomization.low": 0.5, "randomization.high": 3.0}),
    )
    for n, (choice, keys) in enumerate(choices):
        make_run(tmp_path / f"runs/{n}", keys=keys, randomization=choice)
    text = plain_report(tmp_path / "out", tmp_path / "runs")
    assert "| randomization=default |" in text
    assert "| randomization=hard randomization.high=2 |" in text
    assert "| randomization=hard randomization.high=3 |" in text


def test_many_differences_are_spelled_out_below_the_table(tmp_path, undrawn):
    keys = [f"algo.a_setting_with_a_long_name_{n}" for n in range(4)]
    for value in (1, 2):
        make_run(tmp_path / f"runs/{value}", keys=dict.fromkeys(keys, value))
    text = plain_report(tmp_path / "out", tmp_path / "runs")
    assert "| variant 1 |" in text
    told = " ".join(f"{key}=2" for key in keys)
    assert f"variant 2: {told}" in text


def test_where_and_how_loudly_a_run_went_makes_no_arm(tmp_path, undrawn):
    kept = ("seed", "job", "part_of", "evaluation.role", "study")
    for seed in range(2):
        make_run(
            tmp_path / f"runs/{seed}",
            seed=seed,
            keys={key: f"{seed}" for key in SAME_ARM if key not in kept},
            tracking=("mlflow", "none")[seed],
        )
    text = plain_report(tmp_path / "out", tmp_path / "runs")
    assert "| paper_push / jacobian / ppo | 200k | 2 x 20 |" in text


def test_a_failed_seed_may_be_run_again(tmp_path, undrawn):
    make_run(tmp_path / "runs/a", seed=3, status="failed", error="oh")
    make_run(tmp_path / "runs/b", seed=3)
    text = plain_report(tmp_path / "out", tmp_path / "runs")
    assert "| 1 x 20 |" in text
    assert "oh; another run of this seed gave one" in text


def test_an_evaluation_of_a_bare_base_is_left_out_in_one_line(tmp_path, undrawn):
    make_run(tmp_path / "runs/run")
    keys = {"run": None, "checkpoint": None}
    bare = make_run(tmp_path / "runs/bare", job="evaluate", keys=keys)
    text = plain_report(tmp_path / "out", tmp_path / "runs")
    named = [line for line in text.splitlines() if bare.info["name"] in line]
    assert named == [
        f"Left out, for they evaluate a base policy alone: {bare.info['name']}."
    ]
    shutil.rmtree(tmp_path / "runs/run")
    with pytest.raises(StudyError, match=r"no runs: .* base policy alone"):
        plain_report(tmp_path / "out", tmp_path / "runs")


def test_a_plain_seed_counts_once(tmp_path):
    for name in "ab":
        make_run(tmp_path / f"runs/{name}", seed=3)
    with pytest.raises(StudyError, match="both seed 3"):
        load_unregistered(find_runs([tmp_path]), "x")


def test_wide_intervals_are_shown_as_they_are(tmp_path):
    """10 and 90 %: half width 12.706 * 40, far beyond the scale, with arrows there."""
    for seed, solved in enumerate((2, 18)):
        make_run(tmp_path / f"runs/{seed}", seed=seed, residual=solved)
    text = plain_report(tmp_path / "out", tmp_path / "runs")
    assert "| 50.0 [-458.2, 558.2] |" in text
    assert (tmp_path / "out/figure.png").exists()


# --- the summary of one run ---


def is_png(path):
    return path.read_bytes().startswith(b"\x89PNG")


def test_summary_figure_is_drawn_alike_every_time(tmp_path):
    run = make_run(tmp_path / "run")
    path = figure_summary(run)
    assert path == tmp_path / "run" / "figures" / "summary.png"
    first = path.read_bytes()
    assert is_png(path)
    assert figure_summary(run).read_bytes() == first


def test_summary_figure_rings_the_policy_that_was_kept():
    """Of two scores at its step, the last counts: that is the one that was saved."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    points = [(0, 0.4), (64, 0.8), (64, 0.9), (128, 0.7)]
    lines = [{"step": step, "eval/success_rate": rate} for step, rate in points]
    _mark_kept(axes, lines, 64)
    (ring,) = axes.lines
    assert ring.get_xydata().tolist() == [[64, 90]]


def test_summary_figure_of_a_bare_base_without_metrics(tmp_path):
    run = make_run(tmp_path / "run")
    (run.path / "metrics.jsonl").unlink()
    write_episodes(run.path, {"base": episodes("base", N)})
    assert is_png(figure_summary(run))


def test_summary_figure_needs_an_evaluation(tmp_path):
    run = make_run(tmp_path / "run", status="failed", error="oh")
    with pytest.raises(FigureError, match=r"no evaluation\.json"):
        figure_summary(run)


def test_every_end_of_an_episode_is_drawn():
    """Successes are no failure class, and still part of how episodes end."""
    from matplotlib.figure import Figure

    axes = Figure().subplots()
    policies = {"base": episodes("base", 6), "residual": episodes("residual", N)}
    _draw_failures(axes, {name: scores(rows) for name, rows in policies.items()})
    tops = {bar.get_x(): bar.get_y() + bar.get_height() for bar in axes.patches}
    assert [round(top) for top in tops.values()] == [100, 100]


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_results_takes_a_new_folder_only(tmp_path):
    """A stand-in for Python says what it would have run."""
    stand_in = tmp_path / "python"
    stand_in.write_text("#!/bin/sh\necho ran $*\n")
    stand_in.chmod(0o755)

    def results(study):
        command = ["make", "-s", "-o", "setup", "results", f"BIN={tmp_path}"]
        return subprocess.run(
            [*command, f"STUDY={study}"], cwd=ROOT, capture_output=True, text=True
        )

    new, taken = results(tmp_path / "new"), results(tmp_path)
    assert new.returncode == 0, new.stderr
    assert f"hydra.sweep.dir={tmp_path / 'new'}" in new.stdout
    assert f"job=report runs=[{tmp_path / 'new'}] out=experiments/first" in new.stdout
    assert taken.returncode == 2
    assert f"{tmp_path} is there already; right is a new folder" in taken.stderr
    assert "ran" not in taken.stdout

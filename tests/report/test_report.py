"""A report is written from run directories, and can be checked against them."""

import gzip
import json
import re
import shutil
from base64 import b64encode
from dataclasses import replace
from unittest.mock import MagicMock, patch

import pytest
from conftest import ROOT
from made_up import edit_info, episodes, make_run, make_study, write_episodes
from omegaconf import OmegaConf
from tasks import CUBE, content

from so101rl.errors import So101Error
from so101rl.files import to_json
from so101rl.jobs import report as job
from so101rl.report import folder
from so101rl.report.document import Report
from so101rl.report.folder import commands, write_report
from so101rl.report.record import read_record
from so101rl.report.registered import load_registered
from so101rl.report.unregistered import load_unregistered
from so101rl.report.verify import VerifyError, verify
from so101rl.runs.arms import SAME_ARM, StudyError
from so101rl.runs.metrics import ScoreError
from so101rl.runs.run_dir import RunDir, find_runs
from so101rl.runs.task import NumberInfo

METRIC = "residual/success_rate"
GZ = "episodes.csv.gz"


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study's folder, with its report beside it."""
    sweep = tmp_path_factory.mktemp("made") / "alpha"
    solved = {"a": [8, 9, 10, 8, 11, 9, 10], "b": [12, 14, 13, 12, 16, 13, 15]}
    make_study(sweep, solved | {"c": [9, 8, *[None] * 5]})
    report_on(sweep)
    return sweep


@pytest.fixture
def sweep(made, tmp_path):
    """A copy of both that a test may change."""
    return shutil.copytree(made.parent, tmp_path / "made") / "alpha"


def report_on(sweep):  # without figure, which takes longest
    with patch.object(folder, "draw", return_value=None):
        loaded = load_registered(sweep, None)
        write_report(sweep.parent / "out", loaded, sweep / "registration.json")


def notes_of(study):
    notes = Report(study, [], [], []).content.notes
    return "\n".join(text for note in notes for text in (note.text, *note.items))


def edit(path, was, now):
    """Replace a regular expression wherever a file has it, packed or not."""
    with gzip.open(path) if path.suffix == ".gz" else path.open("rb") as file:
        text = file.read()
    new = re.sub(was.encode(), now.encode(), text)
    assert new != text
    path.write_bytes(gzip.compress(new) if path.suffix == ".gz" else new)


def test_runs_without_a_result_have_a_status_and_a_reason(tmp_path):
    """What its machine has ended has not failed by its settings."""
    run = make_run(tmp_path / "b/seed-2", error="no\nspace")
    for kind, status in (("diverged", "failed"), ("infrastructure", "killed")):
        edit_info(run.path, error={**run.info["error"], "kind": kind})
        found = read_record(RunDir.open(run.path), "b", METRIC)
        assert (found.status, found.reason) == (status, "DivergedError: no space")
    run = make_run(tmp_path / "x", residual=0)
    time = "residual/mean_time_to_success_s"
    assert read_record(run, "a", time).reason == f"has no {time}"
    write_episodes(run.path, {"base": episodes("base", 8)})
    assert read_record(run, "a", METRIC).reason == "no evaluation of residual"


def test_files_that_contradict_each_other_and_edited_registrations_are_refused(sweep):
    edit_info(sweep / "b/seed-1", status="running", error=None)  # its process is gone
    records = load_registered(sweep, None).study.records
    assert [one.status for one in records].count("killed") == 1
    edit(sweep / "b/seed-2/evaluation.json", r'ss_rate": 0\.65', 'ss_rate": 1')
    with pytest.raises(ScoreError, match=r"_rate 1(\.0)?, its episodes give 0\.65"):
        load_registered(sweep, None)
    edit(sweep / "b/seed-2/evaluation.json", "success_rate", "rate")
    with pytest.raises(ScoreError, match=r"evaluation\.json has no base/success_rate"):
        load_registered(sweep, None)
    edit(sweep / "registration.json", r"0\.05", "0.5")
    for path, message in ((sweep, "has been edited"), (sweep / "b", "no registration")):
        with pytest.raises(StudyError, match=message):
            load_registered(path, None)


def test_deviations_from_the_registration_are_listed(sweep):
    path = sweep / "registration.json"
    content = json.loads(path.read_text())
    entry = {"at": "2026-11-21T13:30:00.000+00:00", "git": {"commit": "c" * 40}}
    entry |= {"sha256": "1" * 64, "changes": ["study.seeds: 12 -> 7"]}
    path.write_text(to_json({**content, "deviations": [entry]}))
    part = RunDir.open(sweep / "b/seed-0").info["part_of"]
    for seed, digest in ((0, "0"), (1, "1")):  # no registration's; the later one's
        changed = {**part, "arm": "c", "registration": digest * 64}
        edit_info(sweep / f"c/seed-{seed}", part_of=changed)
    edit_info(sweep / "b/seed-1", started="2026-11-21T10:00:00.000+00:00")
    for seed in (0, 4):
        edit(sweep / f"b/seed-{seed}/.hydra/config.yaml", "^", "n_envs: 8\n")
    make_run(sweep / "b/new", seed=8, part_of=part)
    make_run(sweep / "d", part_of={**part, "arm": "d"})
    make_run(sweep / "e")
    now = {**content["study"], "seeds": 7, "significance": 0.1}
    study = load_registered(sweep, now).study
    assert [re.sub(r"\(.*\)", "(NAME)", text) for text in study.deviations] == [
        "2026-11-21T13:30, commit cccccccccc: study.seeds: 12 -> 7",
        "in the study's file by now, but run as registered: "
        "study.significance: 0.05 -> 0.1",
        "b, seed 0, 4: other settings, n_envs: absent -> 8",
        "b, seed 1: started before the study was registered",
        "c, seed 0: started under another registration",
        "b/new (NAME) has a seed that was not registered, 8; left out of the table",
        "alpha/d (NAME) is of an arm that was not registered, d; left out of the table",
        "alpha/e (NAME) is no run of this study; left out of the table",
    ]
    assert "8 deviations from what was registered" in notes_of(study)
    marked = [(one.arm, one.seed) for one in study.records if one.deviates]
    assert marked == [("b", 0), ("b", 1), ("b", 4), ("c", 0)]


def test_mixed_and_uncommitted_code_is_pointed_out(made):
    study = load_registered(made, None).study
    first, *others = study.records
    for changes, note in (
        (
            {"commit": "b" * 40},
            "a, bbbbbbbbbb.\nThe package's code is the same at all",
        ),
        ({"code": "f"}, "The runs come from different code."),
        ({"dirty": True}, "1 of 16 runs had changes that were not committed."),
        ({"commit": ""}, "Commit: aaaaaaaaaa, unknown."),
    ):
        mixed = replace(study, records=[replace(first, **changes), *others])
        assert note in notes_of(mixed) and note not in notes_of(study)


def test_same_runs_same_bytes_wherever_they_lie(tmp_path):
    """With figures: 10 and 90 % have a half width of 12.706 * 40, beyond the scale."""
    found = []
    for where in (tmp_path / "x", tmp_path / "y"):
        for seed, solved in enumerate((2, 18)):
            make_run(where / f"runs/{seed}", seed=seed, residual=solved)
        write_report(where / "out", load_unregistered(find_runs([where]), "out"), None)
        found.append({path.name: path.read_bytes() for path in where.glob("out/*")})
    written = found[0]
    assert written == found[1]
    assert written.keys() == {
        *("README.md", "curves.csv", "episodes.csv.gz", "figure.png", "figure.svg"),
        *("report.html", "report.json", "results.csv", "table.md", "table.tex"),
    }
    assert b"| 50.0 [-458.2, 558.2] |" in written["table.md"]
    picture = b64encode(written["figure.png"])
    rest = written["report.html"].replace(b'src="data:image/png;base64,' + picture, b"")
    for foreign in ("http", "<script", "src=", "<link", "@import", "url(", tmp_path):
        assert str(foreign).encode() not in rest


def test_a_number_of_a_task_is_shown_as_the_task_tells(tmp_path):
    sweep, out = tmp_path / "alpha", tmp_path / "out"
    distance = "residual/mean_final_distance_m"
    make_study(sweep, {"a": [8] * 6, "b": [9] * 6}, metric=distance)
    report_on(sweep)  # of runs without a task.json
    assert "final distance [mm]" in (out / "table.md").read_text()
    shown = {"title": "height", "unit": "cm", "factor": 100.0, "better": "higher"}
    task = replace(CUBE, numbers=(NumberInfo(name="distance_m", **shown),))
    (sweep / "b/seed-0/task.json").write_text(to_json(content(task)))
    report_on(sweep)
    assert "final height [cm]" in (out / "table.md").read_text()
    loaded = load_registered(sweep, None)
    assert "12 of 12 run directories" in verify(out, loaded)[1]
    _, metric = loaded.study.policy_and_metric
    assert (metric.above, metric.below) == ("better", "worse")


def test_foreign_text_is_escaped_everywhere(tmp_path):
    make_run(tmp_path / "runs/a", error="<b>50 % & more_ | of #1 {x} $y$ ~ ^ \\ `z`*")
    write_report(tmp_path, load_unregistered(find_runs([tmp_path]), "x"), None)
    for name, text in (
        ("report.html", "&lt;b&gt;50 % &amp; more_"),
        ("table.md", r"\<b\>50 % & more_ \| of #1 {x} $y$ ~ ^ \\ \`z\`\*"),
        ("table.tex", r"50 \% \& more\_ \textbar{} of \#1 \{x\} \$y\$ \textasciitil"),
    ):
        assert text in (tmp_path / name).read_text()


def test_published_studies_are_what_their_episodes_give():
    for name in ("alpha", "base_algo", "base_algo_paper_push", "tuned"):
        found = verify(ROOT / "experiments" / name, None)
        assert "identical: report.json, table.md, table.tex, results.csv" in found[0]
        assert "not compared with run directories" in found[1]


def test_a_report_verifies_with_all_or_some_of_its_runs(sweep):
    out = sweep.parent / "out"
    found = "; ".join(verify(out, load_registered(sweep, None)))
    assert re.search("640 episodes.*; .*16 of 16 run directories; curves.csv", found)
    own = commands(load_registered(sweep, None).study, sweep)[0]
    assert own == "python main.py job=report experiment=alpha"
    shutil.rmtree(sweep / "b")
    assert "9 of 16 run directories" in verify(out, load_registered(sweep, None))[1]
    for name in ("table.tex", GZ):
        (out / name).unlink()
        with pytest.raises(So101Error, match=f"cannot read .*{name}"):
            verify(out, None)


@pytest.mark.parametrize(
    ("name", "was", "now", "message"),
    [
        ("report.json", '"better than', '"worse than', "0/verdict: written worse"),
        ("report.json", r'ance": 0\.05', 'ance": 0.2', "the report 0.2"),
        ("table.md", r"46\.4 \[", "47.4 [", "line 6"),
        ("curves.csv", r",25000,0\.", ",25000,0.9", "curves.csv, line 2"),
        (GZ, r"(\nb,\w+,residual,3,\d+,)True", r"\1False", "0: written 0.6, computed"),
        (GZ, r"\nb,\w+,residual.*", "", "no episodes of residual"),
        (GZ, "residual,3,", "residual,x,", "cannot be read"),
        (GZ, "timed_out", "jammed", "has other episodes"),  # which no number needs
    ],
)
def test_one_edited_number_or_episode_is_found(made, sweep, name, was, now, message):
    out = sweep.parent / "out"
    edit(out / name, was, now)
    with pytest.raises(So101Error, match=re.escape(message)):
        verify(out, load_registered(made, None))


def test_a_run_that_was_left_out_or_has_other_facts_is_found(sweep):
    out, readme = sweep.parent / "out", sweep.parent / "out/README.md"
    edit_info(sweep / "b/seed-3", wall_clock_s=1.0)
    message = r"study/records/10/wall_clock_s: written 63\.5, the runs have 1\.0"
    with pytest.raises(VerifyError, match=message):
        verify(out, load_registered(sweep, None))
    hidden = shutil.move(sweep / "b/seed-3", out.parent / "hidden")
    assert "job=report out=experiments/out verify=true" in readme.read_text()
    readme.write_text("mine")
    report_on(sweep)
    shutil.move(hidden, sweep / "b/seed-3")
    with pytest.raises(VerifyError, match="b/seed-3 is not in"):
        verify(out, load_registered(sweep, None))
    assert readme.read_text() == "mine"  # once begun, it is the author's


def test_command_line_writes_and_verifies(tmp_path, run_main):
    make_run(tmp_path / "runs/a", seed=0)
    make_run(tmp_path / "runs/b", seed=1, residual=17)
    code, printed, _ = run_main("job=report", "runs=[runs]", "out=out")
    assert (code, printed.out) == (0, "report: out/table.md\n"), printed.err
    edit(tmp_path / "out/table.md", r"87\.5", "88.5")
    code, printed, _ = run_main("job=report", "out=out", "verify=true", "runs=[runs]")
    assert code == 1 and printed.err.startswith("error: out/table.md, line ")
    assert not (tmp_path / "outputs").exists()


def test_a_report_of_nothing_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(job, "HydraConfig", MagicMock())
    for runs, out, message in (
        ([f"{tmp_path}/absent"], "x", r"absent\]: there is no such fol"),
        (None, "x", "runs=null"),
        ([f"{tmp_path}"], None, "experiment="),
        ([f"{tmp_path}"], "x", "no runs: expected folders"),
    ):
        keys = {"runs": runs, "out": out, "study": None, "verify": False}
        with pytest.raises(So101Error, match=message):
            job.report(OmegaConf.create(keys))


def arms_of(*runs):
    study = load_unregistered(runs, "x").study
    return study.arms, notes_of(study)


def test_runs_of_different_configs_are_different_arms(tmp_path):
    """Seeds 0 and 1 with either penalty: two arms of two seeds, never one of four."""
    runs = [
        make_run(tmp_path / f"{p}-{s}", seed=s, keys={"residual.penalty": p})
        for p in (0.001, 0.1)
        for s in range(2)
    ]
    arms, notes = arms_of(*runs)
    assert arms == {"residual.penalty=0.001": [0, 1], "residual.penalty=0.1": [0, 1]}
    assert "No test was registered, so there is no verdict." in notes
    key = "algo.a_setting_with_a_name_that_is_far_too_long_for_the_column_of_a_table"
    runs = [make_run(tmp_path / f"{n}", keys={key: n}) for n in (1, 2)]
    arms, notes = arms_of(*runs)
    assert list(arms) == ["variant 1", "variant 2"] and f"variant 2: {key}=2" in notes
    # A choice stands for its keys, a key within it for itself.
    runs = [
        make_run(tmp_path / str(high), keys={"noise.high": high}, noise=choice)
        for choice, high in (("default", 1.4), ("hard", 2.0), ("hard", 3.0))
    ]
    hard = [f"noise=hard noise.high={high}" for high in (2, 3)]
    assert list(arms_of(*runs)[0]) == ["noise=default", *hard]


def test_circumstances_failures_and_the_seed_make_no_arm(tmp_path):
    kept = ("seed", "job", "part_of", "evaluation.role", "study")
    free = [key for key in SAME_ARM if key not in kept]
    runs = [make_run(tmp_path / "2", seed=1, error="oh")]
    for seed, tracking in enumerate(("mlflow", "none")):
        own = {"keys": dict.fromkeys(free, f"{seed}"), "tracking": tracking}
        runs.append(make_run(tmp_path / f"{seed}", seed=seed, **own))
    keys = {"run": None, "checkpoint": None}
    bare = make_run(tmp_path / "bare", job="evaluate", keys=keys)
    arms, notes = arms_of(*runs, bare)
    assert arms == {"paper_push / jacobian / ppo": [0, 1]}
    assert "oh; another run of this seed gave one" in notes
    assert f"evaluate a base policy alone: {bare.info['name']}." in notes
    with pytest.raises(StudyError, match="both seed 1"):
        arms_of(*runs, make_run(tmp_path / "3", seed=1))
    with pytest.raises(StudyError, match=r"no runs: .* base policy alone"):
        arms_of(bare)

"""A report is written from run directories, and can be checked against them."""

import gzip
import json
import re
import shutil
import subprocess
from dataclasses import replace
from types import SimpleNamespace

import pytest
from conftest import ROOT
from made_up import edit_info, episodes, make_run, make_study, write_episodes
from omegaconf import OmegaConf

from so101rl.errors import So101Error
from so101rl.files import to_json
from so101rl.jobs import report as job
from so101rl.report import folder, latex
from so101rl.report.document import Report
from so101rl.report.folder import commands, write_report
from so101rl.report.raw import unpack_episodes
from so101rl.report.record import read_record
from so101rl.report.registered import load_registered
from so101rl.report.unregistered import load_unregistered
from so101rl.report.verify import VerifyError, verify
from so101rl.runs.arms import SAME_ARM, StudyError
from so101rl.runs.metrics import ScoreError
from so101rl.runs.run_dir import RunDir, find_runs

METRIC = "residual/success_rate"
PUBLISHED = ["alpha", "base_algo", "base_algo_paper_push", "tuned"]
B = [12, 14, 13, 12, 16, 13, 15]
SOLVED = {"a": [8, 9, 10, 8, 11, 9, 10], "b": B, "c": [9, 8, *[None] * 5]}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A study's folder, and its report."""
    sweep = tmp_path_factory.mktemp("made") / "alpha"
    make_study(sweep, SOLVED)
    return sweep, report_on(sweep)


@pytest.fixture
def sweep(made, tmp_path):
    """A copy of the study's folder, the report beside it, that a test may change."""
    return shutil.copytree(made[0].parent, tmp_path / "made") / "alpha"


@pytest.fixture
def out(sweep):
    return sweep.parent / "out"


def report_on(sweep):
    """Write the report of a study, without figure, which takes longest."""
    loaded = load_registered(sweep, None)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(folder, "draw", lambda *_: None)
        return write_report(sweep.parent / "out", loaded, sweep / "registration.json")


def notes_of(study):
    """The notes below the table of a study without results, as one text."""
    notes = Report(study, [], [], []).content.notes
    return "\n".join(text for note in notes for text in (note.text, *note.items))


def edit(path, was, now):
    text = path.read_text()
    assert was in text
    path.write_text(text.replace(was, now, 1))


def part_of(path, **changes):
    return {**json.loads((path / "run.json").read_text())["part_of"], **changes}


def test_runs_without_a_result_have_a_status_and_a_reason(tmp_path):
    """What its machine has ended has not failed by its settings."""
    run = make_run(tmp_path / "b/seed-2", status="failed", error="no\nspace")
    for kind, status in (("diverged", "failed"), ("infrastructure", "killed")):
        edit_info(run.path, error={**run.info["error"], "kind": kind})
        found = read_record(RunDir.open(run.path), "b", METRIC)
        assert (found.status, found.reason) == (status, "DivergedError: no space")
    metric, run = (
        "residual/mean_time_to_success_s",
        make_run(tmp_path / "x", residual=0),
    )
    assert read_record(run, "a", metric).reason == f"has no {metric}"
    write_episodes(run.path, {"base": episodes("base", 8)})
    assert read_record(run, "a", METRIC).reason == "no evaluation of residual"


def test_files_that_contradict_each_other_and_edited_registrations_are_refused(sweep):
    edit_info(sweep / "b/seed-1", status="running", error=None)  # its process is gone
    records = load_registered(sweep, None).study.records
    assert [one.status for one in records].count("killed") == 1
    path = sweep / "b/seed-2/evaluation.json"
    edit(path, '"success_rate": 0.65,', '"success_rate": 0.95,')
    with pytest.raises(ScoreError, match=r"_rate 0\.95, its episodes give 0\.65"):
        load_registered(sweep, None)
    edit(sweep / "registration.json", "0.05", "0.5")
    with pytest.raises(StudyError, match="has been edited"):
        load_registered(sweep, None)
    with pytest.raises(StudyError, match="holds no registration"):
        load_registered(sweep / "absent", None)


def test_runs_that_deviate_from_the_registration_are_listed(sweep):
    part = part_of(sweep / "c/seed-0", registration="0" * 64)
    edit_info(sweep / "c/seed-0", part_of=part)
    edit_info(sweep / "b/seed-1", started="2026-11-21T10:00:00.000+00:00")
    for seed in (0, 4):
        with (sweep / f"b/seed-{seed}/.hydra/config.yaml").open("a") as file:
            file.write("n_envs: 8\n")
    part = part_of(sweep / "b/seed-0")
    for name, seed, own in (("b/new", 8, part), ("d", 0, {**part, "arm": "d"})):
        make_run(sweep / name, seed=seed, part_of=own)
    make_run(sweep / "e")
    study = load_registered(sweep, None).study
    deviations = [re.sub(r"\(.*\)", "(NAME)", text) for text in study.deviations]
    assert deviations == [
        "b, seed 0, 4: other settings, n_envs: absent -> 8",
        "b, seed 1: started before the study was registered",
        "c, seed 0: started under another registration",
        "b/new (NAME) has a seed that was not registered, 8; left out of the table",
        "alpha/d (NAME) is of an arm that was not registered, d; left out of the table",
        "alpha/e (NAME) is no run of this study; left out of the table",
    ]
    assert "6 deviations from what was registered" in notes_of(study)
    marked = [(one.arm, one.seed) for one in study.records if one.deviates]
    assert marked == [("b", 0), ("b", 1), ("b", 4), ("c", 0)]


def test_later_registrations_and_edits_are_listed(sweep):
    content = json.loads((sweep / "registration.json").read_text())
    entry = {"at": "2026-11-21T13:30:00.000+00:00", "git": {"commit": "c" * 40}}
    entry |= {"sha256": "1" * 64, "changes": ["study.seeds: 12 -> 7"]}
    text = to_json({**content, "deviations": [entry]})
    (sweep / "registration.json").write_text(text)
    part = part_of(sweep / "c/seed-0", registration="1" * 64)
    edit_info(sweep / "c/seed-0", part_of=part)
    now = {**content["study"], "seeds": 7, "significance": 0.1}
    study = load_registered(sweep, now).study
    assert (study.significance, len(study.deviations)) == (0.05, 2)
    edited, now = study.deviations
    assert edited == "2026-11-21T13:30, commit cccccccccc: study.seeds: 12 -> 7"
    assert now.endswith("but run as registered: study.significance: 0.05 -> 0.1")


def test_mixed_and_uncommitted_code_is_pointed_out(made):
    study = made[1].study
    first, *others = study.records
    for changes, note in (
        (
            {"commit": "b" * 40},
            "aa, bbbbbbbbbb.\nThe package's code is the same at all",
        ),
        ({"code": "f"}, "The runs come from different code."),
        ({"dirty": True}, "1 of 16 runs had changes that were not committed."),
        ({"commit": ""}, "Commit: aaaaaaaaaa, unknown."),
    ):
        mixed = replace(study, records=[replace(first, **changes), *others])
        assert note in notes_of(mixed) and note not in notes_of(study)


def test_same_runs_same_bytes_wherever_they_lie(tmp_path):
    """With figures: 10 and 90 % have a half width of 12.706 * 40, beyond the scale."""
    for where in (tmp_path / "x", tmp_path / "y"):
        for seed, solved in enumerate((2, 18)):
            make_run(where / f"runs/{seed}", seed=seed, residual=solved)
        loaded = load_unregistered(find_runs([where]), "out")
        write_report(where / "out", loaded, None)
    written, again = (
        {path.name: path.read_bytes() for path in (tmp_path / where / "out").iterdir()}
        for where in "xy"
    )
    assert [name for name in written if written[name] != again[name]] == []
    assert written.keys() == {
        *("README.md", "curves.csv", "episodes.csv.gz", "figure.png", "figure.svg"),
        *("report.html", "report.json", "results.csv", "table.md", "table.tex"),
    }
    assert b"| 50.0 [-458.2, 558.2] |" in written["table.md"]
    picture = re.search(rb'src="data:image/png;base64,([^"]+)"', written["report.html"])
    size = len(written["figure.png"])
    assert len(picture[1]) * 3 // 4 == pytest.approx(size, abs=3)
    rest = written["report.html"].replace(picture[0], b"")
    for foreign in ("http", "<script", "src=", "<link", "@import", "url(", tmp_path):
        assert str(foreign).encode() not in rest


def test_every_number_names_its_run_and_keeps_its_episodes(made, out):
    rows = json.loads((out / "report.json").read_text())["rows"]
    row = next(row for row in rows if row["name"] == "b")
    played = unpack_episodes(out / "episodes.csv.gz")
    for seed, uid in row["runs"].items():
        run = RunDir.open(made[0] / f"b/seed-{seed}")
        assert uid == run.info["uid"]
        rate = run.evaluation()["policies"]["residual"]["success_rate"]
        assert row["values"][seed] == rate
        assert [*played[uid]["base"], *played[uid]["residual"]] == run.episodes()
    # What the bases of all arms have in common is packed once.
    text = gzip.decompress((out / "episodes.csv.gz").read_bytes())
    rest = b"".join(line for line in text.splitlines(True) if b",base," not in line)
    packed, of_residuals = (len(gzip.compress(part, 9)) for part in (text, rest))
    assert packed - of_residuals < of_residuals / 2


def test_foreign_text_is_escaped_everywhere(tmp_path):
    error = "<b>50 % & more_ | of #1 {x} $y$ ~ ^ \\ `z`*"
    make_run(tmp_path / "runs/a", status="failed", error=error)
    write_report(tmp_path, load_unregistered(find_runs([tmp_path]), "x"), None)
    for name, text in (
        ("report.html", "&lt;b&gt;50 % &amp; more_"),
        ("table.md", r"\<b\>50 % & more_ \| of #1 {x} $y$ ~ ^ \\ \`z\`\*"),
        ("table.tex", r"50 \% \& more\_ \textbar{} of \#1 \{x\} \$y\$ \textasciitil"),
    ):
        assert text in (tmp_path / name).read_text()
    for letter in map(chr, latex.SPECIAL):
        assert re.fullmatch(r"a\\.+b", latex.escaped(f"a{letter}b"))


def test_a_readme_is_begun_and_then_left_as_it_is(sweep, out):
    """It names the study's own command only in the folder of the study's name."""
    readme, study = out / "README.md", load_registered(sweep, None).study
    assert readme.read_text().startswith("# What does alpha do?\n")
    assert "job=report out=experiments/out verify=true" in readme.read_text()
    assert commands(study, sweep)[0] == "python main.py job=report experiment=alpha"
    readme.write_text("mine")
    report_on(sweep)
    assert readme.read_text() == "mine"


@pytest.mark.parametrize("name", PUBLISHED)
def test_published_studies_are_what_their_episodes_give(name):
    found = verify(ROOT / "experiments" / name, None)
    assert "identical: report.json, table.md, table.tex, results.csv, rep" in found[0]
    assert "not compared with run directories" in found[1]


def test_a_report_verifies_with_all_or_some_of_its_runs(sweep, out):
    computed, runs, curves = verify(out, load_registered(sweep, None))
    assert "640 episodes" in computed
    assert "16 of 16 run directories" in runs
    assert "curves.csv" in curves
    shutil.rmtree(sweep / "b")
    assert "9 of 16 run directories" in verify(out, load_registered(sweep, None))[1]
    for name in ("table.tex", "episodes.csv.gz"):
        (out / name).unlink()
        with pytest.raises(So101Error, match=f"cannot read .*{name}"):
            verify(out, None)


@pytest.mark.parametrize(
    ("pattern", "now", "message"),
    [
        (r"(b,UID,residual,3,\d+,)True", r"\1False", "values/3: written 0.6, comp"),
        (r"(?m)^b,UID,residual.*\n", "", "no episodes of residual"),
        ("residual,3,", "residual,x,", "cannot be read"),
        ("timed_out", "jammed", "has other episodes"),  # which no number needs
    ],
)
def test_a_changed_episode_is_found(made, out, pattern, now, message):
    (uid,) = (one.uid for one in made[1].study.records if one.folder == "b/seed-3")
    path = out / "episodes.csv.gz"
    text = gzip.decompress(path.read_bytes()).decode()
    new = re.sub(pattern.replace("UID", uid), now, text)
    assert new != text
    path.write_bytes(gzip.compress(new.encode(), mtime=0))
    with pytest.raises(So101Error, match=message):
        verify(out, load_registered(made[0], None))


@pytest.mark.parametrize(
    ("name", "was", "now", "message"),
    [
        ("report.json", '"low": 0.4', '"low": 0.5', "rows/1/low: written 0.5"),
        ("report.json", '"better than', '"worse than', "0/verdict: written worse"),
        ("report.json", '"significance": 0.05', '"significance": 0.2', "report 0.2"),
        ("table.md", "46.4 [", "47.4 [", "line 6"),
        ("table.tex", "46.4 [", "47.4 [", "line 11"),
        ("results.csv", ",0.4,0.6\n", ",0.4,0.7\n", "results.csv, line"),
        ("report.html", "better than a", "worse than a", "report.html, line"),
        ("curves.csv", ",25000,0.", ",25000,0.9", "curves.csv, line 2"),
    ],
)
def test_one_edited_number_is_found(made, out, name, was, now, message):
    edit(out / name, was, now)
    with pytest.raises(So101Error, match=re.escape(message)):
        verify(out, load_registered(made[0], None))


def test_a_run_that_was_left_out_or_has_other_facts_is_found(sweep, out):
    edit_info(sweep / "b/seed-3", wall_clock_s=1.0)
    message = r"study/records/10/wall_clock_s: written 63\.5, the runs have 1\.0"
    with pytest.raises(VerifyError, match=message):
        verify(out, load_registered(sweep, None))
    hidden = shutil.move(sweep / "b/seed-3", out.parent / "hidden")
    report_on(sweep)
    shutil.move(hidden, sweep / "b/seed-3")
    with pytest.raises(VerifyError, match="b/seed-3 is not in"):
        verify(out, load_registered(sweep, None))


def test_command_line_writes_and_verifies(tmp_path, run_main):
    make_run(tmp_path / "runs/a", seed=0)
    make_run(tmp_path / "runs/b", seed=1, residual=17)
    code, printed, _ = run_main("job=report", "runs=[runs]", "out=out")
    assert (code, printed.out) == (0, "report: out/table.md\n"), printed.err
    edit(tmp_path / "out/table.md", "87.5", "88.5")
    code, printed, _ = run_main("job=report", "out=out", "verify=true", "runs=[runs]")
    assert code == 1
    assert printed.err.startswith("error: out/table.md, line ")
    assert not (tmp_path / "outputs").exists()


def test_a_report_of_nothing_is_refused(tmp_path, monkeypatch):
    state = SimpleNamespace(runtime=SimpleNamespace(choices={}))
    monkeypatch.setattr(job.HydraConfig, "get", lambda: state)
    known = {"runs": None, "out": None, "study": None, "verify": False}
    for keys, message in (
        (
            {"runs": [f"{tmp_path}/absent"], "out": "x"},
            r"absent\]: there is no such fol",
        ),
        ({"out": "x"}, "runs=null"),
        ({"runs": [f"{tmp_path}"]}, "experiment=null"),
        ({"runs": [f"{tmp_path}"], "out": "x"}, "no runs: expected folders"),
    ):
        with pytest.raises(So101Error, match=message):
            job.report(OmegaConf.create(known | keys))


def arms_of(*runs):
    """The seeds by arm, and the notes, of a study of these runs."""
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
    assert "All runs: paper_push / jacobian / ppo." in notes
    assert "No test was registered, so there is no verdict." in notes


def test_a_choice_stands_for_its_keys_and_a_key_within_it_for_itself(tmp_path):
    choices = [("default", 0.7, 1.4), ("hard", 0.5, 2.0), ("hard", 0.5, 3.0)]
    runs = []
    for choice, low, high in choices:
        keys = {"noise.low": low, "noise.high": high}
        runs.append(make_run(tmp_path / str(high), keys=keys, noise=choice))
    hard = [f"noise=hard noise.high={high}" for high in (2, 3)]
    assert list(arms_of(*runs)[0]) == ["noise=default", *hard]
    keys = [f"algo.a_setting_with_a_long_name_{n}" for n in range(4)]
    runs = [make_run(tmp_path / f"{n}", keys=dict.fromkeys(keys, n)) for n in (1, 2)]
    arms, notes = arms_of(*runs)
    assert list(arms) == ["variant 1", "variant 2"]
    assert "variant 2: " + " ".join(f"{key}=2" for key in keys) in notes


def test_circumstances_failures_and_the_seed_make_no_arm(tmp_path):
    kept = ("seed", "job", "part_of", "evaluation.role", "study")
    free = [key for key in SAME_ARM if key not in kept]
    runs = []
    for seed, tracking in enumerate(("mlflow", "none")):
        keys = dict.fromkeys(free, f"{seed}")
        run = make_run(tmp_path / f"{seed}", seed=seed, keys=keys, tracking=tracking)
        runs.append(run)
    runs.append(make_run(tmp_path / "2", seed=1, status="failed", error="oh"))
    arms, notes = arms_of(*runs)
    assert arms == {"paper_push / jacobian / ppo": [0, 1]}
    assert "oh; another run of this seed gave one" in notes
    with pytest.raises(StudyError, match="both seed 1"):
        arms_of(*runs, make_run(tmp_path / "3", seed=1))
    keys = {"run": None, "checkpoint": None}
    bare = make_run(tmp_path / "bare", job="evaluate", keys=keys)
    note = f"Left out, for they evaluate a base policy alone: {bare.info['name']}."
    assert note in arms_of(*runs, bare)[1]
    with pytest.raises(StudyError, match=r"no runs: .* base policy alone"):
        arms_of(bare)


@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_results_takes_a_new_folder_only(tmp_path):
    """A stand-in for Python prints what it would have run."""
    (tmp_path / "python").write_text("#!/bin/sh\necho ran $*\n")
    (tmp_path / "python").chmod(0o755)
    command = ["make", "-s", "-o", "setup", "results", f"BIN={tmp_path}"]
    new = subprocess.run(
        [*command, f"STUDY={tmp_path}/new"], cwd=ROOT, capture_output=True, text=True
    )
    assert f"hydra.sweep.dir={tmp_path}/new" in new.stdout
    assert f"report runs=[{tmp_path}/new] out=experiments/first" in new.stdout
    command.append(f"STUDY={tmp_path}")
    taken = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert taken.returncode == 2 and "ran" not in taken.stdout
    assert f"{tmp_path} is there already" in taken.stderr

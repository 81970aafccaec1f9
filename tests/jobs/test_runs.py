"""Runs are listed whole, and nothing is deleted that somebody did not agree to."""

import io
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from conftest import config_of
from rich.console import Console
from run_dirs import create, scores

from so101rl.config.schema import validate
from so101rl.errors import ConfigError
from so101rl.jobs import runs as listing
from so101rl.jobs.runs import prune
from so101rl.runs import prune as pruning
from so101rl.runs import usage
from so101rl.runs.provenance import full_name
from so101rl.runs.prune import delete, leftovers, select
from so101rl.runs.run_dir import RunDir, find_runs
from so101rl.runs.usage import format_age, format_duration, format_size, size_bytes

UID = "0" * 32
NOBODY = 999_999_999  # more than a process's number may be


def make(path, status="finished", *, days=0.0, best=True, steps=(), evaluations=()):
    """A run that ended some days ago, with checkpoints of 1000 bytes each."""
    run = create(path)
    names = [f"step-{step}" for step in steps] + ["best", "final"] * best
    for name in names:
        run.file(f"checkpoints/{name}/policy.pt").write_bytes(bytes(1000))
    for number in evaluations:
        make(run.path / "evaluations" / str(number), days=days)
    if status != "running":
        run.finish(status, None if status == "finished" else RuntimeError("x"))
        ended = datetime.now(UTC) - timedelta(days=days)
        write(run, ended=ended.isoformat())
    return run


def write(run, **changes):
    run.info |= changes
    (run.path / "run.json").write_text(json.dumps(run.info))


def tree(root):
    return {str(path.relative_to(root)) for path in Path(root).rglob("*")}


@pytest.fixture
def answer(monkeypatch):
    """Sit at a terminal and have typed this."""

    def type_in(text, *, tty=True):
        stdin = io.StringIO(text)
        stdin.isatty = lambda: tty
        monkeypatch.setattr(sys, "stdin", stdin)

    return type_in


@pytest.fixture
def command(run_main):
    """Run `job=runs` in `tmp_path`: exit code, what was said."""

    def run(*typed):
        code, said, _ = run_main("job=runs", *typed)
        return code, said

    return run


# ---- the list ----


def test_an_empty_directory_is_said_to_be_one(command, tmp_path):
    code, said = command()
    assert code == 0
    assert said.out == "no runs below outputs or multirun yet\n"
    assert not list(tmp_path.iterdir())


def test_the_list_tells_how_runs_went(command, tmp_path):
    old = make(tmp_path / "multirun/x/0", "failed", days=3, best=False)
    write(old, started="2020-01-01T00:00:00+00:00")
    new = make(tmp_path / "outputs/y", evaluations=[1])
    new.log(12345, {"a": 1.0})
    new.write_evaluation({"policies": {"base": scores(40), "residual": scores(90)}})
    code, said = command()
    assert code == 0
    _, first, second, _, total = said.out.splitlines()
    assert first.split()[:4] == [old.info["name"], "failed", "paper_push", "3"]
    assert first.rstrip().endswith("3 d  multirun/x/0")
    for word in (new.info["name"], "finished", "12,345", "40.0 [30.9, 49.8]"):
        assert word in second
    assert "90.0 [82.6, 94.5]" in second and second.rstrip().endswith("outputs/y")
    assert total.startswith("2 runs, ")
    assert "\x1b" not in said.out


def test_nothing_is_cut_off_where_there_is_no_terminal(command, tmp_path):
    place = "outputs/" + "/".join(["long-name-of-a-folder"] * 9)
    make(tmp_path / place)
    assert Console().width < len(place)
    assert place in command()[1].out


def test_a_name_with_brackets_is_no_markup(command, tmp_path):
    make(tmp_path / "outputs/[red]x[/nothing]")
    assert "outputs/[red]x[/nothing]" in command()[1].out


def test_a_run_whose_process_is_gone_is_settled_first(command, tmp_path):
    run = make(tmp_path / "outputs/a", "running")
    assert "running" in command()[1].out
    run._lock.free()
    assert "killed" in command()[1].out


def test_a_damaged_run_is_named(command, tmp_path):
    make(tmp_path / "outputs/a")
    (tmp_path / "outputs/a/run.json").write_text("{")
    code, said = command()
    assert code == 2
    assert "outputs/a/run.json" in said.err


def test_listing_needs_no_heavy_import():
    program = (
        "import sys, so101rl.jobs.runs\n"
        "heavy = ('torch', 'mlflow', 'mujoco', 'matplotlib', 'pandas', 'scipy')\n"
        "print([name for name in heavy if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout == "[]\n"


@pytest.mark.parametrize(
    ("seconds", "said"),
    [(0, "0 s"), (59.9, "59 s"), (60, "1 min"), (7199, "1 h"), (1e7, "115 d")],
)
def test_ages_in_words(seconds, said):
    assert format_age(seconds) == said


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (99.4, "99 s"),
        (99.6, "1 min 40 s"),
        (120.0, "2 min"),
        (599.4, "9 min 59 s"),
        (599.6, "10 min"),
        (750.0, "12 min"),  # to the even one
        (5969.0, "99 min"),
        (5970.1, "1 h 40 min"),
        (7199.0, "2 h 0 min"),
        (86_400.0, "24 h 0 min"),
        (200 * 3600.0, "200 h"),
    ],
)
def test_a_duration_is_told_to_a_percent_or_two(seconds, said):
    assert format_duration(seconds) == said


def test_sizes(tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/c").write_bytes(bytes(700))
    (tmp_path / "d").write_bytes(bytes(30))
    (tmp_path / "a/out").symlink_to("/")
    assert 730 <= size_bytes([tmp_path / "a", tmp_path / "d"]) < 800  # and two links
    found = [format_size(n) for n in (999, 999_999, 12_340_000, 5.6e9)]
    assert found == ["1 kB", "1,000 kB", "12.3 MB", "5.6 GB"]


def test_a_file_that_goes_while_it_is_weighed_weighs_nothing(tmp_path, monkeypatch):
    (tmp_path / "kept").write_bytes(bytes(700))
    (tmp_path / "gone").write_bytes(bytes(30))
    walk = usage.os.walk

    def late(path):
        for found in walk(path):
            (tmp_path / "gone").unlink()
            yield found

    monkeypatch.setattr(usage.os, "walk", late)
    assert size_bytes([tmp_path]) == 700


def test_the_list_weighs_each_run_once(command, tmp_path, monkeypatch):
    for name in "ab":
        make(tmp_path / "outputs" / name)
    weighed = []

    def weigh(paths):
        weighed.extend(path.name for path in paths)
        return 1_000_000

    monkeypatch.setattr(listing, "size_bytes", weigh)
    assert command()[1].out.endswith("2 runs, 2.0 MB\n")
    assert sorted(weighed) == ["a", "b"]


def test_names_say_what_a_run_is():
    groups = {"env": "paper_push", "base_policy": "zero", "algo": "sac", "job": "train"}
    name = full_name(groups, 7, UID)
    assert name.startswith("zero-sac-s7-")
    assert full_name(groups | {"job": "evaluate"}, 7, UID) == f"evaluate-{name}"
    assert full_name({}, 0, UID).startswith("s0-")


# ---- what goes ----


def names(items):
    return [item.run.path.name for item in items]


def test_checkpoints_of_finished_runs_are_spared_no_more(tmp_path):
    run = make(tmp_path / "a", steps=[32, 64])
    for rest in (".step-96.1.tmp", ".best.old", ".gone.old"):
        run.file(f"checkpoints/{rest}/policy.pt").write_bytes(bytes(1000))
    make(tmp_path / "b", "killed", steps=[32])  # may be resumed
    make(tmp_path / "c", best=False, steps=[32])  # all that there is
    make(tmp_path / "d")
    (item,) = select(find_runs([tmp_path]), "checkpoints")
    going = [path.name for path in item.paths]
    assert going == [".best.old", ".step-96.1.tmp", "step-32", "step-64"]
    assert item.size == 4000
    assert delete(item, "checkpoints")
    left = {path.name for path in run.checkpoints.iterdir()}
    assert left == {"best", "final", ".gone.old"}


def test_failed_runs_go_if_nothing_was_learned(tmp_path):
    make(tmp_path / "a", "failed", best=False)
    make(tmp_path / "b", "killed", best=False)
    make(tmp_path / "c", "failed")
    make(tmp_path / "d", "killed", best=False, steps=[32])
    make(tmp_path / "e", best=False)
    for policy in (".best.old", "interrupted"):
        run = make(tmp_path / policy, "killed", best=False)
        run.file(f"checkpoints/{policy}/policy.pt").write_bytes(bytes(1000))
    assert names(select(find_runs([tmp_path]), "failed")) == ["a", "b"]


def test_old_runs_go_whatever_their_status(tmp_path):
    for status in ("finished", "failed", "killed"):
        make(tmp_path / status, status, days=30.1)
    make(tmp_path / "new", days=29.9)
    make(tmp_path / "alive", "running")
    found = select(find_runs([tmp_path]), "30d")
    assert sorted(names(found)) == ["failed", "finished", "killed"]
    assert all(item.is_whole for item in found)


def test_an_old_run_that_was_evaluated_lately_is_not_old(tmp_path):
    make(tmp_path / "new", days=31)
    make(tmp_path / "new/evaluations/1", days=30.5)
    make(tmp_path / "new/evaluations/2", days=1)
    make(tmp_path / "old", days=31, evaluations=[1])
    assert names(select(find_runs([tmp_path]), "30d")) == ["old"]


def test_a_run_that_was_evaluated_since_somebody_was_asked_is_left(tmp_path):
    run = make(tmp_path / "a", days=31)
    (item,) = select(find_runs([tmp_path]), "30d")
    make(run.path / "evaluations/1")
    assert not delete(item, "30d")
    assert run.path.exists()


@pytest.mark.parametrize("rule", ["checkpoints", "failed", "0d"])
def test_a_running_run_is_never_chosen(tmp_path, rule):
    run = make(tmp_path / "a", "running", steps=[32])
    assert select(find_runs([tmp_path]), rule) == []
    run.finish("finished")
    alive = make(run.path / "evaluations/1", "running")
    assert select(find_runs([tmp_path]), rule) == []
    alive.finish("finished")


@pytest.mark.parametrize("where", ["", "evaluations/1"])
def test_a_run_that_runs_since_somebody_was_asked_is_left(tmp_path, where):
    run = make(tmp_path / "a", "killed", best=False, evaluations=[1])
    (item,) = select(find_runs([tmp_path]), "0d")
    before = tree(tmp_path)
    with RunDir.open(run.path / where).locked():
        assert not delete(item, "0d")
    assert tree(tmp_path) == before
    assert delete(item, "0d")
    assert not tree(tmp_path)


def test_a_run_that_is_another_since_somebody_was_asked_is_left(tmp_path):
    run = make(tmp_path / "a", "failed", best=False)
    (item,) = select(find_runs([tmp_path]), "failed")
    write(run, status="finished")
    assert not delete(item, "failed")
    assert run.path.exists()


def test_no_link_is_followed(tmp_path):
    outside = tmp_path / "outside"
    (outside / "step-8").mkdir(parents=True)
    (outside / "step-8/precious").touch()
    one = make(tmp_path / "in/one", steps=[1])
    (one.checkpoints / "step-2").symlink_to(outside / "step-8")
    two = make(tmp_path / "in/two", steps=[1])
    two.checkpoints.rename(outside / "checkpoints")
    two.checkpoints.symlink_to(outside / "checkpoints")
    (tmp_path / "in/three").symlink_to(make(outside / "run", "failed", best=False).path)
    before = tree(outside)
    for rule in ("checkpoints", "failed", "0d"):
        for item in select(find_runs([tmp_path / "in"]), rule):
            assert item.run.path.name != "three"
            assert delete(item, rule)
    assert tree(outside) - {"run/.lock"} == before - {"run/.lock"}
    assert tree(tmp_path / "in") == {"three"}


@pytest.mark.parametrize("at", ["unlink", "rmtree"])
def test_a_half_deleted_run_is_no_run_or_a_whole_one(tmp_path, monkeypatch, at):
    run = make(tmp_path / "outputs/a", "failed", best=False)
    whole = tree(run.path)
    (item,) = select(find_runs([tmp_path]), "failed")

    def killed(*args, **kwargs):
        raise KeyboardInterrupt

    target = Path if at == "unlink" else pruning.shutil
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(target, at, killed)
        delete(item, "failed")
    if at == "unlink":
        (left,) = find_runs([tmp_path])
        assert tree(left.path) == whole
    else:
        assert find_runs([tmp_path]) == []
        assert len(leftovers([tmp_path])) == 1


def test_leftovers_are_ours_alone(tmp_path):
    make(tmp_path / "outputs/a", steps=[1])
    ours = tmp_path / f"outputs/env/.a.{NOBODY}.tmp"
    for path in (ours, ours / f"deep/.b.{NOBODY}.tmp", tmp_path / "outputs/.mine.tmp"):
        path.mkdir(parents=True)
    (tmp_path / f"outputs/a/.x.{NOBODY}.tmp").mkdir()  # within a run
    (tmp_path / f"outputs/.link.{NOBODY}.tmp").symlink_to("/")
    assert leftovers([tmp_path / "outputs"]) == [ours]


def test_what_another_process_is_deleting_is_left_to_it(tmp_path):
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=-1) as other:
        theirs = tmp_path / f".a.{other.pid}.tmp"
        theirs.mkdir()
        (tmp_path / ".b.1.tmp").mkdir()  # of one that is never ours
        assert leftovers([tmp_path]) == []
        other.kill()
    assert leftovers([tmp_path]) == [theirs]


# ---- the question ----


@pytest.fixture
def ask(tmp_path, monkeypatch, answer, capsys):
    """Ask about a failed run and all that is old, and say what came of it."""
    make(tmp_path / "outputs/a", "failed", best=False)
    monkeypatch.chdir(tmp_path)

    def run(typed, **terminal):
        answer(typed, **terminal)
        prune(find_runs(["outputs"]), "0d")
        return capsys.readouterr().out

    return run


@pytest.mark.parametrize("typed", ["", "n\n", "\n", "yep\n"])
def test_no_deletes_nothing(ask, tmp_path, typed):
    assert "nothing was deleted" in ask(typed)
    assert (tmp_path / "outputs/a/run.json").exists()


def test_no_terminal_is_a_no(ask, tmp_path):
    assert "no terminal to ask on: nothing was deleted" in ask("y\n", tty=False)
    assert (tmp_path / "outputs/a/run.json").exists()


def test_yes_deletes_what_was_listed_and_nothing_else(command, tmp_path, answer):
    make(tmp_path / "outputs/env/a", "failed", best=False)
    make(tmp_path / "multirun/b", "killed", best=False)
    make(tmp_path / "outputs/env/c")
    make(tmp_path / "elsewhere/d", "failed", best=False)
    rest = f"outputs/env/.e.{NOBODY}.tmp"
    (tmp_path / rest).mkdir()
    before = tree(tmp_path)
    answer("y\n")
    code, said = command("prune=failed")
    assert code == 0
    for word in ("outputs/env/a", "multirun/b", "the rest of a run", "MLflow"):
        assert word in said.out
    assert "deleted: 3 of 3" in said.out
    gone = ("outputs/env/a", "multirun/b", rest)
    assert tree(tmp_path) == {path for path in before if not path.startswith(gone)}
    answer("y\n")
    assert command("prune=failed")[1].out == "prune=failed: nothing to delete\n"


def test_a_finished_run_stays_useful_without_its_checkpoints(run_main, answer):
    short = [
        "total_timesteps=64",
        "env.max_episode_steps=10",
        "evaluation.n_episodes=2",
    ]
    ppo = ["algo.n_steps=8", "algo.batch_size=16"]
    code, _, path = run_main(*short, *ppo, name="outputs/a")
    assert code == 0
    assert list(path.glob("checkpoints/step-*"))
    answer("y\n")
    code, said, _ = run_main("job=runs", "prune=checkpoints")
    assert "deleted: 1 of 1" in said.out
    left = {item.name for item in (path / "checkpoints").iterdir()}
    assert left == {"best", "final"}
    code, said, _ = run_main("job=resume", f"run={path}")
    assert code == 0 and "is finished" in said.out
    code, said, _ = run_main("job=evaluate", f"run={path}")
    assert code == 0 and "residual: success" in said.out


@pytest.mark.parametrize("value", ["all", "30", "30w", "-1d", "d", "1e3d", "x"])
def test_a_wrong_rule_is_refused(value):
    expected = rf"prune='?{value}'?: expected checkpoints, failed, or an age .* as 30d"
    with pytest.raises(ConfigError, match=expected):
        validate(config_of("job=runs", f"prune={value}"))


def test_only_the_list_deletes(run_main):
    code, said, path = run_main("prune=failed")
    assert code == 2
    assert "prune=failed: expected null; only job=runs deletes" in said.err
    assert not path.exists()

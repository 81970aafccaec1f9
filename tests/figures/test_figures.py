"""Figures of one run: each says what its tables say."""

import re
from dataclasses import replace
from types import SimpleNamespace
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import PPO_KEYS, config_of
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image
from tasks import CUBE, PUSH, content

from so101rl.figures.diagnosis import figure_diagnosis
from so101rl.figures.failure_classes import CLASS_COLOURS, colour_of, in_order
from so101rl.figures.failures import count, figure_failures
from so101rl.figures.gallery import draw_all
from so101rl.figures.held_out import read_episodes, read_paired_failures
from so101rl.figures.residual import figure_residual, over_time
from so101rl.figures.schematic import figure_schematic
from so101rl.figures.starts import figure_starts
from so101rl.figures.style import FigureError
from so101rl.figures.summary import _draw_failures, _mark_kept, figure_summary
from so101rl.figures.tabletop import flat, long_axis, on_page, placed, size_of, spot
from so101rl.figures.trajectories import commonest, figure_trajectories
from so101rl.files import FileError
from so101rl.runs.episodes_csv import AFTER, BEFORE
from so101rl.runs.run_dir import RunDir
from so101rl.runs.task import TaskFileError
from so101rl.runs.trajectories import Trajectory, write_trajectories

ENDS = {
    "base": ["none", "wrong_yaw", "wrong_yaw", "none", "timed_out", "wrong_yaw"],
    "residual": ["none", "none", "wrong_yaw", "lost_it", "none", "none"],
}
BOTH = ["summary", "trajectories", "starts", "residual", "failures"]


def moved(number, length, task):
    """Episode `number`: what moves slides and turns towards its goal."""
    rng = np.random.default_rng(number)
    pose = np.zeros((length + 1, 7))
    pose[:, :2] = np.linspace(rng.normal((0.19, -0.09), 0.02), (0.25, 0.06), length + 1)
    yaw = np.linspace(rng.uniform(-0.8, 0.8), 0, length + 1)
    pose[:, 3], pose[:, 6] = np.cos(yaw / 2), np.sin(yaw / 2)
    return Trajectory(
        poses=dict.fromkeys(task.free, pose),
        tip=pose[:, :3] + 0.01,
        numbers={n.name: np.linspace(0.15, 0.01, length) for n in task.numbers},
        residual_l2=rng.uniform(0, 2, length),
        clipped=rng.integers(0, 7, length) / 6,
    )


def make_run(path, ends=ENDS, task=PUSH):
    """The directory of an evaluation with made-up episodes."""
    run = RunDir.create(path, cfg=config_of(), command="x")
    run.write_task(content(task))
    final = {f"final_{number.name}": 0.01 for number in task.numbers}
    half = {"success_rate": 0.5, "wilson_95": [0.4, 0.6], "n_episodes": 100}
    policies = {
        policy: half | {"failures": {own[1]: 50}} for policy, own in ends.items()
    }
    run.write_evaluation({"policies": policies, "policy_step": 0, "alpha": [0.5] * 6})
    rows, steps = [], {}
    for policy, own in ends.items():
        blank = dict.fromkeys((*BEFORE, *AFTER), 0) | final | {"policy": policy}
        rows += [blank | {"seed": n, "failure": end} for n, end in enumerate(own)]
        lengths = [20 if end == "none" else 40 for end in own]
        steps[policy] = [moved(n, length, task) for n, length in enumerate(lengths)]
    run.write_episodes(rows)
    write_trajectories(run.file("trajectories.npz"), steps)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    made = make_run(tmp_path_factory.mktemp("run") / "run")
    for step in (0, 64):
        made.log(step, {"eval/success_rate": step / 100})
    return made


def is_picture(path):
    with Image.open(path) as picture:
        return picture.width >= 800 and np.asarray(picture).std() > 10


def test_every_figure_is_drawn_the_same_again_or_not_at_all(run, monkeypatch):
    drawn = draw_all(run)
    assert drawn == [run.path / "figures" / f"{name}.png" for name in BOTH]
    assert all(is_picture(path) for path in drawn)
    first = [path.read_bytes() for path in drawn]
    assert [path.read_bytes() for path in draw_all(RunDir.open(run.path))] == first
    monkeypatch.setattr("os.replace", Mock(side_effect=OSError(28, "disk full")))
    with pytest.raises(FileError, match=r"cannot write .*starts\.png: disk full"):
        figure_starts(run)


def test_a_run_that_lacks_data_says_what_is_missing(tmp_path):
    def refuse(run, message, *figures):
        for figure in figures:
            with pytest.raises(FigureError, match=message):
                figure(run)

    base = make_run(tmp_path / "base", {"base": ["jammed"] * 5})
    assert [path.stem for path in draw_all(base)] == BOTH[:3]
    paired = figure_residual, figure_failures
    refuse(base, "no .* of 'residual', only of 'base'", *paired)
    run = make_run(tmp_path / "run")
    command = f"job=evaluate run={re.escape(str(run.path))}$"
    run.file("trajectories.npz").unlink()
    drawn_from_steps = figure_trajectories, figure_starts, figure_residual
    refuse(run, rf"no trajectories\.npz.*{command}", *drawn_from_steps)
    assert is_picture(figure_failures(run))  # needs the table alone
    for name in ("evaluation.json", "episodes.csv"):
        run.file(name).unlink()
    refuse(run, r"no evaluation\.json", figure_summary)
    refuse(run, rf"no episodes\.csv.*{command}", figure_failures)
    old = make_run(tmp_path / "old")
    old.file("task.json").unlink()
    with pytest.raises(TaskFileError, match=r"no task\.json: .* version before 0\.2"):
        draw_all(old)


def test_episodes_are_paired_and_shown_are_those_that_end_in_the_commonest_ways(run):
    """Counted by hand in ENDS."""
    pairs = read_paired_failures(run)
    classes = in_order((failure for pair in pairs for failure in pair), PUSH)
    assert classes == ["none", "wrong_yaw", "timed_out", "lost_it"]
    counted = [[1, 0, 0, 1], [2, 1, 0, 0], [1, 0, 0, 0], [0, 0, 0, 0]]
    assert count(pairs, classes).tolist() == counted
    # (wrong_yaw, none) twice, first in 1; the others once, first in 0 and 2.
    episodes = read_episodes(run)
    assert {name: [e.failure for e in own] for name, own in episodes.items()} == ENDS
    assert [len(e.steps) for e in episodes["base"][:4]] == [20, 40, 40, 20]
    assert commonest(episodes) == [1, 0, 2]
    assert commonest({"base": [SimpleNamespace(failure="jammed")]}) == [0]


def test_failure_classes_have_the_task_s_order_and_colours_and_others_stand_last():
    ends = ["new_one", "jammed", "none", "wrong_yaw"]
    assert in_order(ends, PUSH) == ["none", "wrong_yaw", "jammed", "new_one"]
    colours = [colour_of(failure, PUSH) for failure in (*PUSH.failures, *ends[::2])]
    assert colours[:5] == ["#D55E00", "#56B4E9", "#CC79A7", "#F0E442", "#4d4d4d"]
    assert len(set(colours)) == 7
    assert len({*CLASS_COLOURS, *colours[5:]}) == 14
    assert [colour_of(failure, CUBE) for failure in CUBE.failures] == colours[:2]


CUBE_ENDS = {
    "base": ["none", "missed", "never_touched"],
    "residual": ["none", "none", "missed"],
}
OF_PAPER = re.compile("sheet|square|tape|yaw|paper|turn", re.I)


@pytest.mark.parametrize(("numbers", "is_still"), [(1, False), (0, True)])
def test_every_figure_shows_another_task_in_its_own_words(
    tmp_path, monkeypatch, numbers, is_still
):
    """A cube and a round spot with one number; without any, and nothing that moves."""
    fixed = {n: p for n, p in CUBE.parts.items() if not (is_still and p.free)}
    task = replace(CUBE, numbers=CUBE.numbers[:numbers], parts=fixed)
    texts, draw = [], Figure.savefig

    def savefig(figure, *args, **kwargs):
        draw(figure, *args, **kwargs)
        texts.append(" | ".join(text.get_text() for text in figure.findobj(Text)))

    monkeypatch.setattr(Figure, "savefig", savefig)
    run = make_run(tmp_path / "run", CUBE_ENDS, task)
    assert [path.stem for path in draw_all(run)] == BOTH
    rows = {
        policy: [row for row in run.episodes() if row["policy"] == policy]
        for policy in CUBE_ENDS
    }
    drawn = figure_diagnosis(run, [], rows, config_of("job=explain").job.symptoms)
    assert (drawn is not None) == bool(numbers)
    starts = dict.fromkeys(task.free, np.array([0.2, -0.1, 0.3]))
    figure_schematic(
        tmp_path / "schematic.png",
        parts=task.parts,
        starts=starts,
        samples=np.zeros((2 * len(starts), 3)),
        way=np.array([0.05, 0.16]) if starts else None,
        tip_xy=(0.2, 0.0),
        arm=None,
    )
    everything = " | ".join(texts)
    assert not OF_PAPER.findall(everything)
    for text, is_shown in (
        ("red cube at the start", not is_still),
        ("red cube 30 x 30 mm", not is_still),
        ("spot 60 mm across", True),
        ("By gap |", numbers),
        ("gap at the end [mm]", numbers),
        ("long side", False),
    ):
        assert (text in everything) == bool(is_shown), text


def test_the_summary_rings_what_was_kept_and_shows_every_end_of_an_episode():
    """Of two scores at its step, the last counts: that is the one that was saved."""
    axes = Figure().subplots()
    points = [(0, 0.4), (64, 0.8), (64, 0.9), (128, 0.7)]
    lines = [{"step": step, "eval/success_rate": rate} for step, rate in points]
    _mark_kept(axes, lines, 64)
    assert [ring.get_xydata().tolist() for ring in axes.lines] == [[[64, 90]]]
    base = {"success_rate": 0.3, "failures": {"jammed": 10, "new_one": 4}}
    residual = {"success_rate": 1.0, "failures": {}}
    ends = {"base": base, "residual": residual}
    _draw_failures(
        axes, {name: {"n_episodes": 20} | one for name, one in ends.items()}, PUSH
    )
    tops = {bar.get_x(): bar.get_y() + bar.get_height() for bar in axes.patches}
    assert list(tops.values()) == pytest.approx([100, 100])


def test_what_has_ended_is_gone_or_stays():
    rows = [np.array([1.0, 2.0, 3.0]), np.array([5.0])]
    for hold, end in ((True, 5), (False, np.nan)):
        wanted = [[1, 2, 3], [5, end, end]]
        np.testing.assert_array_equal(over_time(rows, hold=hold), wanted)


def test_an_object_is_drawn_as_it_lies():
    """Turned by a right angle, its x axis points along the table's y."""
    pose = np.array([[1.0, 2.0, 0.0, np.sqrt(0.5), 0, 0, np.sqrt(0.5)]])
    np.testing.assert_allclose(flat(pose), [[1, 2, np.pi / 2]])
    outline = np.array([(0.2, 0.1), (-0.2, 0.1), (-0.2, -0.1), (0.2, -0.1)])
    corners = placed(outline, flat(pose)[0])
    np.testing.assert_allclose(
        corners, [(0.9, 2.2), (0.9, 1.8), (1.1, 1.8), (1.1, 2.2)]
    )
    assert on_page(corners)[0].tolist() == [*spot(corners[0])]
    assert abs(long_axis(outline)).tolist() == [1, 0]
    assert abs(long_axis(PUSH.parts["object"].outline)).tolist() == [0, 1]
    assert size_of(outline) == "400 x 200 mm"
    assert all(long_axis(part.outline) is None for part in CUBE.parts.values())


@pytest.mark.parametrize(
    ("typed", "figures", "videos"),
    [
        ([*PPO_KEYS], BOTH, {"residual", "comparison"}),
        (["job=evaluate", "hydra.run.dir=run"], BOTH[:3], {"base"}),
    ],
    ids=["training", "bare base"],
)
def test_what_ends_with_an_evaluation_leaves_pictures(run_main, typed, figures, videos):
    wanted = ("evaluation.figure=true", "evaluation.video=true")
    code, said, path = run_main(*wanted, *typed)
    if "cannot draw" in said.err:
        pytest.skip(said.err)
    assert code == 0, said.err
    drawn = {file.stem: is_picture(file) for file in path.glob("figures/*")}
    assert drawn == dict.fromkeys(figures, True)
    assert {file.stem for file in path.glob("videos/*.mp4")} == videos

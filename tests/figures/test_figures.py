"""Figures of one run: each says what its tables say."""

import inspect
import re
from unittest.mock import Mock

import numpy as np
import pytest
from conftest import PPO_KEYS
from PIL import Image

from so101rl.envs.paper_push import PaperPush
from so101rl.figures.failure_classes import (
    FAILURE_CLASSES,
    colour_of,
    in_order,
    label_of,
)
from so101rl.figures.failures import count, figure_failures
from so101rl.figures.gallery import draw_all
from so101rl.figures.held_out import read_episodes, read_paired_failures
from so101rl.figures.residual import figure_residual, over_time
from so101rl.figures.starts import figure_starts
from so101rl.figures.style import FigureError
from so101rl.figures.tabletop import flat, on_page, outline, spot
from so101rl.figures.trajectories import commonest, figure_trajectories
from so101rl.files import FileError
from so101rl.runs.episodes_csv import COLUMNS
from so101rl.runs.run_dir import RunDir
from so101rl.runs.trajectories import Trajectory, write_trajectories

SCENE = {
    "object_size": [0.105, 0.148, 0.001],
    "square_centre": [0.25, 0.06],
    "square_side": 0.16,
    "tape_width": 0.012,
}
ENDS = {
    "base": ["none", "wrong_yaw", "wrong_yaw", "none", "timed_out", "wrong_yaw"],
    "residual": ["none", "none", "wrong_yaw", "lost_it", "none", "none"],
}
BOTH = ["summary", "trajectories", "starts", "residual", "failures"]


def moved(number, length):
    """Episode `number`: the sheet slides and turns towards the square."""
    rng = np.random.default_rng(number)
    way = np.linspace(0, 1, length + 1)
    yaw = rng.uniform(-0.8, 0.8) * (1 - way)
    pose = np.zeros((length + 1, 7))
    pose[:, :2] = np.outer(1 - way, rng.normal((0.19, -0.09), 0.02))
    pose[:, :2] += np.outer(way, SCENE["square_centre"])
    pose[:, 3], pose[:, 6] = np.cos(yaw / 2), np.sin(yaw / 2)
    return Trajectory(
        object_pose=pose,
        tip=pose[:, :3] + 0.01,
        distance_m=0.15 * (1 - way[1:]),
        yaw_error_rad=abs(yaw[1:]),
        residual_l2=rng.uniform(0, 2, length),
        clipped=rng.integers(0, 7, length) / 6,
    )


def make_run(path, ends=ENDS):
    """The directory of an evaluation with made-up episodes."""
    cfg = {"seed": 0, "env": {"control_hz": 30, "scene": SCENE}}
    run = RunDir.create(path, cfg=cfg, command="x", groups={"env": "paper_push"})
    half = {"success_rate": 0.5, "wilson_95": [0.4, 0.6], "n_episodes": 100}
    policies = {policy: half | {"failures": {"wrong_yaw": 50}} for policy in ends}
    run.write_evaluation({"policies": policies, "policy_step": 0, "alpha": [0.5] * 6})
    rows, found = [], {}
    for policy, own in ends.items():
        blank = dict.fromkeys(COLUMNS, 0) | {"policy": policy}
        found[policy] = []
        for number, end in enumerate(own):
            found[policy].append(moved(number, 20 if end == "none" else 40))
            rows.append(blank | {"seed": 100 + number, "failure": end})
    run.write_episodes(rows)
    write_trajectories(run.file("trajectories.npz"), found)
    return run


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("run") / "run")


@pytest.fixture(scope="module")
def base_only(tmp_path_factory):
    return make_run(tmp_path_factory.mktemp("base") / "run", {"base": ["jammed"] * 5})


def is_picture(path):
    with Image.open(path) as picture:
        return picture.width >= 800 and np.asarray(picture).std() > 10


def test_every_figure_is_drawn_and_the_same_again(run):
    drawn = draw_all(run)
    assert drawn == [run.path / "figures" / f"{name}.png" for name in BOTH]
    assert all(is_picture(path) for path in drawn)
    first = [path.read_bytes() for path in drawn]
    assert [path.read_bytes() for path in draw_all(RunDir.open(run.path))] == first


def test_a_bare_base_has_the_figures_of_one_policy(base_only):
    drawn = draw_all(base_only)
    assert [path.stem for path in drawn] == BOTH[:3]
    assert set((base_only.path / "figures").iterdir()) == set(drawn)
    for figure in (figure_residual, figure_failures):
        with pytest.raises(FigureError, match="no episodes of 'residual', only of 'ba"):
            figure(base_only)


def test_a_run_that_lacks_data_says_how_to_get_it(tmp_path):
    run = make_run(tmp_path)
    run.file("trajectories.npz").unlink()
    command = f"job=evaluate run={re.escape(str(tmp_path))}$"
    for figure in (figure_trajectories, figure_starts, figure_residual):
        with pytest.raises(FigureError, match=rf"no trajectories\.npz.*{command}"):
            figure(run)
    assert is_picture(figure_failures(run))  # needs the table alone
    run.file("evaluation.json").unlink()
    (tmp_path / "episodes.csv").unlink()
    with pytest.raises(FigureError, match=rf"no episodes\.csv.*{command}"):
        figure_failures(run)


def test_a_figure_that_cannot_be_written_is_a_short_error(run, monkeypatch):
    monkeypatch.setattr("os.replace", Mock(side_effect=OSError(28, "disk full")))
    with pytest.raises(FileError, match=r"cannot write .*starts\.png: disk full"):
        figure_starts(run)


def test_failures_are_counted_episode_by_episode(run):
    """Counted by hand in ENDS."""
    pairs = read_paired_failures(run)
    classes = in_order(failure for pair in pairs for failure in pair)
    assert classes == ["none", "wrong_yaw", "timed_out", "lost_it"]
    assert count(pairs, classes).tolist() == [
        [1, 0, 0, 1],
        [2, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_steps_and_table_belong_together(run):
    episodes = read_episodes(run)
    assert {name: [e.failure for e in own] for name, own in episodes.items()} == ENDS
    for e in (e for own in episodes.values() for e in own):
        assert len(e.poses) == len(e.steps.distance_m) + 1
        assert len(e.steps.distance_m) == (20 if e.failure == "none" else 40)


def test_shown_episodes_end_in_the_commonest_ways(run, base_only):
    """ENDS: (wrong_yaw, none) twice, first in 1; the others once, first in 0 and 2."""
    assert commonest(read_episodes(run)) == [1, 0, 2]
    assert commonest(read_episodes(base_only)) == [0, 1, 2]
    assert commonest({"base": read_episodes(base_only)["base"][:1]}) == [0]


def test_the_known_failure_classes_are_those_of_the_task():
    task = inspect.getsource(PaperPush.failure_class)
    assert set(FAILURE_CLASSES) == set(re.findall(r'"([a-z_]+)"(?=:|\))', task))


def test_an_unknown_failure_class_has_a_colour_and_stands_last():
    assert in_order(["new_one", "jammed", "none"]) == ["none", "jammed", "new_one"]
    assert label_of("new_one") == "new one"
    assert len({colour_of(name) for name in ("new_one", "none", "jammed")}) == 3


def test_what_has_ended_is_gone_or_stays():
    rows = [np.array([1.0, 2.0, 3.0]), np.array([5.0])]
    np.testing.assert_array_equal(over_time(rows, hold=True), [[1, 2, 3], [5, 5, 5]])
    gone = over_time(rows, hold=False)
    np.testing.assert_array_equal(gone, [[1, 2, 3], [5, np.nan, np.nan]])


def test_a_sheet_is_drawn_as_it_lies():
    """Turned by a right angle, its x axis points along the table's y."""
    pose = np.array([[1.0, 2.0, 0.0, np.sqrt(0.5), 0, 0, np.sqrt(0.5)]])
    np.testing.assert_allclose(flat(pose), [[1, 2, np.pi / 2]])
    corners = outline(flat(pose)[0], (0.4, 0.2))
    wanted = [(0.9, 2.2), (0.9, 1.8), (1.1, 1.8), (1.1, 2.2)]
    np.testing.assert_allclose(corners, wanted)
    assert on_page(corners)[0].tolist() == [*spot(corners[0])] == [2.2, 0.9]


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
    drawn = sorted((path / "figures").iterdir())
    assert [file.stem for file in drawn] == sorted(figures)
    assert all(is_picture(file) for file in drawn)
    assert {file.stem for file in path.glob("videos/*.mp4")} == videos

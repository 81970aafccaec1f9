"""Figures of one run: each says what its tables say."""

import numpy as np
import pytest
from conftest import PPO_KEYS
from PIL import Image

from so101rl.figures.failures import counts, figure_failures
from so101rl.figures.gallery import draw_all
from so101rl.figures.held_out import paired, read_ends, read_played
from so101rl.figures.residual import figure_residual, over_time
from so101rl.figures.starts import figure_starts
from so101rl.figures.style import FigureError, class_colour, class_name, in_order
from so101rl.figures.tabletop import flat, on_page, outline, spot
from so101rl.figures.trajectories import figure_trajectories, typical
from so101rl.rendering import gl
from so101rl.rendering.renderer import SceneRenderer
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
STEPS = {
    "trajectories": figure_trajectories,
    "starts": figure_starts,
    "residual": figure_residual,
}


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


def make_run(path, ends=ENDS, steps=True):
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
    if steps:
        write_trajectories(run.file("trajectories.npz"), found)
    return run


def is_picture(path):
    with Image.open(path) as picture:
        return picture.width >= 800 and np.asarray(picture).std() > 10


def test_every_figure_is_drawn_and_the_same_again(tmp_path):
    run = make_run(tmp_path)
    drawn = draw_all(run)
    assert drawn == [run.path / "figures" / f"{name}.png" for name in BOTH]
    assert all(is_picture(path) for path in drawn)
    first = [path.read_bytes() for path in drawn]
    assert [path.read_bytes() for path in draw_all(RunDir.open(tmp_path))] == first


def test_a_bare_base_has_the_figures_of_one_policy(tmp_path):
    run = make_run(tmp_path, {"base": ["timed_out"]})
    assert [path.stem for path in draw_all(run)] == BOTH[:3]
    assert len(list((tmp_path / "figures").iterdir())) == 3
    for figure in (figure_residual, figure_failures):
        with pytest.raises(FigureError, match="no episodes of 'residual', only of 'ba"):
            figure(run)


@pytest.mark.parametrize("figure", STEPS.values(), ids=STEPS)
def test_a_run_without_steps_says_how_to_get_them(tmp_path, figure):
    run = make_run(tmp_path, steps=False)
    wanted = rf"no trajectories\.npz.*job=evaluate run={tmp_path}$"
    with pytest.raises(FigureError, match=wanted):
        figure(run)
    assert is_picture(figure_failures(run))  # needs the table alone


def test_a_run_without_episodes_says_how_to_get_them(tmp_path):
    run = make_run(tmp_path)
    (tmp_path / "episodes.csv").unlink()
    with pytest.raises(FigureError, match=r"no episodes\.csv.*job=evaluate run="):
        figure_failures(run)


def test_failures_are_counted_episode_by_episode(tmp_path):
    """Counted by hand in ENDS."""
    ends = read_ends(make_run(tmp_path, steps=False))
    pairs = paired(ends, None)
    classes = in_order(end for pair in pairs for end in pair)
    assert classes == ["none", "wrong_yaw", "timed_out", "lost_it"]
    assert counts(pairs, classes).tolist() == [
        [1, 0, 0, 1],
        [2, 1, 0, 0],
        [1, 0, 0, 0],
        [0, 0, 0, 0],
    ]


def test_steps_and_table_belong_together(tmp_path):
    played = read_played(make_run(tmp_path))
    assert {name: [e.end for e in own] for name, own in played.items()} == ENDS
    assert [e.seed for e in played["base"]] == [100, 101, 102, 103, 104, 105]
    for own in played.values():
        for e in own:
            assert len(e.poses) == len(e.steps.distance_m) + 1
            assert len(e.steps.distance_m) == (20 if e.end == "none" else 40)


def test_shown_episodes_end_in_the_commonest_ways(tmp_path):
    """ENDS: (wrong_yaw, none) twice, first in 1; the others once, first in 0 and 2."""
    assert typical(read_played(make_run(tmp_path / "two"))) == [1, 0, 2]
    alike = make_run(tmp_path / "alike", {"base": ["jammed"] * 5})
    assert typical(read_played(alike)) == [0, 1, 2]
    assert typical(read_played(make_run(tmp_path / "one", {"base": ["none"]}))) == [0]


def test_an_unknown_failure_class_has_a_colour_and_stands_last():
    assert in_order(["new_one", "jammed", "none"]) == ["none", "jammed", "new_one"]
    assert class_name("new_one") == "new one"
    assert class_colour("new_one") not in {class_colour("none"), class_colour("jammed")}


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


def can_render():
    import mujoco

    try:
        empty = mujoco.MjModel.from_xml_string("<mujoco/>")
        SceneRenderer(model=empty, width=16, height=16).close()
    except gl.NoGraphicsError:
        return False
    return True


@pytest.mark.parametrize(
    ("typed", "figures", "videos"),
    [
        ([*PPO_KEYS], BOTH, ["residual", "comparison"]),
        (["job=evaluate", "hydra.run.dir=run"], BOTH[:3], ["base"]),
    ],
    ids=["training", "bare base"],
)
def test_what_ends_with_an_evaluation_leaves_pictures(run_main, typed, figures, videos):
    films = f"evaluation.video={can_render()}"
    code, said, path = run_main("evaluation.figure=true", films, *typed)
    assert code == 0, said.err
    drawn = sorted((path / "figures").iterdir())
    assert [file.stem for file in drawn] == sorted(figures)
    assert all(is_picture(file) for file in drawn)
    shot = {file.stem for file in path.glob("videos/*.mp4")}
    assert shot == (set(videos) if can_render() else set())

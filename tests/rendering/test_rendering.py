"""Pictures of states and videos of episodes."""

import os
from types import SimpleNamespace
from unittest.mock import Mock

import av
import mujoco
import numpy as np
import pytest
from conftest import make_env

from so101rl.envs.paper_push import PaperPush
from so101rl.evaluation.videos import newly_solved_or_failed, worst_median_best
from so101rl.rendering import gl, video
from so101rl.rendering.renderer import RenderError, SceneRenderer, drawable
from so101rl.robots import so101
from so101rl.scene.appearance import CAMERAS, FRONT, TOP, add_appearance

POSE = np.array([0.2, -0.3, 0.7, 1.1, 0.0, 0.2])
SIZE = {"width": 160, "height": 120}


@pytest.fixture(scope="module")
def renderer():
    spec = so101.SO101().spec()
    add_appearance(spec)
    try:
        made = SceneRenderer(model=spec.compile(), **SIZE)
    except gl.NoGraphicsError as error:
        pytest.skip(str(error))
    with made:
        yield made


def clip(n=5, **changed):
    qpos, values = np.tile(POSE, (n, 1)), {"title": "best", "outcome": "timed out"}
    qpos[:, 0] = np.linspace(-0.5, 0.5, n)
    values |= {"qpos": qpos, "captions": ["near"] * n, "is_success": True}
    return video.EpisodeClip(**(values | changed))


def decoded(path):
    with av.open(path) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


def test_a_picture_depends_on_the_state_alone(renderer):
    for camera in CAMERAS:  # each sees the orange arm
        picture = renderer.frame(POSE, camera=camera)
        assert (picture.shape, picture.dtype) == ((120, 160, 3), np.uint8)
        assert (picture[..., 0] > picture[..., 2] + 60.0).mean() > 0.01
    first = renderer.frame(POSE, camera=FRONT)
    assert (renderer.frame(POSE + 0.2, camera=FRONT) != first).any()
    with SceneRenderer(model=renderer.model, width=64, height=48) as other:
        other.frame(POSE, camera=TOP)
        np.testing.assert_array_equal(first, renderer.frame(POSE, camera=FRONT))
    np.testing.assert_array_equal(first, renderer.frame(POSE, camera=FRONT))
    other.close()
    for refuses, qpos, camera, message in (
        (other, POSE, FRONT, "closed"),
        (renderer, POSE, "frnt", r"'frnt'.*front, top, wrist"),
        (renderer, np.zeros(7), FRONT, r"\(6,\), got \(7,\)"),
    ):
        with pytest.raises(RenderError, match=message):
            refuses.frame(qpos, camera=camera)
    with pytest.raises(RenderError, match="height of a picture must be positive"):
        SceneRenderer(model=renderer.model, width=64, height=0)


@pytest.mark.parametrize("problem", [ImportError, AttributeError, mujoco.FatalError])
def test_a_missing_library_names_the_packages(monkeypatch, problem):
    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(gl, "_context_class", Mock(side_effect=problem("no library.")))
    with pytest.raises(gl.NoGraphicsError, match="libegl1 libegl-mesa0 libgl1-mesa"):
        SceneRenderer(model=model, **SIZE)
    assert "MUJOCO_GL" not in os.environ


def test_a_video_starts_fast_and_appears_whole_or_not_at_all(tmp_path):
    def broken():
        yield from 30 * frames  # more than the encoder keeps back
        raise RuntimeError("simulation died")

    path = tmp_path / "sub" / "v.mp4"
    frames = [np.full((48, 64, 3), value, np.uint8) for value in (0, 100, 200)]
    video.write_video(path, frames=iter(frames), fps=10)
    assert [round(frame.mean() / 50) for frame in decoded(path)] == [0, 2, 4]
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    with pytest.raises(RuntimeError, match="simulation died"):
        video.write_video(path.with_name("w.mp4"), frames=broken(), fps=10)
    assert os.listdir(path.parent) == ["v.mp4"]


def test_impossible_videos_are_refused(tmp_path):
    path, frame = tmp_path / "v.mp4", np.zeros((5, 6, 3), np.uint8)
    (tmp_path / "file").write_text("")
    for where, frames, message in (
        (path, [], "at least one frame"),
        (path, [frame], "even size, got 6 x 5"),
        (tmp_path / "file" / "v.mp4", [frame[:4]], "cannot write"),
    ):
        with pytest.raises(RenderError, match=message):
            video.write_video(where, frames=frames, fps=10)
    for wrong in ({"fps": 0}, {"every": 0}):
        with pytest.raises(RenderError, match="at least 1, got 0"):
            video.episode_video(path, model=None, rows=[[clip()]], **wrong)
    with pytest.raises(RenderError, match="same positive length, got 3 and 2"):
        clip(3, captions=[""] * 2)


def test_episodes_are_shown_beside_and_after_each_other(renderer, tmp_path):
    path = tmp_path / "comparison.mp4"
    rows = [[clip(4, is_success=False), clip(9)], [clip(3), clip(2)]]
    video.episode_video(path, model=renderer.model, rows=rows, every=2, **SIZE)
    shown, paused = decoded(path), round(video.PAUSE * 15)
    assert {frame.shape for frame in shown} == {(120, 320, 3)}
    assert len(shown) == (5 + paused) + (2 + paused)  # steps 0 2 4 6 8, and 0 2
    left, right = np.split(np.array(shown[:5], int), 2, axis=2)
    # The left arm stands after steps 0 2 3; the right one goes on.
    assert abs(left[2] - left[4]).mean() < 2 < abs(right[2] - right[4]).mean()


def episode(solved, length=10, far=0.1):
    numbers = {"distance_m": far}
    return SimpleNamespace(
        is_success=solved, length=length, numbers=numbers, total_reward=0
    )


def test_the_episodes_to_be_shown_are_what_they_are_called():
    soonest, farthest = episode(True, 10, 0.01), episode(False, 40, 0.2)
    others = [episode(True, 30, 0.01), episode(False, 40, 0.02), episode(True, 35)]
    ranked = worst_median_best([*others, soonest, farthest], PaperPush.numbers)
    assert ranked == {"worst": 4, "median": 2, "best": 3}
    assert worst_median_best(others[:1], ()) == {"worst": 0, "median": 0, "best": 0}
    before = list(map(episode, (True, False, False, True)))
    now = list(map(episode, (True, False, True, False)))
    assert newly_solved_or_failed(before, now) == {"fixed": 2, "broken": 3}
    assert newly_solved_or_failed(before, before) == {}


def test_to_ask_whether_a_world_can_be_drawn_builds_nothing(monkeypatch):
    hardware, build = make_env(n=1).env.hardware, Mock(side_effect=KeyError)
    monkeypatch.setattr(hardware, "_build_spec", build)
    assert drawable(hardware) is hardware
    build.assert_not_called()
    with pytest.raises(RenderError, match="hardware=sim"):
        drawable(object())

"""Pictures, videos and the drawing of the table."""

import os

import av
import mujoco
import numpy as np
import pytest
from conftest import make_env

from so101rl.evaluation.rollout import Episode
from so101rl.evaluation.videos import newly_solved_or_failed, worst_median_best
from so101rl.rendering import gl, video
from so101rl.rendering import renderer as rendering
from so101rl.rendering.renderer import drawable
from so101rl.robots import so101
from so101rl.scene import appearance

POSE = np.array([0.2, -0.3, 0.7, 1.1, 0.0, 0.2])
SIZE = {"width": 160, "height": 120}


@pytest.fixture(scope="module")
def model():
    spec = so101.spec()
    appearance.add_appearance(spec)
    return spec.compile()


@pytest.fixture(scope="module")
def renderer(model):
    try:
        made = rendering.SceneRenderer(model=model, **SIZE)
    except gl.NoGraphicsError as error:
        pytest.skip(str(error))
    with made:
        yield made


def clip(title="best", n=5, is_success=True):
    qpos = np.tile(POSE, (n, 1))
    qpos[:, 0] = np.linspace(-0.5, 0.5, n)
    return video.EpisodeClip(
        title=title,
        qpos=qpos,
        distance_m=np.linspace(0.1, 0, n),
        is_success=is_success,
        end="success" if is_success else "timed out",
    )


def decoded(path):
    with av.open(path) as file:
        return [frame.to_ndarray(format="rgb24") for frame in file.decode(video=0)]


@pytest.mark.parametrize("camera", appearance.CAMERAS)
def test_every_camera_sees_the_orange_arm(renderer, camera):
    picture = renderer.frame(POSE, camera=camera)
    assert picture.shape == (120, 160, 3)
    assert picture.dtype == np.uint8
    red, blue = picture[..., 0].astype(int), picture[..., 2].astype(int)
    assert (red - blue > 60).mean() > 0.01


def test_a_picture_is_a_function_of_the_state(renderer):
    first = renderer.frame(POSE, camera=appearance.FRONT)
    moved = renderer.frame(POSE + 0.2, camera=appearance.FRONT)
    again = renderer.frame(POSE, camera=appearance.FRONT)
    assert (first != moved).any()
    np.testing.assert_array_equal(first, again)


def test_two_renderers_do_not_disturb_each_other(renderer, model):
    before = renderer.frame(POSE, camera=appearance.FRONT)
    with rendering.SceneRenderer(model=model, width=64, height=48) as other:
        other.frame(POSE, camera=appearance.TOP)
        np.testing.assert_array_equal(
            before, renderer.frame(POSE, camera=appearance.FRONT)
        )
    np.testing.assert_array_equal(before, renderer.frame(POSE, camera=appearance.FRONT))


def test_unknown_camera_lists_the_known_ones(renderer):
    with pytest.raises(rendering.RenderError, match=r"'frnt'.*front, top, wrist"):
        renderer.frame(POSE, camera="frnt")


def test_wrong_state_size_is_named(renderer):
    with pytest.raises(rendering.RenderError, match=r"\(6,\), got \(7,\)"):
        renderer.frame(np.zeros(7), camera=appearance.FRONT)


def test_a_closed_renderer_says_so(renderer, model):
    with rendering.SceneRenderer(model=model, **SIZE) as other:
        pass
    other.close()
    with pytest.raises(rendering.RenderError, match="closed"):
        other.frame(POSE, camera=appearance.FRONT)


@pytest.mark.parametrize("problem", [ImportError, AttributeError, mujoco.FatalError])
def test_a_missing_library_names_the_packages(model, monkeypatch, problem):
    def broken(backend):
        raise problem("no such library.")

    monkeypatch.delenv("MUJOCO_GL", raising=False)
    monkeypatch.setattr(gl, "_context_class", broken)
    with pytest.raises(
        gl.NoGraphicsError, match="libegl1 libegl-mesa0 libgl1-mesa-dri"
    ):
        rendering.SceneRenderer(model=model, **SIZE)
    assert "MUJOCO_GL" not in os.environ


def test_annotate_writes_on_a_copy():
    frame = np.full((240, 320, 3), 200, np.uint8)
    written = video.annotate(frame, lines=["best", "step 1/2"], accent=video.GREEN)
    assert (frame == 200).all()
    assert written.shape == frame.shape
    assert (written[:100, :160] != 200).any()
    assert (written[140:] == 200).all()


def test_video_has_every_frame_and_starts_fast(tmp_path):
    path = tmp_path / "sub" / "v.mp4"
    frames = [np.full((48, 64, 3), value, np.uint8) for value in (0, 100, 200)]
    video.write_video(path, frames=iter(frames), fps=10)
    shown = decoded(path)
    assert [round(frame.mean() / 50) for frame in shown] == [0, 2, 4]
    content = path.read_bytes()
    assert content.index(b"moov") < content.index(b"mdat")
    assert os.listdir(path.parent) == ["v.mp4"]


def test_a_broken_video_leaves_nothing(tmp_path):
    def frames():
        yield np.zeros((48, 64, 3), np.uint8)
        raise RuntimeError("simulation died")

    with pytest.raises(RuntimeError, match="simulation died"):
        video.write_video(tmp_path / "v.mp4", frames=frames(), fps=10)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("frames", "message"),
    [
        ([], "at least one frame"),
        ([np.zeros((5, 6, 3), np.uint8)], "even size, got 6 x 5"),
    ],
)
def test_impossible_videos_are_refused(tmp_path, frames, message):
    with pytest.raises(rendering.RenderError, match=message):
        video.write_video(tmp_path / "v.mp4", frames=frames, fps=10)


def test_unwritable_video_is_a_short_error(tmp_path):
    (tmp_path / "file").write_text("")
    frames = [np.zeros((48, 64, 3), np.uint8)]
    with pytest.raises(rendering.RenderError, match="cannot write"):
        video.write_video(tmp_path / "file" / "v.mp4", frames=frames, fps=10)


@pytest.mark.parametrize(("every", "drawn"), [(1, 5), (2, 3), (3, 3)])
def test_episode_video_shows_episodes_and_holds_the_last_frame(
    renderer, model, tmp_path, every, drawn
):
    path = tmp_path / "episodes.mp4"
    episodes = [clip("worst", is_success=False), clip("best")]
    video.episode_video(path, model=model, episodes=episodes, every=every, **SIZE)
    held = round(video.HOLD * round(30 / every))
    assert len(decoded(path)) == 2 * (drawn + held)


def test_comparison_waits_for_the_longer_clip(renderer, model, tmp_path):
    path = tmp_path / "comparison.mp4"
    pairs = [(clip(n=4), clip(n=9)), (clip(n=3), clip(n=2))]
    video.comparison_video(path, model=model, pairs=pairs, every=2, **SIZE)
    shown, held = decoded(path), round(video.HOLD * 15)
    assert {frame.shape for frame in shown} == {(120, 320, 3)}
    assert len(shown) == (5 + held) + (2 + held)  # steps 0 2 4 6 8, and 0 2
    left = np.array([frame[:, :160].astype(int) for frame in shown[:5]])
    right = np.array([frame[:, 160:].astype(int) for frame in shown[:5]])
    # The left arm stands after steps 0 2 3; the right one goes on.
    assert abs(left[2] - left[4]).mean() < 2 < abs(right[2] - right[4]).mean()


def test_what_has_ended_keeps_its_last_picture():
    def pictures(*values):
        return iter([np.full((2, 2, 3), value, np.uint8) for value in values])

    shown = video._together([pictures(1, 2), pictures(3, 4, 5)])
    assert [frame[0, ::2, 0].tolist() for frame in shown] == [[1, 3], [2, 4], [2, 5]]


@pytest.mark.parametrize("wrong", [{"fps": 0}, {"every": 0}])
def test_a_video_without_a_rate_is_refused(renderer, model, tmp_path, wrong):
    with pytest.raises(rendering.RenderError, match="at least 1, got 0"):
        video.episode_video(
            tmp_path / "v.mp4", model=model, episodes=[clip()], **SIZE, **wrong
        )


def test_clip_arrays_must_belong_together():
    with pytest.raises(
        rendering.RenderError, match="same positive length, got 3 and 2"
    ):
        video.EpisodeClip(
            title="x",
            qpos=np.zeros((3, 6)),
            distance_m=np.zeros(2),
            is_success=True,
            end="success",
        )


def episode(is_success, length, distance):
    steps = np.zeros((length, 1))
    return Episode(
        seed=0,
        is_success=is_success,
        total_reward=0,
        length=length,
        final_distance_m=distance,
        final_yaw_error_rad=0,
        mean_residual_l2=0,
        failure="none" if is_success else "jammed",
        qpos=steps,
        trajectory=None,
    )


def test_worst_median_and_best_are_what_they_are_called():
    episodes = [
        episode(True, 30, 0.01),
        episode(False, 40, 0.02),
        episode(True, 10, 0.01),  # solved soonest
        episode(False, 40, 0.20),  # not solved, and farthest away
        episode(True, 35, 0.01),
    ]
    assert worst_median_best(episodes) == {"worst": 3, "median": 4, "best": 2}
    assert worst_median_best(episodes[:1]) == {"worst": 0, "median": 0, "best": 0}


def test_the_first_episodes_that_changed_are_found():
    def played(*solved):
        return [episode(found, 10, 0.1) for found in solved]

    before = played(True, False, False, True)
    assert newly_solved_or_failed(before, played(True, False, True, False)) == {
        "fixed": 2,
        "broken": 3,
    }
    assert newly_solved_or_failed(before, played(True, True, True, True)) == {
        "fixed": 1
    }
    assert newly_solved_or_failed(before, before) == {}


def test_to_ask_whether_a_world_can_be_drawn_builds_nothing(monkeypatch):
    hardware = make_env(n=1).env.hardware

    def refuse(**_):
        raise AssertionError("built")

    monkeypatch.setattr(hardware, "_build_spec", refuse)
    assert drawable(hardware) is hardware
    with pytest.raises(AssertionError, match="built"):
        hardware.drawn_model()

"""`job=view` with and without a screen."""

from types import SimpleNamespace

import mujoco
import numpy as np
import pytest
from PIL import Image

from so101rl import gl, view
from so101rl.build import build_env
from so101rl.composition import compose
from so101rl.policies import NoResidual
from so101rl.render import RenderError, drawable

NAMES = ["schematic.png", "front.png", "top.png", "wrist.png"]


@pytest.fixture(scope="module")
def cfg():
    return compose(["job=view", "n_threads=1"])


@pytest.fixture
def env(cfg):
    made = build_env(cfg, 2)
    yield made
    made.close()


def test_without_a_screen_it_writes_pictures(cfg, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gl, "has_display", lambda: False)
    monkeypatch.setattr(view, "SAMPLES", 2)
    monkeypatch.setattr(view, "PICTURE", (160, 120))
    monkeypatch.chdir(tmp_path)
    try:
        view.view(cfg)
    except gl.NoGraphicsError as error:
        pytest.skip(str(error))
    printed = capsys.readouterr().out.split()
    assert printed == [f"outputs/view/{name}" for name in NAMES]
    for path in printed:
        with Image.open(tmp_path / path) as picture:
            assert np.ptp(np.asarray(picture)) > 100


def test_the_window_shows_the_base_policy_at_work(env, monkeypatch):
    shown = []

    class Window:
        opt = SimpleNamespace(geomgroup=np.ones(6))

        def __init__(self, model, data, **panels):
            self.data, self.cam = data, mujoco.MjvCamera()

        def __enter__(self):
            return self

        def __exit__(self, *_):
            return None

        def is_running(self):
            return len(shown) < 4

        def sync(self):
            shown.append(self.data.qpos.copy())

    monkeypatch.setattr("glfw.init", lambda: True)
    monkeypatch.setattr("mujoco.viewer.launch_passive", Window)
    view.show(env, NoResidual(), seed=0)
    assert len(shown) == 4
    assert (shown[0] != shown[-1]).any()


def test_a_window_that_cannot_open_says_what_to_do(env, monkeypatch):
    def broken(model, data, **panels):
        raise RuntimeError("no screen.")

    monkeypatch.setattr("glfw.init", lambda: True)
    monkeypatch.setattr("mujoco.viewer.launch_passive", broken)
    with pytest.raises(
        view.WindowError, match=r"no screen\. On macOS.*job\.window=false"
    ):
        view.show(env, NoResidual(), seed=0)


def test_a_screen_that_is_gone_is_named(env, monkeypatch):
    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("glfw.init", lambda: False)
    with pytest.raises(view.WindowError, match="no screen"):
        view.show(env, NoResidual(), seed=0)


def test_a_real_arm_cannot_be_drawn():
    with pytest.raises(RenderError, match="hardware=sim"):
        drawable(object())

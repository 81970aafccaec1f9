"""`job=view`: keys, episodes and hands, the window, the browser, the pictures."""

import socket
import sys
import threading
import urllib.request
from contextlib import nullcontext
from types import SimpleNamespace
from unittest.mock import Mock

import glfw
import mujoco
import numpy as np
import pytest
from conftest import config_of, make_env
from mujoco.experimental.dear_imgui import dear_imgui
from PIL import Image

from so101rl.errors import So101Error
from so101rl.jobs import view
from so101rl.policies.policy import NoResidual
from so101rl.rendering import gl
from so101rl.rendering.renderer import drawable
from so101rl.seeds import episode_seeds
from so101rl.viewer import pictures, screen, web, window
from so101rl.viewer.controls import Command, Controls
from so101rl.viewer.dump import DumpError
from so101rl.viewer.session import Session

SLIDES = 0.5 * 0.005 * 9.81  # [N] Coulomb, with the numbers of conf/env/paper_push.yaml


def make_session(*typed, policy=None):
    return Session(make_env("job=view", *typed, n=1), policy, root=0)


def states(session, steps):
    """The states after each of so many steps (steps, nq)."""
    seen = []
    for _ in range(steps):
        session.advance()
        session.draw()
        seen.append(session.data.qpos.copy())
    return np.array(seen)


@pytest.fixture
def session():
    return make_session(policy=Mock(**{"act.return_value": np.full((1, 6), 0.5)}))


def test_a_key_changes_what_it_should_and_is_not_one_of_mujoco_s():
    start = {"episode": 2, "residual": True}
    for command, key, values in (
        (Command.PAUSE, "paused", [True, False]),
        (Command.STEP, "paused", [True, True]),
        (Command.AGAIN, "episode", [2]),
        (Command.NEXT, "episode", [3, 4]),
        (Command.PREVIOUS, "episode", [1, 0, 0]),
        (Command.RESIDUAL, "residual", [False, True]),
        (Command.FASTER, "speed", [2.0, 4.0, 4.0]),
        (Command.SLOWER, "speed", [0.5, 0.25, 0.125, 0.125]),
    ):
        controls = Controls(**start)
        for value in values:
            controls = controls.after(command)
            assert controls == Controls(**(start | {key: value}))
    without_policy = Controls(episode=0, residual=None)
    assert without_policy.after(Command.RESIDUAL) == without_policy
    toggles = {key for *_, key in mujoco.mjVISSTRING + mujoco.mjRNDSTRING if key}
    others = {*"[]012345", "Tab", "Esc", "Page Up", *(f"F{i}" for i in range(8))}
    numbers = {getattr(glfw, name) for name in dir(glfw) if name.startswith("KEY_")}
    for command in Command:
        assert command.glfw in numbers
        assert hasattr(dear_imgui.Key, command.imgui)
        assert command.label not in toggles | others
    assert len({command.glfw for command in Command}) == len(Command)


def test_an_episode_is_that_of_the_evaluation_and_can_be_seen_again(session):
    first = states(session, 12)
    session.do(Command.NEXT)
    env = make_env(n=1)
    env.reset(seed=episode_seeds(0, "report", 2)[1:])
    assert (session.data.qpos == drawable(env.env.hardware).qpos[0]).all()
    assert (states(session, 12) != first).any()
    for command in (Command.PREVIOUS, Command.AGAIN):
        session.do(command)
        assert session.seed == episode_seeds(0, "report", 1)[0]
        assert states(session, 12).tobytes() == first.tobytes()


def test_the_residual_can_be_switched_off_and_the_policy_sees_all_the_same(session):
    on = states(session, 8)
    session.do(Command.AGAIN)
    session.do(Command.RESIDUAL)
    session._policy.act.reset_mock()
    off = states(session, 8)
    assert session._policy.act.call_count == 8
    assert ("policy", "jacobian, residual off") in session.lines()
    base = states(make_session(policy=NoResidual(6)), 8)
    assert off.tobytes() == base.tobytes()
    assert (on != off).any()


def test_time_stands_still_when_paused_and_an_end_stays_before_the_next_episode():
    session = make_session("env.max_episode_steps=5", "base_policy=zero")
    before = states(session, 3)[-1]
    session.do(Command.FASTER)
    assert session.period == 1 / 60
    session.do(Command.PAUSE)
    assert (states(session, 3) == before).all()
    assert {("step", "3 of 5"), ("speed", "paused")} <= set(session.lines())
    for _ in range(3):
        session.do(Command.STEP)
    assert {("step", "5 of 5"), ("outcome", "never_touched")} <= set(session.lines())
    session.do(Command.PAUSE)
    assert len(np.unique(states(session, 29), axis=0)) == 1
    states(session, 1)
    assert session.controls.episode == 1
    assert ("outcome", "under way") in session.lines()


@pytest.mark.parametrize(("share", "slides"), [(0.9, False), (1.2, True)])
def test_who_drags_the_sheet_must_overcome_its_friction(share, slides):
    held = make_session("base_policy=zero", "randomization=none")
    body = held.model.body("object").id
    start = held.data.xpos[body, 0]
    for _ in range(15):
        held.data.xfrc_applied[body, 0] = share * SLIDES  # as a viewer leaves it
        held.advance()
        held.draw()
    assert slides == (held.data.xpos[body, 0] - start > 1e-4)
    assert ("pulled object [mN]", f"{1e3 * share * SLIDES:.1f}") in held.lines()
    held.do(Command.AGAIN)  # nobody drags any more
    held.advance()
    assert "pulled object [mN]" not in dict(held.lines())
    assert not held._world.applied.any()


class Handle(nullcontext):
    """Stands in for what `mujoco.viewer.launch_passive` returns."""

    lock = nullcontext

    def __init__(self, model, data, *, key_callback, **panels):
        super().__init__()
        self.data, self.key_callback = data, key_callback
        self.opt = SimpleNamespace(geomgroup=np.ones(6))
        self.cam, self.shown, self.texts = mujoco.MjvCamera(), [], []
        self.set_texts = self.texts.append

    def is_running(self):
        return len(self.shown) < 6

    def sync(self):
        self.shown.append(self.data.qpos.copy())
        if len(self.shown) == 3:  # a letter is MuJoCo's, whatever it does there
            for key in (ord("N"), Command.FASTER.glfw, Command.NEXT.glfw):
                self.key_callback(key)


@pytest.fixture
def handles(monkeypatch):
    """Every window that is opened."""
    made = []

    def launch(*args, **kwargs):
        made.append(Handle(*args, **kwargs))
        return made[-1]

    monkeypatch.setattr("glfw.init", lambda: True)
    monkeypatch.setattr("mujoco.viewer.launch_passive", launch)
    monkeypatch.setattr(screen, "time", SimpleNamespace(monotonic=int, sleep=float))
    return made


def test_the_window_shows_a_policy_at_work_and_follows_its_keys_once(handles):
    view.view(config_of("job=view", "job.window=true", "job.episode=7"))
    (handle,) = handles
    assert (handle.shown[0] != handle.shown[2]).any()
    values = [texts[0][3].splitlines() for texts in handle.texts]
    seeds = episode_seeds(0, "report", 9)
    shown = [f"{number}, seed {seeds[number]}" for number in (7, 7, 7, 8, 8, 8)]
    assert [own[0] for own in values] == shown
    assert [own[4][:2] for own in values] == ["1 "] * 3 + ["2 "] * 3
    assert (values[0][1], handle.opt.geomgroup[3]) == ("jacobian", 0)


def test_the_finite_states_of_a_dump_are_played_again_and_again(handles, tmp_path):
    body = b"<body><joint/><geom size='1'/></body>"
    xml = b"<mujoco><worldbody>%b</worldbody></mujoco>" % body
    path, model = tmp_path / "step-1.npz", np.frombuffer(xml, np.uint8)
    cfg = config_of("job=view", "job.window=true", f"replay={path}")
    qpos = np.array([[0, 1], [0, 2], [0, np.nan]])[..., None]
    np.savez(path, qpos=qpos, env=1, hz=30, model=model)
    view.view(cfg)
    assert np.ravel(handles[0].shown).tolist() == [1, 2, 1, 2, 1, 2]
    np.savez(path, qpos=qpos[2:], env=1, hz=30, model=model)
    with pytest.raises(DumpError, match=r"step-1\.npz: expected .*finite"):
        view.view(cfg)


@pytest.mark.parametrize(
    ("has_screen", "message"),
    [(True, r"no GL; on macOS.*job\.window=false"), (False, "no screen")],
)
def test_a_window_that_cannot_open_says_what_to_do(monkeypatch, has_screen, message):
    def broken(model, data, **_):
        raise RuntimeError("no GL.")

    monkeypatch.setattr("sys.platform", "linux")
    monkeypatch.setattr("glfw.init", lambda: has_screen)
    monkeypatch.setattr("mujoco.viewer.launch_passive", broken)
    with pytest.raises(screen.ScreenError, match=message):
        window.open_window(None, None).__enter__()


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["job.window=maybe"], r"job\.window=maybe: expected true, false, web or null"),
        (["job.window=web", "job.port=65536"], r"job\.port=65536"),
        (["job.window=web"], "pip install websockets"),
        (["job.episode=268435456"], r"job\.episode=268435456"),
    ],
)
def test_what_cannot_be_shown_is_refused(typed, message, monkeypatch):
    monkeypatch.setitem(sys.modules, "mujoco.experimental.studio.web_viewer", None)
    with pytest.raises(So101Error, match=message):
        view.view(config_of("job=view", "job.window=true", "n_threads=1", *typed))


def test_the_browser_is_served_the_world_on_this_machine_alone(session):
    pytest.importorskip("websockets")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with web.open_web(session.model, session.data, port=port) as shown:
        assert b"MuJoCo" in fetch(f"http://127.0.0.1:{port}/", shown)
        with pytest.raises(OSError, match="refused"):
            socket.create_connection(("127.0.0.2", port))
        shown.show(session.lines())
        shown._panel.commands.append(Command.NEXT)
        assert [shown.commands(), shown.commands()] == [[Command.NEXT], []]
        taken = web.open_web(session.model, session.data, port=port)
        used = rf"{port} is already in use.*job\.port=0"
        with pytest.raises(screen.ScreenError, match=used), taken as second:
            fetch("http://127.0.0.1:1/", second)


def fetch(address, shown):
    """What is served at `address`, as soon as it is served."""
    pause = threading.Event()
    while shown.is_open():
        try:
            with urllib.request.urlopen(address) as page:
                return page.read()
        except OSError:
            pause.wait(0.02)
    return b""


def test_without_a_screen_it_writes_pictures(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(gl, "has_display", lambda: False)
    monkeypatch.setattr(view, "SAMPLES", 2)
    monkeypatch.setattr(pictures, "SIZE", (160, 120))
    monkeypatch.chdir(tmp_path)
    try:
        view.view(config_of("job=view", "n_threads=1"))
    except gl.NoGraphicsError as error:
        pytest.skip(str(error))
    names = ("schematic", "front", "top", "wrist")
    paths = [f"outputs/view/{name}.png" for name in names]
    assert capsys.readouterr().out.split() == paths
    assert all(np.ptp(np.asarray(Image.open(path))) > 100 for path in paths)

"""`job=view`: keys, episodes and hands, the window, the browser, the pictures."""

import socket
import sys
import threading
import urllib.request
from contextlib import nullcontext
from types import SimpleNamespace

import glfw
import mujoco
import numpy as np
import pytest
from conftest import config_of, make_env
from mujoco.experimental.dear_imgui import dear_imgui
from PIL import Image

from so101rl.errors import ConfigError
from so101rl.jobs import view
from so101rl.policies.policy import NoResidual
from so101rl.rendering import gl
from so101rl.rendering.renderer import RenderError, drawable
from so101rl.scene.scene import OBJECT
from so101rl.seeds import episode_seeds
from so101rl.viewer import pictures, screen, web, window
from so101rl.viewer.controls import Command, Controls
from so101rl.viewer.dump import DumpError, read_dump
from so101rl.viewer.session import Session

SLIDES = 0.5 * 0.005 * 9.81  # [N] Coulomb, with the numbers of conf/env/paper_push.yaml


class Always:
    """A policy that always gives the same residual, and counts."""

    asked = 0

    def reset(self, ids=None):
        return None

    def act(self, obs):
        self.asked += 1
        return np.full((len(obs), 6), 0.5)


def make_session(*typed, policy=None, **of_session):
    env = make_env("job=view", *typed, n=1)
    return Session(env, policy, root=0, **of_session)


def states(session, steps):
    """The states after each of so many steps (steps, nq)."""
    seen = []
    for _ in range(steps):
        session.advance()
        session.draw()
        seen.append(session.data.qpos.copy())
    return np.array(seen)


@pytest.fixture(scope="module")
def shared():
    return make_session(policy=Always())


@pytest.fixture
def session(shared):
    """A session at the start of episode 0."""
    shared.controls = Controls(episode=0, residual=True)
    shared.do(Command.AGAIN)
    return shared


@pytest.mark.parametrize(
    ("command", "changes"),
    [
        (Command.PAUSE, [{"paused": True}, {}]),
        (Command.STEP, [{"paused": True}] * 2),
        (Command.AGAIN, [{}]),
        (Command.NEXT, [{"episode": 3}, {"episode": 4}]),
        (Command.PREVIOUS, [{"episode": 1}, *[{"episode": 0}] * 2]),
        (Command.RESIDUAL, [{"residual": False}, {}]),
        (Command.FASTER, [{"speed": 2.0}, *[{"speed": 4.0}] * 2]),
        (Command.SLOWER, [{"speed": s} for s in (0.5, 0.25, 0.125, 0.125)]),
    ],
)
def test_a_key_pressed_repeatedly_changes_what_it_should_and_nothing_else(
    command, changes
):
    start = {"episode": 2, "residual": True}
    controls = Controls(**start)
    for changed in changes:
        controls = controls.after(command)
        assert controls == Controls(**(start | changed))


def test_without_a_learned_policy_there_is_no_residual_to_switch():
    controls = Controls(episode=0, residual=None)
    assert controls.after(Command.RESIDUAL) == controls


def test_every_key_exists_in_window_and_browser_and_is_not_one_of_mujoco_s():
    toggles = {key for *_, key in mujoco.mjVISSTRING + mujoco.mjRNDSTRING if key}
    others = {
        "Tab",
        "[",
        "]",
        "Esc",
        "Page Up",
        *"012345",
        *(f"F{i}" for i in range(8)),
    }
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


def test_the_first_episode_can_be_chosen():
    late = make_session(episode=7)
    assert late.seed == episode_seeds(0, "report", 8)[7]
    assert ("episode", f"7, seed {late.seed}") in late.lines()
    for episode in (-1, 2**28):
        with pytest.raises(ConfigError, match=rf"job\.episode={episode}"):
            make_session(episode=episode)


def test_the_residual_can_be_switched_off_and_the_policy_sees_all_the_same(session):
    on = states(session, 8)
    session.do(Command.AGAIN)
    session.do(Command.RESIDUAL)
    asked = session._policy.asked
    off = states(session, 8)
    assert session._policy.asked == asked + 8
    assert ("policy", "jacobian, residual off") in session.lines()
    base = states(make_session(policy=NoResidual()), 8)
    assert off.tobytes() == base.tobytes()
    assert (on != off).any()


def test_time_stands_still_while_it_is_paused_but_for_single_steps(session):
    real, before = session.period, states(session, 3)[-1]
    session.do(Command.FASTER)
    assert session.period == real / 2 == 1 / 60
    session.do(Command.PAUSE)
    assert (states(session, 3) == before).all()
    for step in (4, 5):
        session.do(Command.STEP)
        assert ("step", f"{step} of 400") in session.lines()
    assert ("speed", "paused") in session.lines()


def test_an_end_stays_to_be_seen_and_the_next_episode_follows():
    short = make_session("env.max_episode_steps=3", "base_policy=zero")
    end = states(short, 3)[-1]
    assert ("outcome", "never_touched") in short.lines()
    short.do(Command.STEP)
    short.do(Command.PAUSE)
    assert (states(short, 29) == end).all()
    states(short, 1)
    assert short.controls.episode == 1
    assert ("outcome", "under way") in short.lines()


@pytest.mark.parametrize(("share", "slides"), [(0.9, False), (1.2, True)])
def test_who_drags_the_sheet_must_overcome_its_friction(share, slides):
    held = make_session("base_policy=zero", "randomization=none")
    body = held.model.body(OBJECT).id
    start = held.data.xpos[body, 0]
    for _ in range(15):
        held.data.xfrc_applied[body, 0] = share * SLIDES  # as a viewer leaves it
        held.advance()
        held.draw()
    moved = held.data.xpos[body, 0] - start
    assert moved > 0.01 if slides else abs(moved) < 1e-4
    assert ("pulled [mN]", f"{1e3 * share * SLIDES:.1f}") in held.lines()
    held.advance()  # nobody drags any more
    assert "pulled [mN]" not in dict(held.lines())


def test_a_hand_is_forgotten_with_the_episode(session):
    session.data.xfrc_applied[session.model.body(OBJECT).id, 0] = 1.0
    session.advance()
    session.do(Command.AGAIN)
    assert "pulled [mN]" not in dict(session.lines())
    assert not session._world.applied.any()


class Handle(nullcontext):
    """Stands in for what `mujoco.viewer.launch_passive` returns."""

    lock = nullcontext

    def __init__(self, model, data, *, key_callback, **panels):
        super().__init__()
        self.data, self.key_callback = data, key_callback
        self.opt = SimpleNamespace(geomgroup=np.ones(6))
        self.cam, self.shown, self.texts = mujoco.MjvCamera(), [], []

    def is_running(self):
        return len(self.shown) < 6

    def set_texts(self, texts):
        self.texts.append(texts)

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
    view.view(config_of("job=view", "job.window=true", "n_threads=1"))
    (handle,) = handles
    assert len(handle.shown) == 6
    assert (handle.shown[0] != handle.shown[2]).any()
    values = [texts[0][3].splitlines() for texts in handle.texts]
    numbers = [own[0].partition(",")[0] for own in values]
    assert numbers == ["0", "0", "0", "1", "1", "1"]
    assert [own[4][:2] for own in values] == ["1 "] * 3 + ["2 "] * 3
    assert values[0][1] == "jacobian"
    assert not handle.opt.geomgroup[3]


def test_states_are_played_again_and_again(handles):
    model = mujoco.MjModel.from_xml_string(
        "<mujoco><worldbody><body><joint/><geom size='1'/></body></worldbody></mujoco>"
    )
    data = mujoco.MjData(model)
    with window.open_window(model, data) as shown:
        screen.play(shown, model, data, np.array([[1.0], [2.0]]), hz=30)
    assert np.ravel(handles[0].shown).tolist() == [1, 2, 1, 2, 1, 2]


def test_a_dump_without_a_state_that_can_be_drawn_is_named(tmp_path):
    xml = np.frombuffer(b"<mujoco/>", np.uint8)
    path = tmp_path / "step-1.npz"
    np.savez(path, qpos=np.full((5, 2, 3), np.nan), env=1, hz=30, model=xml)
    with pytest.raises(DumpError, match=r"step-1\.npz: expected .*finite"):
        read_dump(path)


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
    with (
        pytest.raises(screen.ScreenError, match=message),
        window.open_window(None, None),
    ):
        pytest.fail("there is no window")


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["job.window=maybe"], r"job\.window=maybe: expected true, false, web or null"),
        (["job.window=2"], r"job\.window=2: expected"),
        (["job.window=web", "job.port=-1"], r"job\.port=-1"),
        (["job.window=web", "job.port=65536"], r"job\.port=65536"),
    ],
)
def test_a_screen_that_cannot_be_is_refused(typed, message):
    with pytest.raises(ConfigError, match=message):
        view.view(config_of("job=view", *typed))


def test_without_websockets_it_says_what_to_install(session, monkeypatch):
    hidden = "mujoco.experimental.studio.web_viewer"
    monkeypatch.setitem(sys.modules, hidden, None)
    served = web.open_web(session.model, session.data, port=0)
    with pytest.raises(screen.ScreenError, match="pip install websockets"), served:
        pytest.fail("nothing can be served")


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
    printed = capsys.readouterr().out.split()
    names = ("schematic", "front", "top", "wrist")
    assert printed == [f"outputs/view/{name}.png" for name in names]
    for path in printed:
        with Image.open(tmp_path / path) as picture:
            assert np.ptp(np.asarray(picture)) > 100


def test_a_real_arm_cannot_be_drawn():
    with pytest.raises(RenderError, match="hardware=sim"):
        drawable(object())

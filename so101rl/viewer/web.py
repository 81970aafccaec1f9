"""MuJoCo's own viewer in a browser, served to this machine alone.

It draws in the browser, so the machine that simulates needs neither screen nor OpenGL.
"""

from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import mujoco
from mujoco.experimental.dear_imgui import dear_imgui as imgui
from mujoco.experimental.studio import (
    launch_thread,
    messages,
    plugin,
    ux,
    viewer_app_events,
    viewer_handle,
    viewer_protocol,
    viewer_utils,
)

from so101rl.errors import ConfigError
from so101rl.viewer.controls import KEYS, Command
from so101rl.viewer.screen import Lines, ScreenError, stand_at_the_front

HERE = "127.0.0.1"  # whoever reaches the port controls the viewer
LAST_PORT = 65535
# Keys are for the world, not for walking through the buttons.
FLAGS = int(imgui.WindowFlags.AlwaysAutoResize) | int(imgui.WindowFlags.NoNav)


class WebError(ScreenError):
    """The browser's viewer cannot be served."""

    def __init__(self, reason: object, *, cure: str) -> None:
        """Write the sentence."""
        super().__init__(f"cannot serve the viewer: {reason}; {cure}")


class Panel(plugin.ViewerPlugin):
    """Mouse, keys and a box of words and buttons; runs in the viewer's thread.

    Attributes:
        asked: commands that nobody has followed yet.
        lines: names and values to be shown.
    """

    def __init__(self) -> None:
        self.asked: deque[Command] = deque()
        self.lines: Lines = ()
        self._state = ux.UxState()
        self._state.camera_index = ux.TUMBLE_CAMERA_IDX

    @messages.handler
    def on_init(self, event: viewer_protocol.ViewerInitEvent) -> None:
        """Stand where the window's viewer stands."""
        ux.setup_theme(ux.GuiTheme.LIGHT)
        event.viewer.vis_options.geomgroup[3] = 0  # what touches, without its look
        stand_at_the_front(event.viewer.camera)

    @messages.handler
    def on_frame(self, _: messages.UpdateEvent) -> None:
        """Follow mouse and keys."""
        seen = self.viewer
        world = seen.model, seen.data, seen.camera
        viewer_app_events.handle_mouse_events(
            *world, seen.vis_options, seen.perturb, self._state
        )
        viewer_app_events.handle_camera_select_keyboard_events(
            seen.model, seen.camera, self._state
        )
        viewer_utils.apply_perturb(seen, seen.model, seen.data)
        for command, key in KEYS.items():
            if imgui.IsKeyChordPressed(getattr(imgui.Key, key.imgui)):
                self.asked.append(command)

    @messages.handler
    def on_gui(self, _: messages.BuildGuiEvent) -> None:
        """Write the box."""
        imgui.SetNextWindowPos(imgui.Vec2(10, 10), imgui.Cond.FirstUseEver)
        if imgui.Begin("so101rl", None, FLAGS)[0]:
            for name, value in self.lines:
                imgui.TextUnformatted(f"{name}: {value}")
            imgui.Separator()
            for command, key in KEYS.items():
                if imgui.Button(f"{command.value}  [{key.label}]"):
                    self.asked.append(command)
        imgui.End()


class Web:
    """A `Screen` in a browser."""

    def __init__(
        self,
        handle: viewer_handle.ViewerHandle,
        panel: Panel,
        model: mujoco.MjModel,
        data: mujoco.MjData,
    ):
        self._handle, self._panel = handle, panel
        self._model, self._data = model, data

    def is_open(self) -> bool:
        """Whether it is still served; a browser may leave and come back."""
        try:
            return bool(self._handle.is_running())
        except (OSError, RuntimeError) as error:
            raise WebError(
                str(error).partition(",")[0], cure="job.port=0 takes a free one"
            ) from error

    def commands(self) -> list[Command]:
        """Keys and buttons pressed since the last call."""
        asked = []
        while self._panel.asked:
            asked.append(self._panel.asked.popleft())
        return asked

    def show(self, lines: Lines) -> None:
        """Send the world and `lines` to the browser, and fetch who drags at it."""
        self._panel.lines = lines
        self._handle.sync(self._model, self._data)


@contextmanager
def open_web(model: mujoco.MjModel, data: mujoco.MjData, *, port: int) -> Iterator[Web]:
    """Serve a viewer that shows `data`; leaving the context ends it.

    Args:
        model: the drawn world.
        data: its state.
        port: where to serve; 0: the first free one from 8080 on.
    """
    if not 0 <= port <= LAST_PORT:
        raise ConfigError("job.port", got=port, expected=f"from 0 to {LAST_PORT}")
    panel, viewer = Panel(), _local_viewer()
    config = viewer_protocol.ViewerConfig(title="so101rl", http_port=port)

    def serve(endpoint: Any) -> None:
        viewer_protocol.run_viewer_loop(viewer(config, endpoint, plugins=[panel]))

    with launch_thread.launch_thread(serve) as handle:
        yield Web(handle, panel, model, data)


def _local_viewer() -> type:
    """MuJoCo's web viewer, but for this machine alone; its own listens to the world."""
    try:
        from mujoco.experimental.studio.web_viewer import WebViewer
    except ImportError as error:
        raise WebError(
            f"{error.name} is missing", cure="pip install websockets"
        ) from error

    class LocalViewer(WebViewer):
        _host = property(lambda self: HERE, lambda self, _: None)

        def _start_server(self) -> None:
            listening = self._http_sock.getsockname()[0]
            if listening != HERE:
                raise WebError(
                    f"it would listen on {listening}, not on {HERE} alone",
                    cure="this MuJoCo is newer than we know; job.window=false does",
                )
            super()._start_server()

    return LocalViewer

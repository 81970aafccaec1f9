"""MuJoCo's own viewer in a browser of this machine.

The browser draws, so the simulating process needs neither display nor OpenGL.
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
from so101rl.viewer.controls import Command
from so101rl.viewer.screen import Lines, ScreenError, set_view

LOCALHOST = "127.0.0.1"  # only this machine, because the port has no password
LAST_PORT = 65535
# Without keyboard navigation, in which keys would also select buttons.
FLAGS = int(imgui.WindowFlags.AlwaysAutoResize) | int(imgui.WindowFlags.NoNav)


class Panel(plugin.ViewerPlugin):
    """Mouse, keys and a box of texts and buttons; runs in the viewer's thread.

    Attributes:
        commands: commands that `Web.commands` has not returned yet.
        lines: names and values that the box shows.
    """

    def __init__(self) -> None:
        self.commands: deque[Command] = deque()
        self.lines: Lines = ()
        self._state = ux.UxState()
        self._state.camera_index = ux.TUMBLE_CAMERA_IDX

    @messages.handler
    def on_init(self, event: viewer_protocol.ViewerInitEvent) -> None:
        """Set the same view as in the window, and a light theme."""
        ux.setup_theme(ux.GuiTheme.LIGHT)
        set_view(event.viewer.camera, event.viewer.vis_options)

    @messages.handler
    def on_frame(self, _: messages.UpdateEvent) -> None:
        """Handle mouse and keys."""
        view, model, data = self.viewer, self.viewer.model, self.viewer.data
        viewer_app_events.handle_mouse_events(
            model, data, view.camera, view.vis_options, view.perturb, self._state
        )
        viewer_app_events.handle_camera_select_keyboard_events(
            model, view.camera, self._state
        )
        viewer_utils.apply_perturb(view, model, data)
        for command in Command:
            if imgui.IsKeyChordPressed(getattr(imgui.Key, command.imgui)):
                self.commands.append(command)

    @messages.handler
    def on_gui(self, _: messages.BuildGuiEvent) -> None:
        """Draw the box with the lines and a button per command."""
        imgui.SetNextWindowPos(imgui.Vec2(10, 10), imgui.Cond.FirstUseEver)
        if imgui.Begin("so101rl", None, FLAGS)[0]:
            for name, value in self.lines:
                imgui.TextUnformatted(f"{name}: {value}")
            imgui.Separator()
            for command in Command:
                if imgui.Button(f"{command.text}  [{command.label}]"):
                    self.commands.append(command)
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
        """Whether the server runs, with or without a browser."""
        try:
            return bool(self._handle.is_running())
        except (OSError, RuntimeError) as error:
            raise ScreenError(
                str(error).partition(",")[0], remedy="job.port=0 chooses a free port"
            ) from error

    def commands(self) -> list[Command]:
        """Commands of keys and buttons pressed since the last call."""
        waiting = self._panel.commands
        return [waiting.popleft() for _ in range(len(waiting))]

    def show(self, lines: Lines) -> None:
        """Send the data and `lines` to the browser, and fetch the mouse's forces."""
        self._panel.lines = lines
        self._handle.sync(self._model, self._data)


@contextmanager
def open_web(model: mujoco.MjModel, data: mujoco.MjData, *, port: int) -> Iterator[Web]:
    """Serve a viewer that shows `data` until the context ends.

    Args:
        model: the drawn model.
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
    """Return MuJoCo's web viewer, changed to listen only on `LOCALHOST`."""
    try:
        from mujoco.experimental.studio.web_viewer import WebViewer
    except ImportError as error:
        raise ScreenError(
            f"{error.name} is missing", remedy="pip install websockets"
        ) from error

    class LocalViewer(WebViewer):
        _host = property(lambda self: LOCALHOST, lambda self, _: None)

        def _start_server(self) -> None:
            listening = self._http_sock.getsockname()[0]
            if listening != LOCALHOST:
                raise ScreenError(
                    f"it would listen on {listening}, not only on {LOCALHOST}",
                    remedy="this MuJoCo version is unknown; job.window=false works",
                )
            super()._start_server()

    return LocalViewer

"""The steps before a training diverged: `RUN_DIR/dumps/step-N.npz`."""

from pathlib import Path
from typing import NamedTuple
from zipfile import BadZipFile

import mujoco
import numpy as np

from so101rl.errors import So101Error
from so101rl.rendering.renderer import SceneRenderer
from so101rl.rendering.video import write_video
from so101rl.scene import appearance

SIZE = (640, 480)  # [px] width and height


class DumpError(So101Error):
    """`replay=` names no readable dump of a diverged training."""

    def __init__(self, path: Path, reason: object) -> None:
        """Build the message from the file and the reason."""
        super().__init__(
            f"replay={path}: expected a file that a diverged training wrote, "
            f"RUN_DIR/dumps/step-N.npz ({reason})."
        )


class Dump(NamedTuple):
    """The states of the environment that diverged.

    Attributes:
        model: the model of the scene.
        states: its finite `qpos` (T, nq), oldest first.
        hz: their rate [Hz].
    """

    model: mujoco.MjModel
    states: np.ndarray
    hz: int


def read_dump(path: Path) -> Dump:
    """Read a dump; states that are not finite are left out."""
    try:
        with np.load(path, allow_pickle=False) as dump:
            states = dump["qpos"][:, int(dump["env"])]
            hz, xml = int(dump["hz"]), dump["model"].tobytes().decode()
        model = mujoco.MjModel.from_xml_string(xml)
    except (OSError, EOFError, ValueError, LookupError, BadZipFile) as error:
        raise DumpError(path, error) from error
    finite = states[np.isfinite(states).all(axis=1)]
    if not len(finite):
        raise DumpError(path, "no state is finite")
    return Dump(model, finite, hz)


def write_replay(dump: Dump, directory: Path) -> Path:
    """Film the steps as `replay.mp4` in `directory`; returns its path."""
    width, height = SIZE
    with SceneRenderer(model=dump.model, width=width, height=height) as renderer:
        frames = (
            renderer.frame(state, camera=appearance.FRONT) for state in dump.states
        )
        write_video(directory / "replay.mp4", frames=frames, fps=dump.hz)
    return directory / "replay.mp4"

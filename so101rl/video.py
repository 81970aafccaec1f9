"""Videos of episodes, with what matters written in."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import mujoco
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from so101rl import look
from so101rl.render import RenderError, SceneRenderer

Colour = tuple[int, int, int]
GREEN: Colour = (46, 204, 113)
AMBER: Colour = (255, 176, 32)
RED: Colour = (235, 77, 75)

INSET = 0.38  # side of the small, square picture as a part of the large one's height
HOLD = 0.7  # [s] how long the last frame of an episode stays


@dataclass(kw_only=True)
class EpisodeClip:
    """One episode to be shown.

    Attributes:
        title: What it is, for example `worst: timed_out`.
        qpos: States (T, nq), one per control step.
        distance_m: Distance to the goal (T,) [m].
        success: Whether the task was solved (T,) bool.
    """

    title: str
    qpos: np.ndarray
    distance_m: np.ndarray
    success: np.ndarray

    def __post_init__(self) -> None:
        """Check that the arrays belong together."""
        n = len(self.qpos)
        if n == 0 or len(self.distance_m) != n or len(self.success) != n:
            raise RenderError(
                f"clip {self.title!r}: qpos, distance_m and success need the same "
                f"positive length, got {n}, {len(self.distance_m)}, {len(self.success)}"
            )


def annotate(
    frame: np.ndarray, *, lines: Sequence[str], accent: Colour = AMBER
) -> np.ndarray:
    """Return a copy of `frame` (H, W, 3) with `lines` on a dark panel on top."""
    picture = Image.fromarray(frame).convert("RGB")
    size = max(11, picture.height // 30)
    font = ImageFont.load_default(size)
    draw = ImageDraw.Draw(picture, "RGBA")
    step, pad, left = round(size * 1.35), size // 2, size
    wide = max((draw.textlength(line, font=font) for line in lines), default=0)
    right, bottom = left + 2 * pad + wide + 4, left + pad + step * len(lines)
    draw.rectangle((left, left, right, bottom), fill=(16, 20, 26, 190))
    draw.rectangle((left, left, left + 4, bottom), fill=(*accent, 255))
    for i, line in enumerate(lines):
        place = (left + pad + 6, left + pad / 2 + i * step)
        draw.text(place, line, font=font, fill=(255, 255, 255, 255))
    return np.asarray(picture)


def write_video(path: Path, *, frames: Iterable[np.ndarray], fps: int) -> None:
    """Encode pictures (H, W, 3) uint8 as H.264; the file appears whole or not at all.

    Args:
        path: The `.mp4` file.
        frames: Pictures of one even size.
        fps: Pictures per second.
    """
    pictures = iter(frames)
    first = next(pictures, None)
    if first is None:
        raise RenderError(f"{path}: a video needs at least one frame")
    height, width = first.shape[:2]
    if height % 2 or width % 2:
        raise RenderError(f"{path}: a video needs an even size, got {width} x {height}")
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        _encode(temporary, first, pictures, fps)
        os.replace(temporary, path)
    except OSError as error:
        raise RenderError(f"cannot write {path}: {error.strerror}") from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def episode_video(
    path: Path,
    *,
    model: mujoco.MjModel,
    episodes: Sequence[EpisodeClip],
    fps: int = 30,
    every: int = 1,
    camera: str = look.FRONT,
    inset_camera: str = look.TOP,
    width: int = 640,
    height: int = 480,
) -> None:
    """Show episodes one after the other, with step, distance and success drawn in.

    Args:
        path: The `.mp4` file.
        model: The drawn model.
        episodes: Clips in the order in which they are shown.
        fps: Control steps per second of video; the control rate shows real time.
        every: Draw each k-th step only, which takes a k-th of the time.
        camera: The large picture.
        inset_camera: The small picture in the top right corner.
        width: Width of the large picture [px].
        height: Height of the large picture [px].
    """
    for name, value in (("fps", fps), ("every", every)):
        if value < 1:
            raise RenderError(f"{name} of a video must be at least 1, got {value}")
    small = round(height * INSET)
    with (
        SceneRenderer(model=model, width=width, height=height) as main,
        SceneRenderer(model=model, width=small, height=small) as inset,
    ):
        shown = round(fps / every)
        frames = _episode_frames(
            main,
            inset,
            episodes,
            cameras=(camera, inset_camera),
            fps=shown,
            every=every,
        )
        write_video(path, frames=frames, fps=shown)


def _episode_frames(
    main: SceneRenderer,
    inset: SceneRenderer,
    episodes: Sequence[EpisodeClip],
    *,
    cameras: tuple[str, str],
    fps: int,
    every: int,
) -> Iterator[np.ndarray]:
    for clip in episodes:
        last = len(clip.qpos) - 1
        for k in [*range(0, last, every), last]:
            picture = main.frame(clip.qpos[k], camera=cameras[0])
            _lay_in(picture, inset.frame(clip.qpos[k], camera=cameras[1]))
            done = bool(clip.success[k])
            status = "success" if done else "failed" if k == last else "running"
            lines = (
                clip.title,
                f"step {k + 1}/{last + 1}",
                f"distance {1000 * clip.distance_m[k]:.0f} mm",
                status,
            )
            accent = GREEN if done else RED if k == last else AMBER
            picture = annotate(picture, lines=lines, accent=accent)
            yield picture
        for _ in range(round(HOLD * fps)):
            yield picture


def _lay_in(picture: np.ndarray, small: np.ndarray) -> None:
    """Put `small` with a white rim into the top right corner of `picture`: the sky."""
    height, width = small.shape[:2]
    top, right = 10, picture.shape[1] - 10
    picture[top - 2 : top + height + 2, right - width - 2 : right + 2] = 255
    picture[top : top + height, right - width : right] = small


def _encode(
    path: Path, first: np.ndarray, others: Iterator[np.ndarray], fps: int
) -> None:
    import av  # here, because only videos need FFmpeg

    with av.open(path, "w", format="mp4", options={"movflags": "faststart"}) as file:
        stream = file.add_stream("libx264", rate=fps)
        stream.height, stream.width = first.shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "22", "preset": "veryfast"}
        picture: np.ndarray | None = first
        while picture is not None:
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(picture), "rgb24")
            file.mux(stream.encode(frame))
            picture = next(others, None)
        file.mux(stream.encode(None))

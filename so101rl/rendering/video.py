"""Videos of episodes, with step, a number of the task and outcome written in."""

import contextlib
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import mujoco
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from so101rl.rendering.renderer import RenderError, SceneRenderer
from so101rl.scene import appearance

Colour = tuple[int, int, int]
Draw = Callable[[np.ndarray], np.ndarray]  # from a state (nq,) to a picture
GREEN: Colour = (46, 204, 113)
AMBER: Colour = (255, 176, 32)
RED: Colour = (235, 77, 75)

INSET = 0.38  # side of the small, square picture as a part of the large one's height
PAUSE = 0.7  # [s] after the last frame of an episode


@dataclass(kw_only=True)
class EpisodeClip:
    """One episode to be shown.

    Attributes:
        title: for example `worst: residual`.
        qpos: states (T, nq), one per control step.
        captions: a line of text per state; empty: none.
        is_success: whether the last state solves the task.
        outcome: text of the last frame, for example `timed out`.
    """

    title: str
    qpos: np.ndarray
    captions: Sequence[str]
    is_success: bool
    outcome: str

    def __post_init__(self) -> None:
        """Check that the arrays have one length."""
        n = len(self.qpos)
        if n == 0 or len(self.captions) != n:
            raise RenderError(
                f"clip {self.title!r}: qpos and captions need the same positive "
                f"length, got {n} and {len(self.captions)}"
            )


def annotate(frame: np.ndarray, *, lines: Sequence[str], accent: Colour) -> np.ndarray:
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
        path: the `.mp4` file.
        frames: pictures of one even size.
        fps: pictures per second.
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
    rows: Sequence[Sequence[EpisodeClip]],
    fps: int = 30,
    every: int = 1,
    width: int = 640,
    height: int = 480,
) -> None:
    """Film episodes, with step, number and success drawn in.

    Args:
        path: the `.mp4` file.
        model: the drawn model.
        rows: shown one after the other; the clips of a row are shown side by side, and
            one that ends keeps its last picture until the others have ended.
        fps: control steps per second of video; the control rate shows real time.
        every: draw each k-th step only, which takes a k-th of the time.
        width: width of one clip [px].
        height: height of one clip [px].
    """
    for name, value in (("fps", fps), ("every", every)):
        if value < 1:
            raise RenderError(f"{name} of a video must be at least 1, got {value}")
    shown = max(1, round(fps / every))
    with _drawing(model, width, height) as draw:
        pictures = chain.from_iterable(
            _with_pause(
                _side_by_side([_clip_frames(draw, clip, every) for clip in row]),
                round(PAUSE * shown),
            )
            for row in rows
        )
        write_video(path, frames=pictures, fps=shown)


@contextlib.contextmanager
def _drawing(model: mujoco.MjModel, width: int, height: int) -> Iterator[Draw]:
    """A function from a state to the view from the front with the one from above."""
    side = round(height * INSET)
    with (
        SceneRenderer(model=model, width=width, height=height) as main,
        SceneRenderer(model=model, width=side, height=side) as inset,
    ):

        def draw(qpos: np.ndarray) -> np.ndarray:
            picture = main.frame(qpos, camera=appearance.FRONT)
            _add_inset(picture, inset.frame(qpos, camera=appearance.TOP))
            return picture

        yield draw


def _clip_frames(draw: Draw, clip: EpisodeClip, every: int) -> Iterator[np.ndarray]:
    last = len(clip.qpos) - 1
    for k in [*range(0, last, every), last]:
        lines = [
            clip.title,
            f"step {k + 1}/{last + 1}",
            *filter(None, [clip.captions[k]]),
            clip.outcome if k == last else "running",
        ]
        verdict = GREEN if clip.is_success else RED
        accent = verdict if k == last else AMBER
        yield annotate(draw(clip.qpos[k]), lines=lines, accent=accent)


def _with_pause(pictures: Iterator[np.ndarray], n: int) -> Iterator[np.ndarray]:
    """The pictures, and the last one `n` more times."""
    for picture in pictures:
        yield picture
    yield from [picture] * n


def _side_by_side(streams: Sequence[Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    """Pictures side by side; a stream that has ended keeps its last one."""
    last: list[np.ndarray] = []
    for pictures in zip_longest(*streams):
        old = last or pictures
        last = [b if a is None else a for a, b in zip(pictures, old, strict=True)]
        yield np.concatenate(last, axis=1)


def _add_inset(picture: np.ndarray, small: np.ndarray) -> None:
    """Put `small` with a white rim into the top right corner of `picture`: the sky."""
    height, width = small.shape[:2]
    top, right = 10, picture.shape[1] - 10
    picture[top - 2 : top + height + 2, right - width - 2 : right + 2] = 255
    picture[top : top + height, right - width : right] = small


def _encode(
    path: Path, first: np.ndarray, others: Iterator[np.ndarray], fps: int
) -> None:
    import av  # only videos need FFmpeg

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

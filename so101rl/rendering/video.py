"""Videos of episodes, with what matters written in."""

import contextlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, zip_longest
from pathlib import Path

import mujoco
import numpy as np
from PIL import Image, ImageDraw, ImageFont

from so101rl.rendering.renderer import RenderError, SceneRenderer
from so101rl.scene import appearance

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
        title: What it is, for example `worst: residual`.
        qpos: States (T, nq), one per control step.
        distance_m: Distance to the goal (T,) [m].
        is_success: Whether the last state solves the task.
        end: How it ended, in words.
    """

    title: str
    qpos: np.ndarray
    distance_m: np.ndarray
    is_success: bool
    end: str

    def __post_init__(self) -> None:
        """Check that the arrays belong together."""
        n = len(self.qpos)
        if n == 0 or len(self.distance_m) != n:
            raise RenderError(
                f"clip {self.title!r}: qpos and distance_m need the same positive "
                f"length, got {n} and {len(self.distance_m)}"
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
        width: Width of the large picture [px].
        height: Height of the large picture [px].
    """
    with _stage(model, width, height) as stage:
        shown = _shown_fps(fps, every)
        pictures = chain.from_iterable(
            _held(_clip_frames(stage, clip, every), shown) for clip in episodes
        )
        write_video(path, frames=pictures, fps=shown)


def comparison_video(
    path: Path,
    *,
    model: mujoco.MjModel,
    pairs: Sequence[Sequence[EpisodeClip]],
    fps: int = 30,
    every: int = 1,
    width: int = 480,
    height: int = 360,
) -> None:
    """Show clips that started alike side by side, one pair after the other.

    What ends first stands still until the others have ended.

    Args:
        path: The `.mp4` file.
        model: The drawn model.
        pairs: Clips to be shown at the same time, from left to right.
        fps: Control steps per second of video; the control rate shows real time.
        every: Draw each k-th step only, which takes a k-th of the time.
        width: Width of one clip [px].
        height: Height of one clip [px].
    """
    with _stage(model, width, height) as stage:
        shown = _shown_fps(fps, every)
        pictures = chain.from_iterable(
            _held(_together([_clip_frames(stage, clip, every) for clip in pair]), shown)
            for pair in pairs
        )
        write_video(path, frames=pictures, fps=shown)


@dataclass(kw_only=True)
class _Stage:
    """What a clip is drawn with: a large picture and a small one in its corner."""

    main: SceneRenderer
    inset: SceneRenderer

    def picture(self, qpos: np.ndarray) -> np.ndarray:
        drawn = self.main.frame(qpos, camera=appearance.FRONT)
        _lay_in(drawn, self.inset.frame(qpos, camera=appearance.TOP))
        return drawn


@contextlib.contextmanager
def _stage(model: mujoco.MjModel, width: int, height: int) -> Iterator[_Stage]:
    small = round(height * INSET)
    with (
        SceneRenderer(model=model, width=width, height=height) as main,
        SceneRenderer(model=model, width=small, height=small) as inset,
    ):
        yield _Stage(main=main, inset=inset)


def _shown_fps(fps: int, every: int) -> int:
    for name, value in (("fps", fps), ("every", every)):
        if value < 1:
            raise RenderError(f"{name} of a video must be at least 1, got {value}")
    return max(1, round(fps / every))


def _clip_frames(stage: _Stage, clip: EpisodeClip, every: int) -> Iterator[np.ndarray]:
    last = len(clip.qpos) - 1
    for k in [*range(0, last, every), last]:
        lines = (
            clip.title,
            f"step {k + 1}/{last + 1}",
            f"distance {1000 * clip.distance_m[k]:.0f} mm",
            clip.end if k == last else "running",
        )
        verdict = GREEN if clip.is_success else RED
        accent = verdict if k == last else AMBER
        yield annotate(stage.picture(clip.qpos[k]), lines=lines, accent=accent)


def _held(pictures: Iterator[np.ndarray], fps: int) -> Iterator[np.ndarray]:
    """The last picture stays a while."""
    for picture in pictures:
        yield picture
    yield from [picture] * round(HOLD * fps)


def _together(streams: Sequence[Iterator[np.ndarray]]) -> Iterator[np.ndarray]:
    """Pictures side by side; a stream that has ended keeps its last one."""
    shown: list[np.ndarray] = []
    for fresh in zip_longest(*streams):
        old = shown or fresh
        shown = [b if a is None else a for a, b in zip(fresh, old, strict=True)]
        yield np.concatenate(shown, axis=1)


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

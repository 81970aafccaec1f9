"""Bring generated tables and pictures into the pages that show them.

`python docs/update.py` copies every table that a page names between its markers;
that is all `make results` needs. The pictures come from one run with a video:
`python docs/update.py RUN_DIR`, where RUN_DIR is the directory that `make run` printed.
"""

import re
import shutil
import sys
from pathlib import Path

import av
import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = (README, ROOT / "benchmarks" / "README.md")
IMAGES = ROOT / "docs" / "images"
MARKED = re.compile(r"(<!-- table: (\S+) -->\n).*?(<!-- end of table -->)", re.DOTALL)
FRAMES = 4  # pictures side by side
WIDTH = 400  # of each [px]


def with_tables(text: str) -> str:
    """A page's text with every marked table as it is in its file."""

    def filled(match: re.Match[str]) -> str:
        table = (ROOT / match[2]).read_text().strip()
        return f"{match[1]}\n{table}\n\n{match[3]}"

    return MARKED.sub(filled, text)


def strip_of_frames(video: Path, path: Path) -> None:
    """Pictures of the best episode, which comes last in a run's video."""
    with av.open(str(video)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode()]
    last = frames[-len(frames) // 5 :]
    chosen = [last[i] for i in np.linspace(0, len(last) - 1, FRAMES).astype(int)]
    height = round(WIDTH * chosen[0].shape[0] / chosen[0].shape[1])
    small = [np.asarray(Image.fromarray(f).resize((WIDTH, height))) for f in chosen]
    Image.fromarray(np.concatenate(small, axis=1)).save(path)


def main() -> None:
    """Update the pages and, given a run, the README's pictures."""
    for page in PAGES:
        page.write_text(with_tables(page.read_text()))
    if len(sys.argv) > 1:
        run = Path(sys.argv[1])
        IMAGES.mkdir(exist_ok=True)
        strip_of_frames(run / "videos" / "residual.mp4", IMAGES / "frames.png")
        shutil.copy(run / "figures" / "summary.png", IMAGES / "summary.png")


if __name__ == "__main__":
    main()

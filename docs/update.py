"""Bring generated tables, files and pictures into the pages that show them.

`python docs/update.py` fills what stands between the markers of a page: tables that
`make results` and the like have written, example files, and the config reference.
The pictures come from one run with a video: `python docs/update.py RUN_DIR`, where
RUN_DIR is the directory that `make run` printed.
"""

import csv
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import av
import numpy as np
import reference
from PIL import Image

ROOT = Path(__file__).resolve().parent.parent
README = ROOT / "README.md"
PAGES = (
    README,
    ROOT / "benchmarks" / "README.md",
    *sorted((ROOT / "docs").glob("*.md")),
)
IMAGES = ROOT / "docs" / "images"
MARKED = re.compile(
    r"(<!-- (table|file|config): (\S+) -->\n).*?(<!-- end of \2 -->)", re.DOTALL
)
EXAMPLE = re.compile(r"docs/examples/\w+/(?P<path>.*)")
LONG = 30  # lines
FENCES = {".py": "python", ".yaml": "yaml"}
FRAMES = 4  # pictures side by side
STILL = 0.5  # mean difference of a pixel, of 255, in a picture where nothing moves
VIDEO_EVERY = 2  # control steps between two frames of a video
WIDTH = 400  # of each [px]


def filled(text: str) -> str:
    """A page's text with everything between its markers as it is now."""

    def fill(match: re.Match[str]) -> str:
        kind, name = match[2], match[3]
        if kind == "table":
            content = (ROOT / name).read_text().strip()
        elif kind == "file":
            content = shown_file(name)
        elif name == "root":
            content = reference.root_table()
        else:
            content = reference.group_table(name)
        return f"{match[1]}\n{content}\n\n{match[4]}"

    return MARKED.sub(fill, text)


def shown_file(name: str) -> str:
    """A file under its path in the repository, an example's as it would be there."""
    example = EXAMPLE.fullmatch(name)
    place = example["path"] if example else name
    path, suffix = ROOT / name, Path(name).suffix
    code = f"```{FENCES[suffix]}\n{path.read_text().strip()}\n```"
    if suffix == ".yaml" and code.count("\n") > LONG:  # folded up
        label = f"<code>{place}</code>"
        return f"<details><summary>{label}</summary>\n\n{code}\n\n</details>"
    return f"`{place}`\n\n{code}"


def strip_of_frames(run: Path, path: Path) -> None:
    """Pictures of the best episode, solved soonest, which is the last in the video."""
    with open(run / "episodes.csv") as file:
        rows = [row for row in csv.DictReader(file) if row["policy"] == "residual"]
    best = min(int(row["length"]) for row in rows if row["is_success"] == "True")
    with av.open(str(run / "videos" / "residual.mp4")) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode()]
    end = len(frames) - 1  # the last picture stays for a while
    while np.abs(frames[end - 1].astype(int) - frames[-1]).mean() < STILL:
        end -= 1
    start = max(0, end - best // VIDEO_EVERY)
    chosen = [frames[i] for i in np.linspace(start, end, FRAMES).astype(int)]
    height = round(WIDTH * chosen[0].shape[0] / chosen[0].shape[1])
    small = [np.asarray(Image.fromarray(f).resize((WIDTH, height))) for f in chosen]
    Image.fromarray(np.concatenate(small, axis=1)).save(path)


def task_pictures() -> None:
    """Draw the task from above, without a run."""
    with tempfile.TemporaryDirectory() as folder:
        words = ["job=view", "job.window=false", f"job.directory={folder}"]
        subprocess.run([sys.executable, ROOT / "main.py", *words], check=True)
        shutil.copy(Path(folder) / "schematic.png", IMAGES / "schematic.png")


def main() -> None:
    """Update the pages and, given a run, the pictures."""
    for page in PAGES:
        page.write_text(filled(page.read_text()))
    if len(sys.argv) > 1:
        run = Path(sys.argv[1])
        strip_of_frames(run, IMAGES / "frames.png")
        for figure in (run / "figures").glob("*.png"):
            if (IMAGES / figure.name).exists():  # a page shows it
                shutil.copy(figure, IMAGES / figure.name)
        task_pictures()


if __name__ == "__main__":
    main()

"""Start times: imports, `--help`, the first training step."""

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from benchmarks.first_step import MARK
from benchmarks.measure import Effort, Result, Row, interleave
from so101rl.errors import So101Error

ROOT = Path(__file__).resolve().parents[1]
MAIN = (str(ROOT / "main.py"),)
TARGETS = {"first training step": 4.0, "--help": 0.4, "--cfg job": 0.5}
IMPORTS = ("torch", "mlflow", "stable_baselines3", "mujoco", "so101rl.jobs.train")


class CommandError(So101Error):
    """A timed command that failed."""


def measure(effort: Effort) -> Result:
    """Wall-clock times of fresh processes, with all files in the page cache."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        # One episode instead of 64 makes the score of step 0 negligible.
        unscored = ("evaluation.select_episodes=1",)
        cases = {
            "first training step": partial(_first_step, folder, ()),
            "first training step, without the score of step 0": partial(
                _first_step, folder, unscored
            ),
            "--help": partial(_wall, (*MAIN, "--help")),
            "--cfg job": partial(_wall, (*MAIN, "--cfg", "job")),
        }
        if effort.quick:
            cases = {"--help": cases["--help"]}
        else:
            cases |= {
                f"import {module}": partial(_wall, ("-c", f"import {module}"))
                for module in IMPORTS
            }
            cases["first training step"]()  # creates the tracking store
        values = interleave(cases, effort.repeats)
    rows = [
        Row(name, "s", values[name], TARGETS.get(name), sense="<=") for name in cases
    ]
    return Result("startup", "Time to the first training step", rows)


def _first_step(folder: Path, overrides: Sequence[str]) -> float:
    """Seconds from the start of the process to the end of its first env step."""
    begin = time.time()
    out = _output(
        [
            *MAIN,
            *("packages=[benchmarks]", "algo._target_=benchmarks.first_step.FirstStep"),
            f"tracking.uri=sqlite:///{folder / 'mlflow.db'}",
            f"hydra.run.dir={folder}/{time.monotonic_ns()}",
            *overrides,
        ]
    )
    marks = [line for line in out.splitlines() if line.startswith(MARK)]
    if not marks:
        raise CommandError(f"no training step was made; output:\n{out}")
    return float(marks[0].split()[-1]) - begin


def _wall(arguments: Sequence[str]) -> float:
    begin = time.perf_counter()
    _output(arguments)
    return time.perf_counter() - begin


def _output(arguments: Sequence[str]) -> str:
    paths = [str(ROOT), os.environ.get("PYTHONPATH", "")]
    done = subprocess.run(
        [sys.executable, *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, paths))},
        check=False,
    )
    if done.returncode:
        raise CommandError(f"{' '.join(arguments)} failed:\n{done.stdout}")
    return done.stdout

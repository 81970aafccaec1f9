"""Compare the speed of two commits: one after the other, in turns, in fresh processes.

    python benchmarks/two_commits.py --old 87f6d7b --new HEAD

Each commit is checked out into a temporary git worktree. Close what else uses the
processor; a median and a ratio of few rounds still differ by some per cent.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this folder is no part of the installed package

from benchmarks.first_step import MARK  # noqa: E402
from benchmarks.measure import interleave, machine, ratios  # noqa: E402
from benchmarks.planted_faults import environment, git, worktree  # noqa: E402
from so101rl.files import to_json  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
STEPPING = """
import time
import numpy as np
from so101rl.build import build_env
from so101rl.config.compose import compose

env = build_env(compose(["tracking=none"]), 64)
env.reset(seed=0)
rng = np.random.default_rng(0)
residuals = [0.1 * rng.standard_normal((64, 6)) for _ in range(60)]
speeds = []
for _ in range(7):
    begin = time.perf_counter()
    for residual in residuals:
        env.step(residual)
    speeds.append(64 * len(residuals) / (time.perf_counter() - begin))
print(max(speeds))
"""
PPO = """
import contextlib, io, tempfile, time
from so101rl.config.compose import compose
from so101rl.runs.run_dir import RunDir
from so101rl.training.trainer import Trainer

keys = ["every=1000000", "select_episodes=1", "n_episodes=1", "video=false"]
keys = [f"evaluation.{key}" for key in [*keys, "figure=false"]]
cfg = compose(["tracking=none", "total_timesteps=32768", *keys])
trainer = Trainer(cfg)
with tempfile.TemporaryDirectory() as folder:
    run = RunDir.create(f"{folder}/run", cfg=cfg, command="two_commits.py")
    begin = time.perf_counter()
    with contextlib.redirect_stdout(io.StringIO()):
        trainer.run(run)
    print(32768 / (time.perf_counter() - begin))
"""
FIRST_STEP = ("packages=[benchmarks]", "algo._target_=benchmarks.first_step.FirstStep")


def main() -> None:
    """Measure both commits, print and write `results/two_commits.*`."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--old", required=True)
    parser.add_argument("--new", default="HEAD")
    parser.add_argument("--rounds", type=int, default=5)
    options = parser.parse_args()
    commits = options.old, options.new
    names = [git("rev-parse", "--short", commit).strip() for commit in commits]
    with worktree(names[0]) as old, worktree(names[1]) as new:
        cases = {
            f"{what}, {side}": partial(measure, tree)
            for what, measure in MEASURES.items()
            for side, tree in {"old": old, "new": new}.items()
        }
        values = interleave(cases, options.rounds)
    content = {"commits": names, "machine": machine(), "values": values}
    (RESULTS / "two_commits.json").write_text(to_json(content))
    (RESULTS / "two_commits.md").write_text(table(content))
    print(table(content))


def table(content: dict[str, Any]) -> str:
    """The recorded values as Markdown."""
    (old, new), values, where = (content[k] for k in ("commits", "values", "machine"))
    rounds = len(next(iter(values.values())))
    lines = [
        "<!-- written by benchmarks/two_commits.py; do not edit -->\n",
        f"| median of {rounds} | {old} | {new} | new / old |",
        "|---|---|---|---|",
    ]
    for what in MEASURES:
        before, after = (values[f"{what}, {side}"] for side in ("old", "new"))
        cells = [f"{median(before):,.2f}", f"{median(after):,.2f}"]
        cells.append(f"{median(ratios(after, before)):.3f}")
        lines.append(f"| {what} | {' | '.join(cells)} |")
    lines.append(f"\n{where['usable_cpus']} cores ({where['cpu']}).")
    return "\n".join(lines) + "\n"


def _program(code: str, tree: Path) -> float:
    """Run a program in a tree; return the number that it prints."""
    return float(_output(tree, "-c", code))


def _first_step(tree: Path) -> float:
    """Return the time from the start of the process to its first env step [s]."""
    with tempfile.TemporaryDirectory() as folder:
        begin = time.time()
        words = [*FIRST_STEP, "tracking=none", f"hydra.run.dir={folder}/run"]
        return float(_output(tree, "main.py", *words).split(MARK)[1].split()[0]) - begin


def _help(tree: Path) -> float:
    """Return the time of `main.py --help` [s]."""
    begin = time.perf_counter()
    _output(tree, "main.py", "--help")
    return time.perf_counter() - begin


def _output(tree: Path, *words: str) -> str:
    command = [sys.executable, *words]
    options = {"cwd": tree, "env": environment(tree), "text": True, "check": True}
    return subprocess.run(command, capture_output=True, **options).stdout


MEASURES: dict[str, Callable[[Path], float]] = {
    "env stepping, 64 envs [env steps/s]": partial(_program, STEPPING),
    "PPO end to end [env steps/s]": partial(_program, PPO),
    "first training step [s]": _first_step,
    "`--help` [s]": _help,
}

if __name__ == "__main__":
    main()

"""Gain of a warm start: the hard task after a run on the easy one, and from zero.

    python benchmarks/warm_start.py

Trains on `paper_push`, then on `paper_push_hard` with and without `init_from=` that
run, with the same env steps and seeds. 100 held-out episodes judge each policy.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from subprocess import DEVNULL, run
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this folder is no part of the installed package

from benchmarks.measure import commit_text, machine  # noqa: E402
from so101rl.files import write_atomic  # noqa: E402
from so101rl.runs.run_dir import RunDir  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
SILENT = ("tracking=none", "evaluation.video=false", "evaluation.figure=false")
SOURCE_STEPS, STEPS = 200_000, 100_000  # env steps before and after the change
TINY = ("n_envs=4", "n_threads=1", "env.max_episode_steps=20", "algo.n_steps=8")
TINY += ("algo.batch_size=16", "evaluation.n_episodes=2")
TINY += ("evaluation.select_episodes=2",)


def trained(path: Path, *typed: str) -> dict[str, Any]:
    """Run one training; returns the success of base and residual."""
    command = [sys.executable, "main.py", *SILENT, *typed, f"hydra.run.dir={path}"]
    run(command, cwd=ROOT, check=True, stdout=DEVNULL)
    found = RunDir.open(path).evaluation()
    assert found is not None  # written by every finished run
    scores = found["policies"]
    return {name: scores[name]["success_rate"] for name in ("base", "residual")}


def main(arguments: Sequence[str] | None = None) -> None:
    """Train with and without a warm start, and write json and table."""
    options = _parser().parse_args(arguments)
    steps = (64, 64) if options.quick else (SOURCE_STEPS, STEPS)
    more = TINY if options.quick else ()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        source = folder / "source"
        first = trained(source, f"total_timesteps={steps[0]}", *more)
        for seed in options.seeds:
            hard = ["env=paper_push_hard", f"total_timesteps={steps[1]}"]
            hard += [f"seed={seed}", *more]
            zero = trained(folder / f"zero-{seed}", *hard)
            warm = trained(folder / f"warm-{seed}", *hard, f"init_from={source}")
            rows.append({"seed": seed, "zero": zero, "warm": warm})
            print(rows[-1], flush=True)
    result = {"source": first, "steps": steps, "rows": rows, "machine": machine()}
    write_atomic(options.out / "warm_start.json", json.dumps(result, indent=1) + "\n")
    write_atomic(options.out / "warm_start.md", table(result))
    print(f"written: {options.out / 'warm_start.md'}")


def table(result: dict[str, Any]) -> str:
    """A line per seed."""
    where, (before, after) = result["machine"], result["steps"]
    commit = commit_text(where)
    lines = [
        "<!-- written by benchmarks/warm_start.py; do not edit -->",
        "",
        "| seed | base [%] | from zero [%] | warm start [%] |",
        "|--:|--:|--:|--:|",
    ]
    for row in result["rows"]:
        rates = (row["zero"]["base"], row["zero"]["residual"], row["warm"]["residual"])
        cells = [str(row["seed"]), *(f"{100 * rate:.0f}" for rate in rates)]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"Success on held-out episodes of `paper_push_hard` after {after:,} env steps "
        "of PPO; the warm ones",
        f"begin with the policy of one run of {before:,} steps on `paper_push` "
        f"(seed 0), which solves {100 * result['source']['residual']:.0f} % there.",
        f"PRELIMINARY, n={len(result['rows'])}. Commit {commit}.",
    ]
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--quick", action="store_true", help="a smoke test")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


if __name__ == "__main__":
    main()

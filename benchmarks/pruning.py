"""What pruning saves: one search with every run to its end, and the same with a pruner.

    python benchmarks/pruning.py --runs multirun/pruning       about half an hour

Sampler, seed, space and tuning episodes are the same, so the searches begin alike. They
differ from the first pruned trial on, of which the sampler knows less. They run at the
same time, each with one training at a time, so that each can be repeated. A stopped
search continues.
"""

import argparse
import csv
import json
import sys
from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from subprocess import DEVNULL, run
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this folder is no part of the installed package

from benchmarks.measure import commit_text, machine  # noqa: E402
from so101rl.files import write_atomic  # noqa: E402
from so101rl.statistics import wilson  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
PRUNERS = ("none", "median", "halving")  # the first is the reference
STATES = ("complete", "pruned", "failed")
EPISODES, STEPS, TRIALS = 100, 100_000, 16
OBJECTIVE = "residual/success_rate"
SEARCH = ["-m", "sweep=residual", "env=paper_push_hard", "tracking=none"]
SEARCH += [
    "evaluation.every=20000",
    "hydra.sweeper.seeds=1",
    "hydra.sweeper.n_jobs=1",
    "n_threads=1",
]
TINY = ["n_envs=4", "env.max_episode_steps=20", "algo.n_steps=8", "algo.batch_size=16"]
TINY += ["evaluation.every=32", "evaluation.select_episodes=2"]


def search(folder: Path, quick: bool, pruner: str) -> dict[str, Any]:
    """Run one search to its end."""
    trials, steps, episodes = (2, 64, 2) if quick else (TRIALS, STEPS, EPISODES)
    command = [sys.executable, "main.py", *SEARCH, *(TINY if quick else [])]
    command += [f"hydra.sweeper.n_trials={trials}", f"total_timesteps={steps}"]
    command += [f"evaluation.n_episodes={episodes}", f"hydra/sweeper/pruner={pruner}"]
    command += [f"hydra.sweep.dir={folder / pruner}"]
    run(command, cwd=ROOT, check=True, stdout=DEVNULL)
    with (folder / pruner / "trials.csv").open(newline="") as file:
        found = list(csv.DictReader(file))
    ended = [one for one in found if one["state"] == "complete"]
    best = max(ended, key=lambda one: float(one[OBJECTIVE]))
    solved = round(float(best[OBJECTIVE]) * episodes)
    return {
        "pruner": pruner,
        "states": dict(Counter(one["state"] for one in found)),
        "env_steps": sum(int(one["env_steps"]) for one in found),
        "best": solved / episodes,
        "wilson_95": wilson(solved, episodes),
        "best_trial": best,
        "trials": found,
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Search with every pruner, and write json and table."""
    options = _parser().parse_args(arguments)
    where = machine()
    begin = partial(search, options.runs.resolve(), options.quick)
    with ThreadPoolExecutor(options.at_a_time) as pool:
        rows = list(pool.map(begin, options.pruners))
    size = {"env_steps": 64 if options.quick else STEPS, "searches": rows}
    result = {**size, "machine": where}
    write_atomic(options.out / "pruning.json", json.dumps(result, indent=1) + "\n")
    write_atomic(options.out / "pruning.md", table(result))
    print(f"written: {options.out / 'pruning.md'}")


def table(result: dict[str, Any]) -> str:
    """A line per pruner."""
    where, rows = result["machine"], result["searches"]
    commit = commit_text(where)
    lines = [
        "<!-- written by benchmarks/pruning.py; do not edit -->",
        "",
        "| pruner | to the end | pruned | failed | env steps | saved [%] | best [%] |",
        "|---|--:|--:|--:|--:|--:|---|",
    ]
    for row in rows:
        low, high = row["wilson_95"]
        cells = [
            row["pruner"],
            *(str(row["states"].get(state, 0)) for state in STATES),
            f"{row['env_steps']:,}",
            f"{100 * (1 - row['env_steps'] / rows[0]['env_steps']):.0f}",
            f"{100 * row['best']:.0f} [{100 * low:.0f}, {100 * high:.0f}]",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    lines += [
        "",
        f"`sweep=residual` on `paper_push_hard`: TPE, {len(rows[0]['trials'])} trials "
        f"of one seed and at most {result['env_steps']:,} env steps.",
        "Best: success of the best trial on tuning episodes [95 % Wilson interval of "
        f"that one run]. Commit {commit}.",
    ]
    return "\n".join(lines) + "\n"


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=Path, required=True, help="where the runs go")
    parser.add_argument("--at-a-time", type=int, default=2, help="searches")
    parser.add_argument("--pruners", nargs="+", choices=PRUNERS, default=PRUNERS)
    parser.add_argument("--quick", action="store_true", help="a smoke test")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


if __name__ == "__main__":
    main()

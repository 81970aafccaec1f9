"""Success and wall clock of every algorithm after the same number of env steps.

    python benchmarks/algorithms.py                      all of conf/algo, three seeds
    python benchmarks/algorithms.py --only ppo --seeds 0

Every run is `python main.py`, as a user starts it: residual on the Jacobian base, the
algorithm as its yaml says. The `select` episodes choose its best policy, which then
plays the 100 held-out episodes of its seed; these select nothing. The wall clock is
that of the whole program, imports and scores included. `--jobs` runs share the machine,
one thread each. Finished runs are kept: started again, the program trains only what is
missing or has other settings in its yaml now.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from itertools import product
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

from omegaconf import DictConfig, OmegaConf

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this folder is no part of the installed package

from benchmarks.measure import commit_text, load, machine  # noqa: E402
from so101rl.config.compose import compose  # noqa: E402
from so101rl.files import write_atomic  # noqa: E402
from so101rl.runs.run_dir import RunDir  # noqa: E402
from so101rl.statistics import MIN_SEEDS, t_interval, wilson  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
ALGORITHMS = sorted(path.stem for path in (ROOT / "conf" / "algo").glob("*.yaml"))
SETTINGS = {
    "env": "paper_push",
    "base_policy": "jacobian",
    "total_timesteps": 150_000,  # the same for all
    "n_threads": 1,
    "evaluation.every": 25_000,  # env steps between two scores on `select` episodes
    "evaluation.n_episodes": 100,
}
SHORT = SETTINGS | {
    "total_timesteps": 256,
    "n_envs": 4,
    "env.max_episode_steps": 20,
    "evaluation.n_episodes": 2,
    "evaluation.select_episodes": 2,
}
SILENT = ("tracking=none", "evaluation.video=false", "evaluation.figure=false")
Run = dict[str, Any]


def trained(algorithm: str, seed: int, settings: Mapping[str, Any]) -> Run:
    """Train and evaluate once; returns the result."""
    command = [sys.executable, "main.py", *_overrides(algorithm, settings), *SILENT]
    with tempfile.TemporaryDirectory() as folder:
        command += [f"seed={seed}", f"hydra.run.dir={folder}/run"]
        before, begin = load()[0], time.monotonic()
        subprocess.run(command, cwd=ROOT, check=True, stdout=DEVNULL)
        seconds, run = time.monotonic() - begin, RunDir.open(Path(folder) / "run")
        scores, lines, git = run.evaluation(), run.metrics(), run.info["git"] or {}
        cfg = run.config()
    assert scores is not None  # written by every finished run
    policies = scores["policies"]
    return {
        "algorithm": algorithm,
        "seed": seed,
        "base": policies["base"]["success_rate"],
        "residual": policies["residual"]["success_rate"],
        "env_steps": lines[-1]["step"],
        "policy_step": scores["policy_step"],
        "wall_clock_s": seconds,
        "env_steps_per_s": lines[-1]["step"] / seconds,
        "select": [
            [line["step"], line["eval/success_rate"]]
            for line in lines
            if "eval/success_rate" in line
        ],
        "load": before,
        "commit": git.get("commit"),
        "dirty": git.get("dirty"),
        "learner": learner(cfg),
    }


def today(algorithm: str, settings: Mapping[str, Any]) -> dict[str, Any]:
    """An algorithm's settings in today's yaml."""
    return learner(compose(_overrides(algorithm, settings)))


def learner(cfg: DictConfig) -> dict[str, Any]:
    """The learner's settings without the number of steps, which this program sets."""
    found: Any = OmegaConf.to_container(cfg.algo, resolve=True)
    return {key: value for key, value in found.items() if key != "total_timesteps"}


def _overrides(algorithm: str, settings: Mapping[str, Any]) -> list[str]:
    return [f"algo={algorithm}", *(f"{key}={value}" for key, value in settings.items())]


def main(arguments: Sequence[str] | None = None) -> None:
    """Train the missing runs, and write json and table after each."""
    options = _parser().parse_args(arguments)
    settings = SHORT if options.quick else SETTINGS
    where = machine()
    place = {key: where[key] for key in ("cpu", "usable_cpus", "system", "versions")}
    result = {"settings": settings, "jobs": options.jobs, "machine": place}
    path = options.out / "algorithms.json"
    runs = result["runs"] = earlier(path, result)
    done = {(run["algorithm"], run["seed"]) for run in runs}
    missing = [
        (algorithm, seed)
        for seed, algorithm in product(options.seeds, options.only)
        if (algorithm, seed) not in done
    ]
    print(f"{len(done)} runs done, {len(missing)} to do", flush=True)
    with ThreadPoolExecutor(options.jobs) as pool:
        futures = [pool.submit(trained, *one, settings) for one in missing]
        try:
            for future in as_completed(futures):
                runs.append(future.result())
                print(as_text(runs[-1]), flush=True)
                write(options.out, result)
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    print(f"written: {write(options.out, result)}")


def earlier(path: Path, now: Mapping[str, Any]) -> list[Run]:
    """The finished runs that need not be repeated."""
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    other = [key for key in now if found[key] != now[key]]
    if other:
        raise SystemExit(
            f"{path} was recorded with other {' and '.join(other)}, and one table has "
            "room for one; choose another --out, or delete it"
        )
    runs: list[Run] = found["runs"]
    names = {run["algorithm"] for run in runs}.intersection(ALGORITHMS)
    learners = {name: today(name, now["settings"]) for name in names}
    return [run for run in runs if learners.get(run["algorithm"]) == run["learner"]]


def as_text(run: Run) -> str:
    """One run as a line."""
    return (
        f"{run['algorithm']} seed {run['seed']}: base {run['base']:.0%}, "
        f"residual {run['residual']:.0%}, {run['wall_clock_s'] / 60:.1f} min"
    )


# ---- the table ----


def write(folder: Path, result: Mapping[str, Any]) -> Path:
    """Write `algorithms.json` and `algorithms.md`."""
    write_atomic(folder / "algorithms.json", json.dumps(result, indent=1) + "\n")
    path = folder / "algorithms.md"
    write_atomic(path, table(result))
    return path


def table(result: Mapping[str, Any]) -> str:
    """A line per algorithm, best first, below the base alone."""
    runs, settings = result["runs"], result["settings"]
    groups = [
        [run for run in runs if run["algorithm"] == name]
        for name in {run["algorithm"] for run in runs}
    ]
    groups.sort(key=lambda own: (-_mean(own), own[0]["algorithm"]))
    commits = sorted({commit_text(run) for run in runs})
    place, n = result["machine"], settings["evaluation.n_episodes"]
    lines = [
        "<!-- written by benchmarks/algorithms.py; do not edit -->",
        "",
        "| algorithm | success [%] | lowest to highest seed [%] | wall clock [min] "
        "| env steps/s | note |",
        "|---|---|---|--:|--:|---|",
        _line("base alone", base(runs), n, ["", ""]),
        *(
            _line(
                own[0]["algorithm"],
                [run["residual"] for run in own],
                n,
                [
                    _range([run["wall_clock_s"] / 60 for run in own], 1),
                    _range([run["env_steps_per_s"] for run in own], 0),
                ],
            )
            for own in groups
        ),
        "",
        f"{settings['env']} on the {settings['base_policy']} base, "
        f"{settings['total_timesteps']:,} env steps each. Mean over seeds, {n} "
        "held-out episodes",
        "each [95 % t interval over the seed means, not clipped]; W: the seed means "
        "are equal or one, Wilson",
        "interval of one seed. Wall clock of the whole program and env steps per "
        "second of it: lowest to",
        f"highest seed, {result['jobs']} programs at a time with one thread each on "
        f"{place['usable_cpus']} cores ({place['cpu']}).",
        f"Commit {', '.join(commits)}.",
    ]
    return "\n".join(lines) + "\n"


def base(runs: Sequence[Run]) -> list[float]:
    """Success of the base per seed, which is the same beside every algorithm."""
    found: dict[int, float] = {}
    for run in runs:
        if found.setdefault(run["seed"], run["base"]) != run["base"]:
            raise SystemExit(
                f"seed {run['seed']}: the base solved {run['base']:.0%} beside "
                f"{run['algorithm']} and {found[run['seed']]:.0%} beside another; "
                "the runs do not belong together"
            )
    return list(found.values())


def _line(name: str, rates: Sequence[float], n: int, times: Sequence[str]) -> str:
    if len(set(rates)) > 1:
        found = t_interval(dict(enumerate(rates)))
        mean, low, high, mark = found.mean, found.low, found.high, ""
    else:
        mean, mark = rates[0], " W"
        low, high = wilson(round(mean * n), n)
    cells = [
        name,
        f"{100 * mean:.1f} [{100 * low:.1f}, {100 * high:.1f}]{mark}",
        f"{100 * min(rates):.0f} to {100 * max(rates):.0f}",
        *times,
        f"PRELIMINARY, n={len(rates)}" if len(rates) < MIN_SEEDS else "",
    ]
    return f"| {' | '.join(cells)} |"


def _mean(runs: Sequence[Run]) -> float:
    return sum(run["residual"] for run in runs) / len(runs)


def _range(values: Sequence[float], digits: int) -> str:
    low, high = (f"{end:,.{digits}f}" for end in (min(values), max(values)))
    return low if low == high else f"{low} to {high}"


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=ALGORITHMS, default=ALGORITHMS)
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="only show that it runs")
    return parser


if __name__ == "__main__":
    main()

"""Wall clock from the start of the program to a policy that solves the task.

    python benchmarks/race.py                   both tasks, five seeds: about an hour
    python benchmarks/race.py --only paper_push --seeds 0 1

Ours is `python main.py`, as a user starts it; the rival is `classic.py`. Both score
their policy on the same 64 `select` episodes every `EVERY` env steps and stop when
`STOP_AT` of them are solved. The time is from the start of the process, imports and
scores included, to that moment. The policy then plays 100 held-out episodes, which
select nothing: a run counts if it solves 95 % of them. One run at a time uses the
machine; the two stacks alternate, seed by seed.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from itertools import product
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this folder is no part of the installed package

from benchmarks import report  # noqa: E402
from benchmarks.measure import load, machine  # noqa: E402
from so101rl.files import read_jsonl  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
STOP_AT = 0.98  # of the select episodes: 63 of 64
WANTED = 0.95  # of the held-out episodes
EVERY = {"paper_push": 25_000, "paper_push_hard": 100_000}  # env steps between scores
CAP = {"paper_push": 300.0, "paper_push_hard": 300.0}  # a run is stopped then [s]
# How ours is started: a task, or a preset for it.
CHOICES = {"paper_push": "env=paper_push", "paper_push_hard": "experiment=hard"}


def ours(env: str, seed: int, folder: Path) -> dict[str, Any]:
    """Run `python main.py` up to the wanted success."""
    run = folder / "run"
    command = [
        *(sys.executable, "main.py", CHOICES[env], f"seed={seed}"),
        *(f"evaluation.stop_at={STOP_AT}", f"evaluation.every={EVERY[env]}"),
        *("total_timesteps=100000000", "evaluation.video=false"),
        f"tracking.uri=sqlite:///{folder.parent / 'mlflow.db'}",
        f"hydra.run.dir={run}",
    ]
    begun = time.time()
    process, timed_out = subprocess.Popen(command, cwd=ROOT, stdout=DEVNULL), False
    try:
        process.wait(CAP[env])
    except subprocess.TimeoutExpired:
        timed_out = True
        process.terminate()  # it saves its policy
        process.wait()
    if process.returncode and not timed_out:
        raise subprocess.CalledProcessError(process.returncode, command)
    lines = [read_jsonl(run / f"{name}.jsonl")[0] for name in ("metrics", "timings")]
    curve = [
        [clock["time/unix_s"] - begun, line["step"], line["eval/success_rate"]]
        for line, clock in zip(*lines, strict=False)  # a stop may fall between them
        if "eval/success_rate" in line
    ]
    results = run
    if timed_out:  # its best policy is evaluated without being timed
        command = [sys.executable, "main.py", "job=evaluate", f"run={run}"]
        command += ["tracking=none", "evaluation.video=false"]
        subprocess.run(command, cwd=ROOT, check=True, stdout=DEVNULL)
        results = run / "evaluations" / "1"
    scores = json.loads((results / "evaluation.json").read_text())["policies"]
    return {"curve": curve, "held_out": scores["residual"]["success_rate"]}


def classic(env: str, seed: int, folder: Path) -> dict[str, Any]:
    """Run the classic stack up to the wanted success."""
    out, begun = folder / "classic.json", time.time()
    command = [
        *(sys.executable, "benchmarks/classic.py", "--env", env, "--seed", str(seed)),
        *("--stop-at", str(STOP_AT), "--every", str(EVERY[env])),
        *("--cap", str(CAP[env]), "--begun", str(begun), "--out", str(out)),
    ]
    subprocess.run(command, cwd=ROOT, check=True, stdout=DEVNULL)
    found = json.loads(out.read_text())
    curve = [
        [score["unix_s"] - begun, score["step"], score["success"]]
        for score in found["scores"]
    ]
    return {"curve": curve, "held_out": found["held_out"]}


STACKS = {"ours": ours, "classic": classic}


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the stacks; write json after every run, table and figure at the end."""
    options = _parser().parse_args(arguments)
    where = machine()
    result: dict[str, Any] = {
        "machine": where,
        "settings": {
            "stop_at": STOP_AT,
            "wanted": WANTED,
            "every": EVERY,
            "cap_s": CAP,
            "ours": CHOICES,
        },
        "runs": earlier(options.out / "race.json", options),
    }
    options.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as name:
        for env, seed, stack in product(options.only, options.seeds, options.stacks):
            folder = Path(name) / f"{env}-{seed}-{stack}"
            folder.mkdir()
            run = {"env": env, "seed": seed, "stack": stack, "load": load()[0]}
            run |= {"commit": where["commit"], "dirty": where["dirty"]}
            run |= STACKS[stack](env, seed, folder)
            run["reached_s"] = reached(run)
            result["runs"].append(run)
            print(as_text(run), flush=True)
            path = options.out / "race.json"
            path.write_text(json.dumps(result, indent=1) + "\n")
    print(f"written: {report.write_race(options.out)}, {report.draw_race(options.out)}")


def earlier(path: Path, options: argparse.Namespace) -> list[dict[str, Any]]:
    """Runs of earlier calls that are not repeated, each with its commit."""
    if not path.exists():
        return []
    again = set(product(options.only, options.seeds, options.stacks))
    runs = json.loads(path.read_text())["runs"]
    return [run for run in runs if (run["env"], run["seed"], run["stack"]) not in again]


def reached(run: dict[str, Any]) -> float | None:
    """Seconds until the policy solved what is wanted; None if it never did."""
    stopped = [point for point in run["curve"] if point[2] >= STOP_AT]
    held_out = run["held_out"]
    if not stopped or held_out < WANTED:
        return None
    return float(stopped[0][0])


def as_text(run: dict[str, Any]) -> str:
    """One run as a line."""
    seconds, step, success = run["curve"][-1]
    text = f"{run['env']} {run['stack']} seed {run['seed']}: "
    text += f"{success:.0%} of select after {step:,} env steps and {seconds:.0f} s; "
    text += f"held out {run['held_out']}"
    return text if run["reached_s"] is not None else f"{text}: NOT REACHED"


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(EVERY), default=list(EVERY))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2, 3, 4])
    parser.add_argument(
        "--stacks", nargs="+", choices=list(STACKS), default=list(STACKS)
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


if __name__ == "__main__":
    main()

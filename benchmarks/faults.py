"""Breaks runs in the ways that happen in practice, and counts what survives.

    python benchmarks/faults.py                 all cases, about half an hour
    python benchmarks/faults.py --only kill --trials 10

The trainings are real programs of some seconds each. A trial survives if the run ends
with the same bytes as an undisturbed one (metrics, episodes, policies), or with the
status, message or exit code that the case requires.
"""

import argparse
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this folder is no part of the installed package

from benchmarks.measure import machine  # noqa: E402
from so101rl.files import read_json, read_jsonl  # noqa: E402
from so101rl.policies import checkpoint  # noqa: E402
from so101rl.policies.checkpoint import META, POLICY, TRAINING  # noqa: E402
from so101rl.runs.run_dir import RunDir  # noqa: E402

CONF = str(ROOT / "conf")
RESULTS = ROOT / "benchmarks" / "results"
TIMEOUT_S = 180.0
EVERY, TOTAL = 64, 1024  # env steps between two checkpoints, and of a training
SMALL = [
    *("tracking=none", "n_envs=4", "n_threads=1", f"total_timesteps={TOTAL}"),
    *(f"log_every={EVERY}", f"checkpoint_every={EVERY}", "evaluation.every=512"),
    *("evaluation.n_episodes=2", "evaluation.select_episodes=2"),
    *("evaluation.video=false", "evaluation.figure=false", "env.max_episode_steps=30"),
]
OFF_POLICY = ["algo.learning_starts=64", "algo.gradient_steps=1"]
OFF_POLICY += ["algo.buffer_size=400", "algo.policy_kwargs.net_arch=[8]"]
ALGOS = {
    "ppo": ["algo.n_steps=8", "algo.batch_size=16", "algo.policy_kwargs.net_arch=[8]"],
    "sac": ["algo=sac", *OFF_POLICY],
    "td3": ["algo=td3", *OFF_POLICY],
}


@dataclass
class Outcome:
    """The result of a case.

    Attributes:
        case: its name.
        trials: number of trials.
        survived: trials that ended as required.
        note: further numbers.
    """

    case: str
    trials: int
    survived: int
    note: str = ""


class Lab:
    """A folder for runs, a random generator, and undisturbed runs to compare with."""

    def __init__(self, folder: Path, seed: int):
        self.folder, self.rng = folder, random.Random(seed)
        self._number = 0
        self._references: dict[str, dict[str, str]] = {}

    def path(self) -> Path:
        """A run directory that does not exist yet."""
        self._number += 1
        return self.folder / f"run-{self._number}"

    def main(self, *typed: str, **options: Any) -> subprocess.Popen[str]:
        """`main.py` as a process."""
        return subprocess.Popen(
            [sys.executable, str(ROOT / "main.py"), *typed],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=self.folder,
            **options,
        )

    def train(self, path: Path, algo: str = "ppo", *typed: str) -> Any:
        """A training as a process."""
        return self.main(*SMALL, *ALGOS[algo], f"hydra.run.dir={path}", *typed)

    def resume(self, path: Path) -> tuple[int, str]:
        """Resume a run to its end; returns exit code and output."""
        process = self.main("job=resume", f"run={path}")
        output = process.communicate(timeout=TIMEOUT_S)[0]
        return process.returncode, output

    def reference(self, algo: str) -> dict[str, str]:
        """The digests of an undisturbed run."""
        if algo not in self._references:
            path = self.path()
            process = self.train(path, algo)
            output = process.communicate(timeout=TIMEOUT_S)[0]
            assert process.returncode == 0, output
            self._references[algo] = outcome(path)
        return self._references[algo]

    def killed_run(self, algo: str = "ppo") -> Path:
        """A run that was killed in the second half of its training."""
        path = self.path()
        process = self.train(path, algo)
        wait_for_step(process, path, TOTAL // 2)
        kill(process)
        return path


def outcome(path: Path) -> dict[str, str]:
    """The sha256 of each part in which two equal runs agree."""
    names = ["metrics.jsonl", "episodes.csv", "evaluation.json"]
    names += [f"checkpoints/{name}/{POLICY}" for name in ("best", "final")]
    found = {n: hashlib.sha256((path / n).read_bytes()).hexdigest() for n in names}
    # The optimizer and everything else that a training continues from.
    _, tree = checkpoint.load_training(checkpoint.steps(path / "checkpoints")[0])
    tree.pop("logs")  # lengths of files, one of which depends on the clock
    found["training"] = hashlib.sha256(repr(_plain(tree)).encode()).hexdigest()
    return found


def _plain(node: Any) -> Any:
    if isinstance(node, dict):
        return {key: _plain(value) for key, value in node.items()}
    if isinstance(node, list | tuple):
        return [_plain(value) for value in node]
    if hasattr(node, "numpy"):
        return hashlib.sha256(node.contiguous().numpy().tobytes()).hexdigest()
    return node


def wait_for_step(process: subprocess.Popen[str], path: Path, step: int) -> None:
    """Return once a run has logged `step`, or has ended."""
    offset = 0
    while process.poll() is None:
        lines, offset = read_jsonl(path / "metrics.jsonl", offset)
        if any(line["step"] >= step for line in lines):
            return
        time.sleep(0.002)


def wait_for_file(process: subprocess.Popen[str], path: Path) -> None:
    """Return once a file exists, or its writer has ended."""
    while process.poll() is None and not path.exists():
        time.sleep(0.002)


def wait_for_save(process: subprocess.Popen[str], path: Path) -> None:
    """Return once a run is in the middle of a save, or has ended."""
    folder = path / "checkpoints"
    while process.poll() is None:
        if folder.exists() and any(".tmp" in name for name in os.listdir(folder)):
            return


def kill(process: subprocess.Popen[str]) -> None:
    """Kill -9, and wait for the end of the process."""
    process.kill()
    process.communicate()


# ---- the cases ----


def kills(lab: Lab, trials: int) -> Outcome:
    """Kill -9 at any moment, half of the trials aimed at a save; then resume."""
    survived = inside = lost = trial = number = 0
    while trial < trials:
        algo = list(ALGOS)[trial % len(ALGOS)]
        wanted, path = lab.reference(algo), lab.path()
        process, number = lab.train(path, algo), number + 1
        if number % 2:  # aimed at a save
            wait_for_step(process, path, lab.rng.randrange(TOTAL))
            wait_for_save(process, path)
            time.sleep(lab.rng.random() * 0.002)
        else:
            wait_for_file(process, path / "run.json")
            time.sleep(lab.rng.uniform(0, 4))
        if process.poll() is not None:
            process.communicate()
            continue  # it ended before it could be killed
        kill(process)
        trial += 1
        folder = path / "checkpoints"
        if folder.exists():
            inside += any(name.startswith(".") for name in os.listdir(folder))
        steps = [line["step"] for line in RunDir.open(path).metrics()]
        code, _ = lab.resume(path)
        again = RunDir.open(path).info.get("resumed", [])
        if again and steps:
            lost = max(lost, steps[-1] - again[0]["step"])
        lost_little = (
            not again or not steps or steps[-1] - again[0]["step"] <= 2 * EVERY
        )
        survived += code == 0 and outcome(path) == wanted and lost_little
        shutil.rmtree(path)
    note = f"{inside} inside a save; "
    note += f"at most {lost} env steps lost (a checkpoint every {EVERY})"
    return Outcome("kill -9, then resume: same bytes", trials, survived, note)


def signals(lab: Lab, trials: int) -> Outcome:
    """SIGTERM and Ctrl+C: checkpoint of that moment and true status within 10 s."""
    survived, slowest = 0, 0.0
    for trial in range(trials):
        number, code = [(signal.SIGTERM, 143), (signal.SIGINT, 130)][trial % 2]
        path = lab.path()
        process = lab.train(path, "ppo", "checkpoint_every=1000000")
        wait_for_step(process, path, lab.rng.randrange(EVERY, TOTAL // 2))
        begin = time.monotonic()
        process.send_signal(number)
        process.communicate(timeout=TIMEOUT_S)
        slowest = max(slowest, time.monotonic() - begin)
        run = RunDir.open(path)
        saved = len(checkpoint.steps(run.checkpoints)) == 1
        truthful = process.returncode == code and run.info["status"] == "killed"
        resumed = lab.main("job=resume", f"run={path}", "checkpoint_every=1000000")
        resumed.communicate(timeout=TIMEOUT_S)
        found, wanted = outcome(path), lab.reference("ppo")
        # It has other checkpoints, and so another newest `training`.
        same = all(found[name] == wanted[name] for name in wanted if name != "training")
        survived += saved and truthful and same and slowest < 10
    note = f"slowest end {slowest:.1f} s"
    return Outcome(
        "SIGTERM, SIGINT: checkpoint, status, resume", trials, survived, note
    )


def twice(lab: Lab, trials: int) -> Outcome:
    """A second Ctrl+C ends the run at once, with the true status."""
    survived = 0
    for _ in range(trials):
        path = lab.path()
        process = lab.train(path, "ppo", "total_timesteps=1000000", "algo.n_steps=4096")
        wait_for_step(process, path, EVERY)
        process.send_signal(signal.SIGINT)
        time.sleep(0.3)
        begin = time.monotonic()
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT_S)
        fast = time.monotonic() - begin < 6  # [s], before the timeout of the first one
        status = RunDir.open(path).info["status"]
        survived += fast and process.returncode == 130 and status == "killed"
    return Outcome("second Ctrl+C ends at once", trials, survived)


CRASHES = {
    "exception": ("raise ValueError('x')", "failed", "bug"),
    "sys.exit": ("import sys; sys.exit(3)", "failed", "bug"),
    "os._exit": ("import os; os._exit(4)", "killed", "infrastructure"),
    "SIGINT": ("import os; os.kill(os.getpid(), 2)", "killed", "stopped"),
    "SIGTERM": ("import os; os.kill(os.getpid(), 15)", "killed", "stopped"),
    "SIGKILL": ("import os; os.kill(os.getpid(), 9)", "killed", "infrastructure"),
    "out of memory": ("raise MemoryError", "failed", "infrastructure"),
    "segmentation fault": (
        "import os; os.kill(os.getpid(), 11)",
        "killed",
        "infrastructure",
    ),
}
CRASHING = """
import sys
from so101rl.training.callbacks import LogCallback
fire = LogCallback.fire
def die(self):
    fire(self)
    if self.num_timesteps >= 128:
        {how}
LogCallback.fire = die
sys.argv[0] = "main.py"
from so101rl.cli import main
sys.exit(main())
"""


def crashes(lab: Lab, trials: int) -> Outcome:
    """Eight kinds of crash; each must leave the right status and kind of error."""
    del trials
    survived, wrong = 0, []
    for name, (how, status, kind) in CRASHES.items():
        path = lab.path()
        command = [sys.executable, "-c", CRASHING.format(how=how), "-cp", CONF]
        subprocess.run(
            [*command, *SMALL, *ALGOS["ppo"], f"hydra.run.dir={path}"],
            cwd=ROOT,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        run = RunDir.open(path)
        run.update_status()
        info = RunDir.open(path).info
        is_right = info["status"] == status and info["error"]["kind"] == kind
        survived += is_right
        if not is_right:
            wrong.append(f"{name}: {info['status']}, {info['error']}")
    return Outcome(
        "8 ways to die: the right status", len(CRASHES), survived, str(wrong or "")
    )


def damage(lab: Lab, trials: int) -> Outcome:
    """Truncate, flip, empty or drop a file of the newest checkpoint; then resume."""
    wanted, survived = lab.reference("ppo"), 0
    for _ in range(trials):
        path = lab.killed_run()
        newest = checkpoint.steps(path / "checkpoints")[0]
        file = newest / lab.rng.choice([TRAINING, META])
        data = bytearray(file.read_bytes())
        place = lab.rng.randrange(len(data))
        how = lab.rng.choice(["truncate", "flip", "empty", "drop"])
        if how == "drop":
            file.unlink()
        else:
            data[place] ^= 1 << lab.rng.randrange(8)
            changed = {"truncate": data[:place], "flip": data, "empty": b""}[how]
            file.write_bytes(changed)
        code, output = lab.resume(path)
        survived += (
            code == 0
            and f"passed over: checkpoint {newest}" in output
            and outcome(path) == wanted
        )
    return Outcome("damaged newest checkpoint: the one before", trials, survived)


def reproduced(lab: Lab, trials: int) -> Outcome:
    """A finished run, trained again, has the same bytes."""
    survived = 0
    for trial in range(trials):
        algo, path = list(ALGOS)[trial % len(ALGOS)], lab.path()
        lab.train(path, algo, f"seed={trial}").communicate(timeout=TIMEOUT_S)
        process = lab.main("job=reproduce", f"run={path}")
        output = process.communicate(timeout=TIMEOUT_S)[0]
        survived += process.returncode == 0 and "identical: " in output
    return Outcome("job=reproduce: identical", trials, survived)


def changed(lab: Lab, trials: int) -> Outcome:
    """Resuming with another config is refused, and the difference is shown."""
    del trials
    path, survived = lab.killed_run(), 0
    changes = ["n_envs=8", "algo.gamma=0.5", "algo=sac", "env.act_scale=0.02", "seed=9"]
    for typed in changes:
        process = lab.main("job=resume", f"run={path}", typed)
        output = process.communicate(timeout=TIMEOUT_S)[0]
        survived += process.returncode == 2 and " -> " in output
    return Outcome("resume with a changed config: refused", len(changes), survived)


def full_disk(lab: Lab, trials: int) -> Outcome:
    """A full disk: the run names the reason, older checkpoints stay whole."""
    survived, folder = 0, lab.folder / "disk"
    folder.mkdir()
    for _ in range(trials):
        size = lab.rng.randrange(300, 900)
        mount = ["mount", "-t", "tmpfs", "-o", f"size={size}k", "tmpfs", str(folder)]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            return Outcome("full disk", 0, 0, "not tried: mounting needs root")
        try:
            process = lab.train(folder / "run", "sac", "keep_checkpoints=1000")
            output = process.communicate(timeout=TIMEOUT_S)[0]
            whole = checkpoint.steps(folder / "run" / "checkpoints")
            for path in whole:
                checkpoint.load_training(path)
            # A full disk has no room for a status either: make room, as a user would.
            subprocess.run(["mount", "-o", "remount,size=2m", folder], check=True)
            run = RunDir.open(folder / "run")
            run.update_status()
            survived += (
                process.returncode == 2
                and "No space left" in output
                and "Traceback" not in output
                and bool(whole)
                and (run.info["error"] or {}).get("kind") == "infrastructure"
            )
        finally:
            subprocess.run(["umount", str(folder)], check=True)
    return Outcome("full disk: named, checkpoints whole", trials, survived)


def odd_places(lab: Lab, trials: int) -> Outcome:
    """Paths with spaces and non-ASCII letters, and no HOME."""
    del trials
    survived = 0
    places = ["a b", "ä ö ü", "数据", "quote's"]
    environment = {key: value for key, value in os.environ.items() if key != "HOME"}
    for place in places:
        folder = lab.folder / place
        folder.mkdir()
        typed = [*SMALL, *ALGOS["ppo"], "total_timesteps=64", "tracking=mlflow"]
        process = subprocess.run(
            [sys.executable, str(ROOT / "main.py"), *typed, "hydra.run.dir=run"],
            cwd=folder,
            env=environment,
            capture_output=True,
            timeout=TIMEOUT_S,
            check=False,
        )
        survived += (
            process.returncode == 0
            and RunDir.open(folder / "run").info["status"] == "finished"
        )
    return Outcome("odd paths, no HOME: trains", len(places), survived)


def many(lab: Lab, trials: int) -> Outcome:
    """32 processes at once create and use one tracking store."""
    del trials
    count = 32
    program = (
        "import sys\n"
        "from so101rl.runs.run_dir import RunDir\n"
        "from so101rl.tracking.mlflow import MlflowTracker\n"
        "run = RunDir.create(sys.argv[1], cfg={'seed': 0}, command='x',\n"
        "    groups={'env': 'paper_push'})\n"
        "run.log(1, {'a': 1.0}); run.finish('finished')\n"
        "tracker = MlflowTracker(uri=sys.argv[2], experiment='all')\n"
        "tracker.start(run); tracker.finish(run)\n"
    )
    store = f"sqlite:///{lab.folder / 'many.db'}"
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", program, str(lab.path()), store],
            cwd=ROOT,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for _ in range(count)
    ]
    for process in processes:
        process.wait(600)
    from mlflow import MlflowClient

    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("all")
    runs = client.search_runs([experiment.experiment_id]) if experiment else []
    survived = sum(run.info.status == "FINISHED" for run in runs)
    return Outcome("32 processes on a fresh store: recorded", count, survived)


CASES: dict[str, tuple[Callable[[Lab, int], Outcome], int]] = {
    "kill": (kills, 100),
    "signal": (signals, 20),
    "twice": (twice, 5),
    "death": (crashes, 8),
    "damage": (damage, 20),
    "reproduce": (reproduced, 20),
    "changed": (changed, 5),
    "disk": (full_disk, 10),
    "places": (odd_places, 4),
    "many": (many, 1),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases, print and write the table; 1 if a trial did not survive."""
    options = _parser().parse_args(arguments)
    path, found, where = options.out / "faults.json", [], machine()
    with tempfile.TemporaryDirectory() as name:
        lab = Lab(Path(name), options.seed)
        for case in options.only:
            try_it, trials = CASES[case]
            begin = time.monotonic()
            result = try_it(lab, options.trials or trials)
            row = {"name": case, **asdict(result), "commit": where["commit"]}
            found.append(row | {"seconds": round(time.monotonic() - begin)})
            print(as_text(found[-1]), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    # Other cases of earlier calls stay, each with its commit.
    before = read_json(path)["cases"] if path.exists() else []
    rows = {row["name"]: row for row in [*before, *found]}
    kept = [rows[name] for name in CASES if name in rows]
    content = {"machine": where, "seed": options.seed, "cases": kept}
    path.write_text(json.dumps(content, indent=1) + "\n")
    (options.out / "faults.md").write_text(table(read_json(path)))
    print(f"written: {path}")
    return int(any(row["survived"] < row["trials"] for row in found))


def table(content: dict[str, Any]) -> str:
    """The cases as Markdown."""
    where = content["machine"]
    commits = sorted({(row["commit"] or "unknown")[:8] for row in content["cases"]})
    commit = ", ".join(commits) + (" + changes" if where["dirty"] else "")
    lines = ["<!-- written by benchmarks/faults.py; do not edit -->", ""]
    lines += ["| case | trials | survived | |", "|---|--:|--:|---|"]
    lines += [
        f"| {row['case']} | {row['trials']} | {row['survived']} | {row['note']} |"
        for row in content["cases"]
    ]
    lines += [
        "",
        f"{where['usable_cpus']} cores, commit {commit}, seed {content['seed']}.",
    ]
    return "\n".join([*lines, ""])


def as_text(row: dict[str, Any]) -> str:
    """One case as a line."""
    text = f"{row['case']}: {row['survived']} of {row['trials']}"
    return f"{text} ({row['seconds']} s) {row['note']}"


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--trials", type=int, help="instead of each case's own number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Kills sweeps at random moments, and checks what they end with.

    python benchmarks/sweep_faults.py                 all cases, some minutes
    python benchmarks/sweep_faults.py --only run --trials 3

A search by TPE, one run at a time, is killed once (or repeatedly) with kill -9, and its
command is repeated until it ends by itself. The search survives if it then has exactly
`n_trials` finished trials, no running trial, no process, no directory that was used
twice, and the values of an undisturbed search. The trainings are those of
tests/fake_main.py, a second each; --real takes real ones of some seconds.

The last case runs two trials of two runs each at a time and restarts at once. Its
values depend on which run is faster, so they are not compared.
"""

import argparse
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
from dataclasses import asdict
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this folder is no part of the installed package

from benchmarks.faults import ALGOS, RESULTS, SMALL, Outcome, as_text  # noqa: E402
from benchmarks.measure import commit_text, machine  # noqa: E402
from so101rl.files import read_json  # noqa: E402
from so101rl.runs.run_dir import find_runs  # noqa: E402
from so101rl.sweeps.search.storage import sqlite_url  # noqa: E402

TIMEOUT_S = 600.0
MOST_CALLS = 10  # until the command ends by itself
N_TRIALS = 6
FAKE = ["tracking=none", "total_timesteps=100", "evaluation.every=10"]
REAL = [*SMALL, *ALGOS["ppo"], "total_timesteps=512", "evaluation.every=128"]
SEARCH = ["-m", "sweep=residual", f"hydra.sweeper.n_trials={N_TRIALS}"]
SEARCH += ["hydra.sweeper.n_jobs=1", "hydra.sweeper.seeds=1"]
SEARCH += ["hydra.sweeper.sampler.n_startup_trials=3", "hydra/sweeper/pruner=none"]
CROWD = ["hydra.sweeper.n_jobs=2", "hydra.sweeper.seeds=2"]


class SweepLab:
    """A folder for sweeps, a random generator, and an undisturbed sweep to compare."""

    def __init__(self, folder: Path, seed: int, *, real: bool):
        self.folder, self.rng = folder, random.Random(seed)
        script = ROOT / ("main.py" if real else "tests/fake_main.py")
        self._command = [
            sys.executable,
            str(script),
            *SEARCH,
            *(REAL if real else FAKE),
        ]
        self._number = 0
        self.slowest_s = 0.0
        begin = time.monotonic()
        whole = self.path()
        assert self.finish(whole) == 1
        self.length_s = time.monotonic() - begin
        self.wanted = trials(whole)

    def path(self) -> Path:
        """A folder for a sweep that does not exist yet."""
        self._number += 1
        return self.folder / f"sweep-{self._number}"

    def start(self, path: Path, more: Sequence[str] = ()) -> "subprocess.Popen[bytes]":
        """A sweep as a process."""
        with path.with_suffix(".output").open("ab") as output:
            return subprocess.Popen(
                [*self._command, *more, f"hydra.sweep.dir={path}"],
                stdout=output,
                stderr=output,
                cwd=self.folder,
            )

    def finish(self, path: Path, more: Sequence[str] = ()) -> int:
        """Repeat a sweep's command until it ends by itself; returns how often."""
        for call in range(1, MOST_CALLS + 1):
            if self.start(path, more).wait(TIMEOUT_S) == 0:
                return call
        raise RuntimeError(path.with_suffix(".output").read_text()[-2000:])

    def kill(self, sweep: "subprocess.Popen[bytes]", path: Path, who: str) -> bool:
        """Kill -9 a sweep or its run; returns whether there was one to kill."""
        jobs = processes(path) - {sweep.pid}
        if sweep.poll() is not None or (who == "run" and not jobs):
            return False
        if who == "run":
            os.kill(jobs.pop(), signal.SIGKILL)
            return True
        begin = time.monotonic()
        sweep.kill()
        sweep.wait()
        while processes(path):  # its run notices, saves and ends
            time.sleep(0.02)
        self.slowest_s = max(self.slowest_s, time.monotonic() - begin)
        return True

    def survived(self, path: Path) -> bool:
        """Whether a sweep has ended as the undisturbed one."""
        return trials(path) == self.wanted and is_clean(path)


def is_clean(path: Path) -> bool:
    """Whether no directory was used twice and no process is running."""
    runs = find_runs([path])
    numbers = [run.info["part_of"]["trial"] for run in runs]
    folders = [int(run.path.parent.name.removeprefix("trial-")) for run in runs]
    once = numbers == folders and not any("resumed" in run.info for run in runs)
    output = "".join(log.read_text() for log in path.glob("*/*.log"))
    return once and "already holds a run" not in output and not processes(path)


def trials(path: Path) -> list[tuple[dict[str, Any], list[float]]]:
    """Parameters and values of the finished trials; none may be running."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    url = sqlite_url(path / "study.db")
    study = optuna.load_study(study_name="residual", storage=url)
    found = study.get_trials(deepcopy=False)
    done = [(one.params, one.values) for one in found if one.state.name == "COMPLETE"]
    left = [one for one in found if not one.state.is_finished()]
    replaced = {n for one in found for n in one.system_attrs.get("retry_history", [])}
    failed = [one for one in found if one.state.name == "FAIL"]
    assert not left, f"{path}: {len(left)} trials are not finished"
    assert {one.number for one in failed} == replaced, (
        f"{path}: a trial was not repeated"
    )
    assert len(done) == N_TRIALS, f"{path}: {len(done)} trials"
    return done


def processes(path: Path) -> set[int]:
    """Ids of the processes that work in a sweep's folder; Linux only."""
    found = set()
    for entry in Path("/proc").iterdir():
        try:
            words = (entry / "cmdline").read_bytes().split(b"\0")
            state = (entry / "stat").read_text().rpartition(")")[2].split()[0]
        except (OSError, IndexError):
            continue  # no process, or one that has just ended
        # A sweep and its jobs have the folder in their command lines.
        text = b"\0".join(words).decode(errors="replace")
        if entry.name.isdigit() and state != "Z" and has_folder(text, path):
            found.add(int(entry.name))
    return found


def has_folder(text: str, path: Path) -> bool:
    """Whether a command line names this folder, not one whose name is longer."""
    return any(f"{path}{end}" in f"{text}\0" for end in ("\0", "/", "'"))


# ---- the cases ----


def killed_once(lab: SweepLab, n: int, who: str) -> Outcome:
    """Sweeps of which one process is killed, once, at a random moment."""
    survived = tried = calls = 0
    lab.slowest_s = 0.0
    while tried < n:
        path = lab.path()
        sweep = lab.start(path)
        time.sleep(lab.rng.uniform(0, lab.length_s))
        if not lab.kill(sweep, path, who):
            sweep.wait(TIMEOUT_S)
            shutil.rmtree(path, ignore_errors=True)
            continue  # it had ended, or was between two runs
        tried += 1
        code = sweep.wait(TIMEOUT_S)
        calls += 1 if code == 0 else 1 + lab.finish(path)
        survived += lab.survived(path)
    note = f"{calls / n:.1f} calls each"
    if who == "sweeper":
        note += f"; its run had ended after at most {lab.slowest_s:.1f} s"
    return Outcome(f"kill -9 of the {who}, once", tried, survived, note)


def sweepers(lab: SweepLab, n: int) -> Outcome:
    """The sweeper is killed."""
    return killed_once(lab, n, "sweeper")


def runs(lab: SweepLab, n: int) -> Outcome:
    """One of its runs is killed."""
    return killed_once(lab, n, "run")


def repeated(lab: SweepLab, n: int) -> Outcome:
    """One sweep of which the sweeper and its runs are killed in turn, repeatedly."""
    path, kills, calls = lab.path(), 0, 0
    for number in range(n):
        sweep, calls = lab.start(path), calls + 1
        time.sleep(lab.rng.uniform(0.3, 1.0) * lab.length_s / 2)
        kills += lab.kill(sweep, path, ("sweeper", "run")[number % 2])
        sweep.kill()
        sweep.wait()
    while processes(path):
        time.sleep(0.02)
    calls += lab.finish(path)
    survived = int(lab.survived(path))
    note = f"{kills} kills, {calls} calls"
    return Outcome("kill -9 of one sweep, again and again", 1, survived, note)


def crowds(lab: SweepLab, n: int) -> Outcome:
    """Two trials of two runs at a time; the sweeper is killed and restarted at once."""
    survived = calls = 0
    for _ in range(n):
        path = lab.path()
        sweep = lab.start(path, CROWD)
        time.sleep(lab.rng.uniform(0.3, 1.0) * lab.length_s)
        sweep.kill()
        sweep.wait()
        calls += 1 + lab.finish(path, CROWD)
        trials(path)  # all finished, none running
        survived += is_clean(path)
    note = f"{calls / n:.1f} calls each; 2 x 2 runs, restarted at once"
    return Outcome("kill -9 of a busy sweeper", n, survived, note)


CASES: dict[str, tuple[Callable[[SweepLab, int], Outcome], int]] = {
    "sweeper": (sweepers, 10),
    "run": (runs, 10),
    "again": (repeated, 6),
    "crowd": (crowds, 4),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the cases, print and write the table; 1 if a sweep did not survive."""
    options = _parser().parse_args(arguments)
    path, found, where = options.out / "sweep_faults.json", [], machine()
    with tempfile.TemporaryDirectory() as name:
        lab = SweepLab(Path(name), options.seed, real=options.real)
        print(f"an undisturbed sweep takes {lab.length_s:.0f} s", flush=True)
        for case in options.only:
            try_it, times = CASES[case]
            begin = time.monotonic()
            result = try_it(lab, options.trials or times)
            row = {"name": case, **asdict(result), "commit": where["commit"]}
            found.append(row | {"seconds": round(time.monotonic() - begin)})
            print(as_text(found[-1]), flush=True)
    options.out.mkdir(parents=True, exist_ok=True)
    content = {
        "machine": where,
        "seed": options.seed,
        "trainings": "real, tiny" if options.real else "fake, of a second",
        "n_trials": N_TRIALS,
        "seconds_alone": round(lab.length_s, 1),
        "cases": found,
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    (options.out / "sweep_faults.md").write_text(table(read_json(path)))
    print(f"written: {path}")
    return int(any(row["survived"] < row["trials"] for row in found))


def table(content: dict[str, Any]) -> str:
    """The cases as Markdown."""
    where = content["machine"]
    lines = ["<!-- written by benchmarks/sweep_faults.py; do not edit -->", ""]
    lines += ["| case | sweeps | survived | |", "|---|--:|--:|---|"]
    lines += [
        f"| {row['case']} | {row['trials']} | {row['survived']} | {row['note']} |"
        for row in content["cases"]
    ]
    commit = commit_text(where)
    n = content["n_trials"]
    lines += [
        "",
        f"Searches by TPE of {n} trials, one run at a time; trainings: "
        f"{content['trainings']}. Survived: exactly {n} finished, none running, "
        "no process left, no directory used twice, and, except for the busy one, every "
        f"value as in an undisturbed search. {where['usable_cpus']} cores, "
        f"commit {commit}, seed {content['seed']}.",
    ]
    return "\n".join([*lines, ""])


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(CASES), default=list(CASES))
    parser.add_argument("--trials", type=int, help="instead of each case's own number")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--real", action="store_true", help="tiny trainings, real ones")
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""One search by several workers on a PostgreSQL server; one of them is killed.

    python benchmarks/postgres.py                  4 workers, 24 trials, about a minute

Starts a server of its own in a temporary folder. All workers start at once on the empty
database. One is killed with kill -9 in the middle of a trial: another one must repeat
that trial, exactly `n_trials` must end, and none may be running afterwards. The
trainings are those of tests/fake_main.py, two seconds each.
"""

import argparse
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this folder is no part of the installed package

from benchmarks.measure import commit_text, machine  # noqa: E402
from so101rl.files import read_json  # noqa: E402
from so101rl.runs.run_dir import find_runs  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
MISSING = "there is no PostgreSQL here (no initdb); Debian: apt-get install postgresql"
SERVERS = "usr/lib/postgresql/*/bin/initdb"  # where Debian has them, below /
SERVER_USER = "postgres"  # runs the server instead of root, which it refuses
USER = "so101rl"
TIMEOUT_S = 900.0
HEARTBEAT_S, GRACE_S = 1, 4
SEARCH = ["-m", "sweep=residual", "tracking=none", "total_timesteps=1000"]
SEARCH += ["evaluation.every=10", "hydra.sweeper.seeds=1", "hydra.sweeper.n_jobs=1"]
SEARCH += [f"hydra.sweeper.heartbeat_s={HEARTBEAT_S}", "hydra/sweeper/pruner=none"]
SEARCH += [f"hydra.sweeper.grace_s={GRACE_S}"]


def binaries() -> Path | None:
    """The folder of PostgreSQL's programs, the newest if there are several."""
    found = shutil.which("initdb")
    if found is not None and Path(found).resolve().exists():
        return Path(found).resolve().parent
    below = sorted(Path("/").glob(SERVERS), key=lambda path: path.parts[-3].zfill(4))
    return below[-1].parent if below else None


@contextlib.contextmanager
def server(folder: Path) -> Iterator[str]:
    """Run a PostgreSQL server during the block; yields its address.

    Args:
        folder: where its files go; root passes it on to `SERVER_USER`.
    """
    programs = binaries()
    if programs is None:
        raise SystemExit(MISSING)
    data, log = folder / "data", folder / "log"
    port = free_port()
    folder.mkdir()
    as_user = []
    if os.getuid() == 0:
        shutil.chown(folder, SERVER_USER)
        as_user = [
            "setpriv",
            f"--reuid={SERVER_USER}",
            f"--regid={SERVER_USER}",
            "--clear-groups",
        ]

    def call(program: str, *words: str) -> None:
        command = [*as_user, str(programs / program), "-D", str(data), *words]
        done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
        if done.returncode:
            raise RuntimeError(f"{program}: {done.stdout[-1000:]}{done.stderr[-1000:]}")

    call("initdb", "-A", "trust", "-U", USER, "-E", "UTF8", "--no-sync")
    options = f"-c listen_addresses=127.0.0.1 -c port={port}"
    options += " -c unix_socket_directories= -c fsync=off"
    call("pg_ctl", "-w", "-l", str(log), "-o", options, "start")
    try:
        yield f"postgresql+psycopg://{USER}@127.0.0.1:{port}/postgres"
    finally:
        call("pg_ctl", "-w", "-m", "immediate", "stop")


def free_port() -> int:
    """A free TCP port."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def worker(
    folder: Path, url: str, n_trials: int, *more: str
) -> "subprocess.Popen[bytes]":
    """A process that works on the study, with a folder of its own."""
    words = [*SEARCH, f"hydra.sweeper.storage={url}", f"hydra.sweep.dir={folder}"]
    with folder.with_suffix(".output").open("ab") as output:
        return subprocess.Popen(
            [
                *(sys.executable, str(ROOT / "tests" / "fake_main.py"), *words),
                *(f"hydra.sweeper.n_trials={n_trials}", *more),
            ],
            stdout=output,
            stderr=output,
            cwd=folder.parent,
        )


def trials(url: str) -> list[Any]:
    """All trials of the study; none as long as there is no study."""
    import optuna

    optuna.logging.set_verbosity(optuna.logging.ERROR)
    try:
        study = optuna.load_study(study_name="residual", storage=url)
    except KeyError:
        return []
    return study.get_trials(deepcopy=False)


def kill_first(
    workers: Sequence["subprocess.Popen[bytes]"], url: str, home: Path
) -> Any:
    """Kill -9 the first worker in the middle of a trial; returns the trial and when."""
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        mine = [
            one
            for one in trials(url)
            if f"{home / 'worker-0'}" in str(one.user_attrs.get("owner"))
        ]
        done = [one for one in mine if one.state.is_finished()]
        busy = [one for one in mine if one.state.name == "RUNNING"]
        if done and busy:
            number = busy[0].number
            path = home / "worker-0" / f"trial-{number}" / "0" / "metrics.jsonl"
            if path.exists():
                workers[0].send_signal(signal.SIGKILL)
                return busy[0], time.time()
        time.sleep(0.05)
    raise RuntimeError("the first worker never came to its second trial")


def measure(home: Path, n_workers: int, n_trials: int) -> dict[str, Any]:
    """Start the workers, kill one, and return what they left."""
    with server(home / "server") as url:
        begin = time.monotonic()
        workers = [
            worker(home / f"worker-{number}", url, n_trials)
            for number in range(n_workers)
        ]
        try:
            killed, at = kill_first(workers, url, home)
            codes = [one.wait(TIMEOUT_S) for one in workers[1:]]
        finally:
            for one in workers:
                one.kill()
        return found(trials(url), killed, at, home) | {
            "workers": n_workers,
            "n_trials": n_trials,
            "exit_codes": codes,
            "seconds": round(time.monotonic() - begin, 1),
        }


def found(all_trials: list[Any], killed: Any, at: float, home: Path) -> dict[str, Any]:
    """What the database and the folders hold at the end."""
    counts = Counter(one.state.name for one in all_trials)
    replaced = {
        n for one in all_trials for n in one.system_attrs.get("retry_history", [])
    }
    (again,) = (
        one
        for one in all_trials
        if one.system_attrs.get("retry_history", [])[-1:] == [killed.number]
    )
    runs = find_runs([home / f"worker-{number}" for number in range(100)])
    numbers = [run.info["part_of"]["trial"] for run in runs]
    return {
        "states": dict(counts),
        "counted": sum(one.number not in replaced for one in all_trials),
        "shot": killed.number,
        "retry": again.number,
        "retry_state": again.state.name,
        "retry_same_values": again.params == killed.params,
        "seconds_to_retry": round(again.datetime_start.timestamp() - at, 1),
        "trials_run_twice": len(numbers) - len(set(numbers)),
    }


def is_right(result: dict[str, Any]) -> bool:
    """Whether no trial was lost or run twice."""
    return (
        result["states"] == {"COMPLETE": result["n_trials"], "FAIL": 1}
        and result["counted"] == result["n_trials"]
        and result["retry_state"] == "COMPLETE"
        and result["retry_same_values"]
        and not any(result["exit_codes"])
        and not result["trials_run_twice"]
    )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and write; returns 1 if a trial was lost, 3 without a server."""
    options = _parser().parse_args(arguments)
    if binaries() is None:
        print(MISSING, file=sys.stderr)
        return 3
    with tempfile.TemporaryDirectory() as name:
        home = Path(name)
        home.chmod(0o755)  # for the server's user
        result = measure(home, options.workers, options.trials)
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / "postgres.json"
    content = {
        "machine": machine(),
        "server": version(),
        "heartbeat_s": HEARTBEAT_S,
        "grace_s": GRACE_S,
        **result,
        "right": is_right(result),
    }
    path.write_text(json.dumps(content, indent=1) + "\n")
    (options.out / "postgres.md").write_text(table(read_json(path)))
    print(table(content))
    return int(not content["right"])


def version() -> str:
    """The server's version."""
    programs = binaries()
    assert programs is not None
    command = [programs / "postgres", "--version"]
    return subprocess.check_output(command, text=True).strip()


def table(content: dict[str, Any]) -> str:
    """The result as Markdown."""
    states = ", ".join(f"{n} {name}" for name, n in sorted(content["states"].items()))
    where = content["machine"]
    commit = commit_text(where)
    rows = [
        ("trials wanted", content["n_trials"]),
        ("trials that count", content["counted"]),
        ("all attempts", states),
        ("still running", content["states"].get("RUNNING", 0)),
        ("run twice", content["trials_run_twice"]),
        ("the killed worker's trial, repeated", content["retry_state"]),
        ("... with the same values", "yes" if content["retry_same_values"] else "no"),
        ("... after", f"{content['seconds_to_retry']} s"),
        ("total time", f"{content['seconds']} s"),
    ]
    lines = ["<!-- written by benchmarks/postgres.py; do not edit -->", ""]
    lines += ["| | |", "|---|--:|", *(f"| {name} | {value} |" for name, value in rows)]
    lines += [
        "",
        f"{content['server']}, {content['workers']} workers that started at once on an "
        f"empty database, one of them killed; heartbeat {content['heartbeat_s']} s, "
        f"grace {content['grace_s']} s. {where['usable_cpus']} cores, commit {commit}.",
    ]
    return "\n".join([*lines, ""])


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=4)
    parser.add_argument("--trials", type=int, default=24)
    parser.add_argument("--out", type=Path, default=RESULTS)
    return parser


if __name__ == "__main__":
    sys.exit(main())

"""Measure the package's speed on this machine: `make bench`.

    python benchmarks/run.py                    everything, about ten minutes
    python benchmarks/run.py --only ppo sac     some of it
    python benchmarks/run.py --quick            does it run? the numbers mean nothing

Close what else uses the processor: the load is written down with the numbers.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this folder is no part of the installed package

from benchmarks import (  # noqa: E402
    learners,
    memory,
    overhead,
    peer,
    report,
    saving,
    startup,
    stepping,
    updates,
)
from benchmarks.measure import (  # noqa: E402
    Effort,
    Result,
    load,
    machine,
    write,
)

RESULTS = ROOT / "benchmarks" / "results"
# Returns a reason where the measurement is impossible.
MEASUREMENTS: dict[str, Callable[[Effort], Result | str]] = {
    "stepping": stepping.measure,
    "rival": learners.measure_environments,
    "memory": memory.measure,
    "peer": peer.measure,
    "ppo": learners.measure_ppo,
    "sac": updates.measure,
    "startup": startup.measure,
    "overhead": overhead.measure,
    "saving": saving.measure,
}


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and write json, table and figure."""
    options = _parser().parse_args(arguments)
    effort = Effort(repeats=options.repeats, seconds=options.seconds)
    out = options.out or RESULTS
    if options.quick:
        effort = Effort(repeats=2, seconds=0.02, quick=True)
        out = options.out or Path(tempfile.mkdtemp(prefix="so101rl-bench-"))
    measurements = MEASUREMENTS | {
        "peer": partial(peer.measure, python=options.peer_python)
    }
    where = machine()
    print(f"{where['usable_cpus']} cores ({where['cpu']}), commit {where['commit']}")
    print(", ".join(f"{name} {number}" for name, number in where["versions"].items()))
    for name in options.only:
        before, begin = load(), time.perf_counter()
        print(f"\n{name}: load {before[0]} before ...", flush=True)
        result = measurements[name](effort)
        if isinstance(result, str):
            print(f"  skipped: {result}")
            continue
        context = {
            "machine": where,
            "load": {"before": before, "after": load()},
            "repeats": effort.repeats,
            "seconds": round(time.perf_counter() - begin, 1),
        }
        write(out, result, context)
        _show(result, context)
    print(
        f"\nwritten: {report.write_table(out)}, {report.draw(out) or 'no figure yet'}"
    )


def _show(result: Result, context: dict) -> None:
    for row in map(report.line_of, result.rows):
        print(f"  {row}")
    print(f"  load {context['load']['after'][0]} after, {context['seconds']} s")


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    names = list(MEASUREMENTS)
    parser.add_argument("--only", nargs="+", choices=names, default=names)
    parser.add_argument("--quick", action="store_true", help="a smoke test")
    parser.add_argument("--out", type=Path, help="folder of the results")
    parser.add_argument("--repeats", type=int, default=5, help="default 5")
    parser.add_argument(
        "--seconds", type=float, default=1.0, help="per repeat and case, default 1"
    )
    parser.add_argument(
        "--peer-python",
        help="interpreter of an environment with so101-nexus; default .peer/bin/python",
    )
    return parser


if __name__ == "__main__":
    main()

"""The progress of a sweep: a live table on a terminal, elsewhere a line per job."""

import json
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING

from so101rl.runs.metrics_log import METRICS
from so101rl.runs.run_dir import EVALUATION
from so101rl.runs.usage import format_duration
from so101rl.statistics import BASE, RESIDUAL
from so101rl.sweeps.outcome import Outcome

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 5  # ended jobs that stay on the screen
TAIL = 4096  # bytes of a log that are read for its last line
RATES = ("rollout/success_rate", "eval/success_rate")  # the first that is logged
STATUSES = ("finished", "pruned", "failed", "killed")


class SweepProgress:
    """Progress of a sweep that runs `n_jobs` of `total` jobs at a time.

    Attributes:
        best: the best result so far, as text.
    """

    def __init__(self, title: str, total: int, n_jobs: int) -> None:
        from rich.console import Console
        from rich.live import Live

        self._title, self._total, self._n_jobs = title, total, n_jobs
        self._counts: Counter[str] = Counter()
        self._lines: deque[str] = deque(maxlen=SHOWN)
        self._running: dict[str, tuple[Path, float]] = {}
        self._durations: list[float] = []  # [s]
        self.best = ""
        console = Console(file=sys.stdout)
        self._live = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._table, console=console, refresh_per_second=1
            )

    def __enter__(self) -> "SweepProgress":
        """Show the table, if there is a terminal."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Leave the last table on the terminal."""
        if self._live is not None:
            self._live.stop()

    def ended_before(self, found: Outcome) -> None:
        """Count a job that ended in an earlier call of the sweep."""
        self._counts[found.status] += 1

    def started(self, name: str, folder: Path) -> None:
        """Add a job that has started."""
        self._running[name] = folder, time.monotonic()

    def ended(self, name: str, found: Outcome) -> None:
        """Count a job that has ended, and show its line."""
        folder, began = self._running.pop(name)
        if found.status in ("finished", "pruned"):
            self._durations.append(time.monotonic() - began)
        self._counts[found.status] += 1
        result = success_rates(folder) if found.status == "finished" else ""
        line = "  ".join(filter(None, [name, found.status, found.reason, result]))
        self._lines.append(line)
        if self._live is None:
            left = self._left()
            done = f"{self._done}/{self._total}" + (f", {left} left" if left else "")
            print(f"[{done}] {line}", flush=True)

    def add_jobs(self, n: int) -> None:
        """Add `n` to the number of expected jobs; `n` may be negative."""
        self._total += n

    def summary(self) -> str:
        """The progress in one line."""
        statuses = dict.fromkeys([*STATUSES, *self._counts])
        counts = [f"{self._counts[one]} {one}" for one in statuses if self._counts[one]]
        ends = f" ({', '.join(counts)})" if counts else ""
        parts = [f"{self._done} of {self._total} done{ends}"]
        parts += [f"{len(self._running)} running"] if self._running else []
        left = self._left()
        parts += [f"{left} left"] if left else []
        best = f"; best {self.best}" if self.best else ""
        return f"{self._title}: {', '.join(parts)}{best}"

    @property
    def _done(self) -> int:
        return sum(self._counts.values())

    def _left(self) -> str:
        """The time left; empty before the first job has ended, and at the end."""
        running = [*self._running.values()]  # a copy: the table has its own thread
        waiting = max(0, self._total - self._done - len(running))
        if not self._durations or not waiting + len(running):
            return ""
        each = fmean(self._durations)
        now = time.monotonic()
        rest = [max(0.0, each - (now - began)) for _, began in running]
        seconds = (each * waiting + sum(rest)) / self._n_jobs
        return f"about {format_duration(seconds)}"

    def _table(self) -> "RenderableType":
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("running", "env steps", "success", "for"):
            table.add_column(column, justify="left" if column == "running" else "right")
        for name, (folder, began) in [*self._running.items()]:
            last = last_line(folder)
            steps = f"{int(last['step']):,}" if "step" in last else ""
            rates = [last[key] for key in RATES if key in last]
            shown = f"{rates[0]:.0%}" if rates else ""
            table.add_row(name, steps, shown, format_duration(time.monotonic() - began))
        lines = [Text(x, overflow="ellipsis", no_wrap=True) for x in [*self._lines]]
        return Group(Text(self.summary(), style="bold"), table, *lines)


def last_line(folder: Path) -> Mapping[str, float]:
    """The last complete line of a run's metrics; reads only the end of the file."""
    path = folder / METRICS
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = file.read().split(b"\n")[:-1]
    return json.loads(lines[-1]) if lines and lines[-1].startswith(b"{") else {}


def success_rates(folder: Path) -> str:
    """Success rates of a run, such as `base 70%, residual 84%`; may be empty."""
    return ", ".join(f"{name} {rate:.0%}" for name, rate in _rates(folder).items())


def best_run(folders: Mapping[str, Path]) -> str:
    """The highest success rate and its run, as text; empty without evaluations."""
    rates = {name: _rates(folder) for name, folder in folders.items()}
    own = {name: one.get(RESIDUAL, one.get(BASE)) for name, one in rates.items()}
    known = {name: rate for name, rate in own.items() if rate is not None}
    name = max(known, key=lambda name: known[name], default="")
    return f"{known[name]:.0%} ({name})" if name else ""


def _rates(folder: Path) -> dict[str, float]:
    """Success rate per policy of a run; empty if it has no evaluation."""
    path = folder / EVALUATION
    if not path.is_file():
        return {}
    policies = json.loads(path.read_text(encoding="utf-8"))["policies"]
    return {name: scores["success_rate"] for name, scores in policies.items()}

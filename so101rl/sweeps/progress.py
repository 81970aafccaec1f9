"""What somebody who waits for a sweep sees: a table that lives, or a line per end."""

import json
import sys
import time
from collections import Counter, deque
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from so101rl.runs.metrics_log import METRICS
from so101rl.runs.run_dir import EVALUATION
from so101rl.runs.usage import format_duration
from so101rl.statistics import BASE, RESIDUAL
from so101rl.sweeps.outcome import Outcome

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 5  # ends that stay on the screen
TAIL = 4096  # bytes of a log that are read for its last line
RATES = ("rollout/success_rate", "eval/success_rate")  # the first that there is
IN_ORDER = ("finished", "pruned", "failed", "killed")


class SweepProgress:
    """Progress of a sweep.

    Args:
        title: of the sweep.
        total: jobs that `ended` or `known` will be told of, as far as anybody knows.
        n_jobs: that run at a time.
    """

    def __init__(self, title: str, total: int, n_jobs: int) -> None:
        """Nothing has happened yet."""
        from rich.console import Console
        from rich.live import Live

        self._title, self._total, self._n_jobs = title, total, n_jobs
        self._counts: Counter[str] = Counter()
        self._news: deque[str] = deque(maxlen=SHOWN)
        self._running: dict[str, tuple[Path, float]] = {}
        self._took: list[float] = []
        self._best = ""
        console = Console(file=sys.stdout)
        self._live = None
        if console.is_terminal and not console.is_dumb_terminal:
            self._live = Live(
                get_renderable=self._table, console=console, refresh_per_second=1
            )

    def __enter__(self) -> "SweepProgress":
        """Take the screen, if there is one."""
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(self, *error: object) -> None:
        """Give it back."""
        if self._live is not None:
            self._live.stop()

    def known(self, found: Outcome) -> None:
        """A job that an earlier call of the sweep has brought to its end."""
        self._counts[found.status] += 1

    def started(self, name: str, folder: Path) -> None:
        """A job has begun."""
        self._running[name] = folder, time.monotonic()

    def ended(self, name: str, found: Outcome) -> None:
        """A job has ended."""
        folder, began = self._running.pop(name)
        if found.status in ("finished", "pruned"):
            self._took.append(time.monotonic() - began)
        self._counts[found.status] += 1
        result = solved(folder) if found.status == "finished" else ""
        words = [name, found.status, found.reason, result]
        self.say("  ".join(filter(None, words)))

    def dropped(self, jobs: int) -> None:
        """Jobs that are not needed any more; below zero: more of them are."""
        self._total -= jobs

    def best(self, words: str) -> None:
        """The best result so far, in words."""
        self._best = words

    def say(self, line: str) -> None:
        """A line of news."""
        self._news.append(line)
        if self._live is None:
            left = self._left()
            done = f"{self._done}/{self._total}" + (f", {left} left" if left else "")
            print(f"[{done}] {line}", flush=True)

    def summary(self) -> str:
        """How it stands, in a line."""
        ends = [*IN_ORDER, *(end for end in [*self._counts] if end not in IN_ORDER)]
        counts = [f"{self._counts[end]} {end}" for end in ends if self._counts[end]]
        how = f" ({', '.join(counts)})" if counts else ""
        parts = [f"{self._done} of {self._total} done{how}"]
        parts += [f"{len(self._running)} running"] if self._running else []
        left = self._left()
        parts += [f"{left} left"] if left else []
        best = f"; best {self._best}" if self._best else ""
        return f"{self._title}: {', '.join(parts)}{best}"

    @property
    def _done(self) -> int:
        return sum(self._counts.values())

    def _left(self) -> str:
        """How long it will take; empty as long as nobody knows, and at the end."""
        running = [*self._running.values()]  # the screen has a thread of its own
        waiting = max(0, self._total - self._done - len(running))
        if not self._took or not waiting + len(running):
            return ""
        each = sum(self._took) / len(self._took)
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
        news = [Text(line, overflow="ellipsis", no_wrap=True) for line in [*self._news]]
        return Group(Text(self.summary(), style="bold"), table, *news)


def last_line(folder: Path) -> Mapping[str, float]:
    """The last whole line of a run's metrics, without reading all of them."""
    path = folder / METRICS
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = file.read().split(b"\n")[:-1]
    return json.loads(lines[-1]) if lines and lines[-1].startswith(b"{") else {}


def solved(folder: Path) -> str:
    """What a run's policies solve, such as `base 70%, residual 84%`; empty if none."""
    return ", ".join(f"{name} {rate:.0%}" for name, rate in _rates(folder).items())


def best_run(folders: Mapping[str, Path]) -> str:
    """The run whose policy solves most, in words; empty if none has been judged."""
    rates = {name: _rates(folder) for name, folder in folders.items()}
    own = {name: one.get(RESIDUAL, one.get(BASE)) for name, one in rates.items()}
    known = {name: rate for name, rate in own.items() if rate is not None}
    name = max(known, key=lambda name: known[name], default="")
    return f"{known[name]:.0%} ({name})" if name else ""


def _rates(folder: Path) -> dict[str, float]:
    """What a run's policies solve; empty if nobody has looked."""
    path = folder / EVALUATION
    if not path.is_file():
        return {}
    policies = json.loads(path.read_text(encoding="utf-8"))["policies"]
    return {name: scores["success_rate"] for name, scores in policies.items()}

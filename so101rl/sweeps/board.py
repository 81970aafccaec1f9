"""What somebody who waits for a sweep sees: a table that lives, or a line per end."""

import sys
import time
from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from so101rl.logs import METRICS
from so101rl.measures import spoken_age
from so101rl.sweeps.outcome import Outcome

if TYPE_CHECKING:
    from rich.console import RenderableType

SHOWN = 5  # ends that stay on the screen
TAIL = 4096  # bytes of a log that are read for its last line


class Board:
    """Progress of a sweep.

    Args:
        title: of the sweep.
        total: jobs in all, those of earlier calls among them.
        n_jobs: that run at a time.
    """

    def __init__(self, title: str, total: int, n_jobs: int) -> None:
        """Nothing has happened yet."""
        from rich.console import Console
        from rich.live import Live

        self._title, self._total, self._n_jobs = title, total, n_jobs
        self._counts: Counter[str] = Counter()
        self._said: list[str] = []
        self._running: dict[str, tuple[Path, float]] = {}
        self._took: list[float] = []
        self._best = ""
        console = Console(file=sys.stdout)
        self._live = None
        if console.is_terminal:
            self._live = Live(
                get_renderable=self._table, console=console, refresh_per_second=1
            )

    def __enter__(self) -> "Board":
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

    def ended(self, name: str, found: Outcome, result: str = "") -> None:
        """A job has ended."""
        _, began = self._running.pop(name)
        if found.status in ("finished", "pruned"):
            self._took.append(time.monotonic() - began)
        self._counts[found.status] += 1
        words = [name, found.status, found.reason, result]
        self.say("  ".join(filter(None, words)))

    def best(self, words: str) -> None:
        """The best result so far, in words."""
        self._best = words

    def say(self, line: str) -> None:
        """A line of news."""
        self._said.append(line)
        if self._live is None:
            print(f"[{sum(self._counts.values())}/{self._total}] {line}", flush=True)

    def summary(self) -> str:
        """How it stands, in a line."""
        parts = [f"{count} {status}" for status, count in self._counts.items()]
        left = self._total - sum(self._counts.values()) - len(self._running)
        parts += [f"{len(self._running)} running"] if self._running else []
        parts += [f"{left} to do"] if left > 0 else []
        parts += (
            [f"left: {self._left(left)}"]
            if self._took and left + len(self._running) > 0
            else []
        )
        return f"{self._title}: {', '.join(parts)}" + (
            f"; best {self._best}" if self._best else ""
        )

    def _left(self, jobs: int) -> str:
        """How long it will take."""
        each = sum(self._took) / len(self._took)
        now = time.monotonic()
        rest = sum(
            max(0.0, each - (now - began)) for _, began in self._running.values()
        )
        return "about " + spoken_age((each * max(0, jobs) + rest) / self._n_jobs)

    def _table(self) -> "RenderableType":
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        table = Table(box=None, padding=(0, 2, 0, 0))
        for column in ("running", "env steps", "success", "for"):
            table.add_column(column, justify="left" if column == "running" else "right")
        for name, (folder, began) in self._running.items():
            last = last_line(folder)
            steps = f"{int(last['step']):,}" if "step" in last else ""
            rate = last.get("rollout/success_rate", last.get("eval/success_rate"))
            shown = f"{rate:.0%}" if rate is not None else ""
            table.add_row(name, steps, shown, spoken_age(time.monotonic() - began))
        news = [Text(line, overflow="ellipsis", no_wrap=True) for line in self._said]
        return Group(Text(self.summary(), style="bold"), table, *news[-SHOWN:])


def last_line(folder: Path) -> Mapping[str, float]:
    """The last whole line of a run's metrics, without reading all of them."""
    import json

    path = folder / METRICS
    if not path.is_file():
        return {}
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - TAIL))
        lines = file.read().split(b"\n")[:-1]
    return json.loads(lines[-1]) if lines and lines[-1].startswith(b"{") else {}

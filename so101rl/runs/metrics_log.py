"""`metrics.jsonl`, and `timings.jsonl` with the clock time of each of its lines."""

import json
import math
import re
import time
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from so101rl.errors import So101Error
from so101rl.files import append, cut, flushed_size, read_jsonl

METRICS, TIMINGS = "metrics.jsonl", "timings.jsonl"
CLOCK = "time/unix_s"
_METRIC = re.compile(r"[A-Za-z0-9_.:/ -]{1,200}")


class BadMetric(So101Error):
    """A metric is not finite, has an invalid name, or its step is in the past."""


class Logs:
    """Both logs in a run directory; their lines have the same steps."""

    def __init__(self, folder: Path) -> None:
        self._metrics, self._timings = folder / METRICS, folder / TIMINGS
        self._last_step: int | None = None
        self._clocks: deque[dict[str, Any]] = deque()  # of lines to write again

    def read(self) -> list[dict[str, Any]]:
        """All lines of `metrics.jsonl`, oldest first."""
        return read_jsonl(self._metrics)[0]

    def last_clock(self) -> float | None:
        """When the last line was written [s]; None if there is none."""
        lines = read_jsonl(self._timings)[0]
        return float(lines[-1][CLOCK]) if lines else None

    def write(
        self, step: int, metrics: Mapping[str, float], timings: Mapping[str, float]
    ) -> None:
        """Append a line to both, see `RunDir.log`."""
        if self._last_step is None:
            logged = self.read()
            self._last_step = logged[-1]["step"] if logged else 0
        if step < self._last_step:
            raise BadMetric(
                f"step {step} comes after step {self._last_step}; steps count env "
                "steps and never go back"
            )
        for name in metrics:
            if name.startswith("time/"):
                raise BadMetric(f"{name} depends on the clock: pass it under timings")
        line = _line(step, metrics)
        if not self._is_repeated(step):
            partner = _line(step, {**timings, CLOCK: time.time()})
            append(self._timings, partner)  # first: every metric has its time
        append(self._metrics, line)
        self._last_step = step

    def size(self) -> int:
        """Length of `metrics.jsonl` [bytes], after flushing both to the disk."""
        flushed_size(self._timings)
        return flushed_size(self._metrics)

    def go_back(self, step: int, size: int) -> None:
        """Cut off what came after `step`, where `metrics.jsonl` had `size` bytes.

        The clock times stay: lines that are written again keep them.
        """
        if self._metrics.exists():
            cut(self._metrics, size)
        clocks, length = read_jsonl(self._timings)
        if self._timings.exists():
            cut(self._timings, length)  # removes an incomplete last line
        self._clocks = deque(clocks[len(self.read()) :])
        self._last_step = step

    def _is_repeated(self, step: int) -> bool:
        """Whether the line was written before, so that it has its clock time."""
        if not self._clocks:
            return False
        if self._clocks.popleft()["step"] == step:
            return True
        # The run differs from before: the old clock times no longer apply.
        self._clocks.clear()
        lines = self._timings.read_bytes().splitlines(keepends=True)
        cut(self._timings, sum(map(len, lines[: len(self.read())])))
        return False


def _line(step: int, values: Mapping[str, float]) -> str:
    record: dict[str, float] = {"step": int(step)}
    for name, value in values.items():
        if name == "step" or not _METRIC.fullmatch(name):
            raise BadMetric(f"metric {name!r}: expected a name such as train/loss")
        number = value if type(value) in (int, float) else float(value)
        if not math.isfinite(number):
            raise BadMetric(f"{name} is {number} at step {step}; metrics are finite")
        record[name] = number
    return json.dumps(record, sort_keys=True) + "\n"

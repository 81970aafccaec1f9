"""The content of a report as plain text: its tables and the notes below them.

Markdown, LaTeX and HTML only format it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from so101rl.report.conditions import ConditionResult
from so101rl.report.footnotes import Note, notes
from so101rl.report.record import StudyRecord
from so101rl.report.table import BASE, WILSON, Row
from so101rl.report.verdict import ArmComparison
from so101rl.runs.metrics import ON, Metric

NO_NUMBER = "-"
CONDITIONS_TITLE = "The same held-out episodes under each condition, without verdicts:"
CLAIMS = ("better", "worse")  # decisions that are claims


@dataclass(frozen=True)
class Table:
    """A table as text; `claims` says for each row whether its last cell is a claim."""

    head: list[str]
    rows: list[list[str]]
    claims: list[bool]


@dataclass(frozen=True)
class Content:
    """Everything that a report shows as text; no `conditions` if none were tested."""

    results: Table
    notes: list[Note]
    conditions: Table | None


def content_of(
    study: StudyRecord,
    rows: Sequence[Row],
    comparisons: Sequence[ArmComparison],
    conditions: Sequence[ConditionResult],
) -> Content:
    """Format the numbers of a report."""
    policy, metric = study.policy_and_metric
    last_row = {row.arm: row.name for row in rows}  # the last row of an arm is tested
    by_row = {last_row[one.arm]: one for one in comparisons}
    found = [by_row.get(row.name) for row in rows]
    pairs = zip(rows, found, strict=True)
    results = Table(
        head=_head(study, policy, metric),
        rows=[_cells(row, one, study, metric) for row, one in pairs],
        claims=[one is not None and one.decision in CLAIMS for one in found],
    )
    tested = _conditions(study, conditions, policy, metric) if conditions else None
    return Content(results, notes(study, rows, comparisons, metric), tested)


def _conditions(
    study: StudyRecord,
    conditions: Sequence[ConditionResult],
    policy: str,
    metric: Metric,
) -> Table:
    """Return the table with a row per arm and a column per condition."""
    names = list(dict.fromkeys(one.test for one in conditions))
    own_policy = policy.partition(ON)[0]
    by_place = {(one.arm, one.test): one for one in conditions}
    rows = []
    for arm in study.arms:
        cells = [arm]
        for one in (by_place[arm, name] for name in names):
            n = len(one.values)
            seeds = f" ({n} of {one.of} seeds)" if n < one.of else ""
            cells.append(f"{_mean(one, metric)}{seeds}")
        rows.append(cells)
    title = f"{own_policy} {metric.title}{metric.in_unit}"
    return Table([title, *(f"on {name}" for name in names)], rows, [False] * len(rows))


def _mean(one: "Row | ConditionResult", metric: Metric) -> str:
    """Return a mean with its interval, marked with `W` if it is a Wilson interval."""
    mark = " W" if one.by == WILSON else ""
    return f"{interval(metric, one.mean, one.low, one.high)}{mark}"


def _head(study: StudyRecord, policy: str, metric: Metric) -> list[str]:
    head = [
        "arm",
        "env steps",
        "seeds x episodes",
        f"{policy} {metric.title}{metric.in_unit}",
        f"IQM{metric.in_unit}",
    ]
    if not study.reference:
        return [*head, "note"]
    points = " [points]" if metric.unit == "%" else metric.in_unit
    difference = f"difference to {study.reference}{points}"
    return [*head, difference, "p", "p (Holm)", "effect d_z", "verdict"]


def _cells(
    row: Row, one: ArmComparison | None, study: StudyRecord, metric: Metric
) -> list[str]:
    """Return a row of the main table, with the comparison that belongs in it."""
    ends = dict.fromkeys([*row.env_steps[:1], *row.env_steps[-1:]])
    episodes = "/".join(map(str, row.episodes))
    n = len(row.values)
    seeds = n if row.of == n else f"{n} of {row.of}"
    cells = [
        row.name,
        " to ".join(map(short, ends)) if row.kind != BASE else "",
        f"{seeds} x {episodes or NO_NUMBER}",
        _mean(row, metric),
        NO_NUMBER if row.iqm is None else metric.shown(row.iqm),
    ]
    if not study.reference:
        return [*cells, ", ".join(row.marks)]
    if one is None:
        verdict = ["reference"] if row.name == study.reference else []
        return [*cells, "", "", "", "", ", ".join([*verdict, *row.marks])]
    return [
        *cells,
        interval(metric, one.difference, one.low, one.high, sign=True),
        *(NO_NUMBER if p is None else f"{p:.2g}" for p in (one.p, one.adjusted_p)),
        NO_NUMBER if one.effect is None else f"{one.effect:.2f}",
        ", ".join([one.verdict, *row.marks]),
    ]


def interval(
    metric: Metric,
    mean: float | None,
    low: float | None,
    high: float | None,
    sign: bool = False,
) -> str:
    """Return a mean with its interval, without unit."""
    if mean is None:
        return NO_NUMBER
    shown = metric.shown(mean, sign=sign)
    if low is None or high is None:
        return shown
    return f"{shown} [{metric.shown(low)}, {metric.shown(high)}]"


def short(steps: int) -> str:
    """Return a number of env steps such as `1.01M`."""
    if steps < 1e3:
        return str(steps)
    unit, letter = (1e6, "M") if steps >= 1e6 else (1e3, "k")
    return f"{steps / unit:.3g}{letter}"

"""The cells of a report's table and what stands below it, as plain text.

Markdown, LaTeX and HTML say the same: they only dress it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from so101rl.report.footnotes import Note, notes
from so101rl.report.record import Study
from so101rl.report.table import BASE, WILSON, Row
from so101rl.report.tested import Tested
from so101rl.report.verdict import Compared
from so101rl.runs.metrics import ON, Measure, measure_of

NOTHING = "-"  # a cell without a number
UNDER_TESTS = "The same held-out episodes under each condition, without verdicts:"
CLAIMS = ("better", "worse")  # decisions that a test has made


@dataclass(frozen=True)
class Words:
    """A report's table as text.

    Attributes:
        head: what stands above each column.
        lines: the cells, row by row.
        claims: per row whether its verdict is one.
        notes: what stands below.
        tests: another table, of the arms under other conditions, head first; or empty.
    """

    head: list[str]
    lines: list[list[str]]
    claims: list[bool]
    notes: list[Note]
    tests: list[list[str]]


def words(
    study: Study,
    rows: Sequence[Row],
    found: Sequence[Compared],
    tests: Sequence[Tested],
) -> Words:
    """Put the numbers of a report into words."""
    policy, measure = measure_of(study.metric)
    last = {
        row.arm: row.name for row in rows
    }  # of an arm's rows: the one with its test
    compared = {last[one.arm]: one for one in found}
    shown = [compared.get(row.name) for row in rows]
    return Words(
        head=_head(study, policy, measure),
        lines=[
            _cells(row, one, study, measure)
            for row, one in zip(rows, shown, strict=True)
        ],
        claims=[one is not None and one.decision in CLAIMS for one in shown],
        notes=notes(study, rows, found, measure),
        tests=_matrix(study, tests, policy, measure),
    )


def _matrix(
    study: Study, tests: Sequence[Tested], policy: str, measure: Measure
) -> list[list[str]]:
    """Arms by tests."""
    if not tests:
        return []
    names = list(dict.fromkeys(one.test for one in tests))
    plain = policy.partition(ON)[0]
    what = f"{plain} {measure.title}{measure.in_unit}"
    head = [what, *(f"on {name}" for name in names)]
    cells = {(one.arm, one.test): one for one in tests}
    lines = [
        [arm, *(_counted(cells[arm, name], measure) for name in names)]
        for arm in study.arms
    ]
    return [head, *lines]


def _counted(one: Tested, measure: Measure) -> str:
    """A cell, and of how many seeds it is if some are missing."""
    n = len(one.values)
    return _cell(one, measure) + (f" ({n} of {one.of} seeds)" if n < one.of else "")


def _cell(one: "Row | Tested", measure: Measure) -> str:
    """A mean with its interval, and a mark if that is Wilson's."""
    mark = " W" if one.by == WILSON else ""
    return f"{interval(measure, one.mean, one.low, one.high)}{mark}"


def _head(study: Study, policy: str, measure: Measure) -> list[str]:
    head = [
        "arm",
        "env steps",
        "seeds x episodes",
        f"{policy} {measure.title}{measure.in_unit}",
        f"IQM{measure.in_unit}",
    ]
    if not study.reference:
        return [*head, "note"]
    points = " [points]" if measure.unit == "%" else measure.in_unit
    difference = f"difference to {study.reference}{points}"
    return [*head, difference, "p", "p (Holm)", "effect d_z", "verdict"]


def _cells(row: Row, one: Compared | None, study: Study, measure: Measure) -> list[str]:
    steps = " to ".join(short(steps) for steps in _ends(row.env_steps))
    episodes = "/".join(map(str, row.episodes))
    seeds = (
        len(row.values)
        if row.of == len(row.values)
        else f"{len(row.values)} of {row.of}"
    )
    cells = [
        row.name,
        steps if row.kind != BASE else "",
        f"{seeds} x {episodes or NOTHING}",
        _cell(row, measure),
        NOTHING if row.iqm is None else measure.shown(row.iqm),
    ]
    marks = ", ".join(row.marks)
    if not study.reference:
        return [*cells, marks]
    if one is None:
        said = "reference" if row.name == study.reference else ""
        return [*cells, "", "", "", "", ", ".join(filter(None, (said, marks)))]
    return [
        *cells,
        interval(measure, one.difference, one.low, one.high, sign=True),
        *(NOTHING if p is None else f"{p:.2g}" for p in (one.p, one.adjusted_p)),
        NOTHING if one.effect is None else f"{one.effect:.2f}",
        ", ".join(filter(None, (one.verdict, marks))),
    ]


def interval(
    measure: Measure,
    mean: float | None,
    low: float | None,
    high: float | None,
    sign: bool = False,
) -> str:
    """A mean with its interval, as shown; without unit."""
    if mean is None:
        return NOTHING
    shown = measure.shown(mean, sign=sign)
    if low is None or high is None:
        return shown
    return f"{shown} [{measure.shown(low)}, {measure.shown(high)}]"


def _ends(values: Sequence[int]) -> list[int]:
    """The least and the greatest of some sorted values; one if they are the same."""
    return list(dict.fromkeys([*values[:1], *values[-1:]]))


def short(steps: int) -> str:
    """A number of env steps, such as `1.01M`."""
    if steps < 1e3:
        return str(steps)
    unit, letter = (1e6, "M") if steps >= 1e6 else (1e3, "k")
    return f"{steps / unit:.3g}{letter}"

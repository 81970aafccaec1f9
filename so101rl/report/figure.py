"""The figure of a report, from its numbers and the runs' learning curves."""

from pathlib import Path

from so101rl.figures.study import ArmResult, StudyResult, figure_study
from so101rl.report.cells import CLAIMS
from so101rl.report.document import Report
from so101rl.report.raw import Curves
from so101rl.report.table import DEVIATES, INCOMPLETE, PRELIMINARY, WORST, Row


def draw(folder: Path, report: Report, curves: Curves) -> Path | None:
    """Write `figure.png` and `figure.svg`; return None if no run gave a result."""
    _, metric = report.study.policy_and_metric
    rows = [row for row in report.rows if row.kind != WORST and row.mean is not None]
    if not any(row.arm for row in rows):
        return None
    marks = {mark for row in rows for mark in row.marks}
    shown = [mark for mark in (PRELIMINARY, INCOMPLETE, DEVIATES) if mark in marks]
    title = f"{report.study.question or report.study.name} {', '.join(shown)}"
    return figure_study(
        folder,
        StudyResult(
            title=title.strip(),
            label=f"{metric.title}{metric.in_unit}",
            limits=(0.0, metric.factor) if metric.unit == "%" else None,
            arms=[_arm(row, report, curves) for row in rows],
        ),
    )


def _arm(row: Row, report: Report, curves: Curves) -> ArmResult:
    """Return what the figure shows of a row, in the unit of the axis."""
    assert row.mean is not None
    _, metric = report.study.policy_and_metric
    one = next((one for one in report.comparisons if one.arm == row.arm), None)
    remark = one.verdict if one else ""
    if row.arm and row.arm == report.study.reference:
        remark = "reference"
    if len(row.values) < row.of:
        seeds = f"{len(row.values)} of {row.of} seeds"
        remark = f"{seeds}; {remark}" if remark else seeds
    low, high = (
        None if end is None else metric.factor * end for end in (row.low, row.high)
    )
    return ArmResult(
        name=row.name,
        remark=remark,
        is_claim=one is not None and one.decision in CLAIMS,
        is_base=not row.arm,
        values={seed: metric.factor * value for seed, value in row.values.items()},
        mean=metric.factor * row.mean,
        low=low,
        high=high,
        curves=[curves.get(uid, ()) for uid in row.runs.values()] if row.arm else [],
    )

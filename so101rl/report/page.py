"""A report as a single HTML file, without scripts."""

import base64
from collections.abc import Iterator
from html import escape

from so101rl.report.cells import CLAIMS, CONDITIONS_TITLE, Table, interval
from so101rl.report.document import Report
from so101rl.report.footnotes import Note

STYLE = """
:root { color-scheme: light }
body { font: 16px/1.5 system-ui, sans-serif; color: #1c1c1c; background: #fff;
  margin: 0 auto; max-width: 68rem; padding: 1rem }
h1 { font-size: 1.5rem; line-height: 1.25 }
h2 { font-size: 1.1rem; margin-top: 2rem }
.wide { overflow-x: auto }
img { width: 100%; min-width: 42rem; height: auto }
table { border-collapse: collapse; font-size: .875rem }
th, td { padding: .35rem .5rem; text-align: right; vertical-align: top;
  border-bottom: 1px solid #ddd; font-variant-numeric: tabular-nums }
td { white-space: nowrap }
th { border-bottom: 2px solid #333; vertical-align: bottom }
th:first-child, td:first-child, th:last-child, td:last-child { text-align: left;
  white-space: normal; min-width: 5rem }
.claim td:last-child { font-weight: 600 }
.loud { border-left: 4px solid #d55e00; padding-left: .75rem }
.quiet { color: #555; font-size: .875rem }
code { font-size: .875em; overflow-wrap: anywhere }
ul { padding-left: 1.25rem }
"""


def page(report: Report, picture: bytes | None, command: str) -> str:
    """Return the text of `report.html`, with the figure as PNG if there is one.

    `command` verifies the report.
    """
    study, content = report.study, report.content
    conditions = []
    if content.conditions:
        title = f"<h2>{escape(CONDITIONS_TITLE)}</h2>"
        conditions = [title, _table(content.conditions)]
    lines = [
        "<!DOCTYPE html>",
        '<html lang="en"><head><meta charset="utf-8">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape(study.name)}</title>",
        f"<style>{STYLE}</style></head><body>",
        f"<h1>{escape(study.question or study.name)}</h1>",
        *_verdicts(report),
        *([_image(picture)] if picture is not None else []),
        "<h2>Results</h2>",
        _table(content.results),
        *map(_note, content.notes),
        *conditions,
        "<h2>Runs</h2>",
        _runs(report),
        "<h2>To check</h2>",
        f"<p><code>{escape(command)}</code> computes every number again from the "
        "episodes in <code>episodes.csv.gz</code> (<code>out=FOLDER</code> says where "
        "they lie).</p>",
        "</body></html>",
        "",
    ]
    return "\n".join(lines)


def _verdicts(report: Report) -> Iterator[str]:
    """List each arm's verdict against the reference."""
    if not report.comparisons:
        return
    _, metric = report.study.policy_and_metric
    marks = {row.arm: row.marks for row in report.rows}  # the last row of an arm counts
    yield f"<p>Against {escape(report.study.reference)}:</p><ul>"
    for one in report.comparisons:
        verdict = escape(", ".join([one.verdict, *marks[one.arm]]))
        if one.decision in CLAIMS:
            verdict = f"<strong>{verdict}</strong>"
        size = interval(metric, one.difference, one.low, one.high, sign=True)
        yield f"<li>{escape(one.arm)}: {verdict}; difference {escape(size)}</li>"
    yield "</ul>"


def _image(picture: bytes) -> str:
    data = base64.b64encode(picture).decode()
    alt = "Learning curves, results by arm and performance profile"
    image = f'<img alt="{alt}" src="data:image/png;base64,{data}">'
    return f'<div class="wide">{image}</div>'


def _table(table: Table) -> str:
    cells = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = [f"<tr>{cells}</tr>"]
    for line, is_claim in zip(table.rows, table.claims, strict=True):
        cells = "".join(f"<td>{escape(cell)}</td>" for cell in line)
        kind = "claim" if is_claim else "plain"
        rows.append(f'<tr class="{kind}">{cells}</tr>')
    return "\n".join(['<div class="wide"><table>', *rows, "</table></div>"])


def _note(note: Note) -> str:
    items = "".join(f"<li>{escape(item)}</li>" for item in note.items)
    inner = f"<ul>{items}</ul>" if items else ""
    kind = "loud" if note.is_important else "quiet"
    return f'<div class="{kind}"><p>{escape(note.text)}</p>{inner}</div>'


def _runs(report: Report) -> str:
    """Return a table of all runs that a click unfolds."""
    _, metric = report.study.policy_and_metric
    values = {
        uid: row.values[seed]
        for row in report.rows
        if row.kind == "arm"
        for seed, uid in row.runs.items()
    }
    lines = [
        [
            record.arm,
            str(record.seed),
            metric.shown(values[record.uid]) if record.has_result else "",
            record.status,
            record.commit[:10] + (" *" if record.dirty else ""),
            record.uid,
            record.run,
        ]
        for record in report.study.records
    ]
    result = f"result{metric.in_unit}"
    head = ["arm", "seed", result, "status", "commit", "uid", "name"]
    table = _table(Table(head, lines, [False] * len(lines)))
    count = f"{len(lines)} runs (*: with changes that were not committed)"
    return f"<details><summary>{count}</summary>{table}</details>"

"""A whole report: facts about the runs, the numbers from their episodes, and words."""

import csv
import io
import json
from dataclasses import asdict, dataclass, fields
from typing import Any

from so101rl.files import to_json
from so101rl.report.cells import Words, words
from so101rl.report.held_out import Played
from so101rl.report.record import Record, Study
from so101rl.report.table import Row, rows, scores
from so101rl.report.tested import Tested, tested
from so101rl.report.verdict import Compared, compared_with_reference
from so101rl.runs.metrics import base_of, measure_of


@dataclass(frozen=True)
class Report:
    """All that a report says.

    Attributes:
        study: what is known of the runs besides their episodes.
        rows: of the table.
        comparisons: of the arms with the reference.
        tests: the arms under other conditions, if they were.
    """

    study: Study
    rows: list[Row]
    comparisons: list[Compared]
    tests: list[Tested]

    @property
    def words(self) -> Words:
        """The table and its notes as text."""
        return words(self.study, self.rows, self.comparisons, self.tests)

    def to_json(self) -> str:
        """Every number unrounded, with the runs behind it."""
        content: dict[str, Any] = {
            "study": self.study.facts(),
            "rows": [asdict(row) for row in self.rows],
            "comparisons": [asdict(one) for one in self.comparisons],
        }
        if self.tests:
            content["tests"] = [asdict(one) for one in self.tests]
        return to_json(content)


def report_of(study: Study, played: Played) -> Report:
    """Compute a report: every number of it comes from the episodes.

    Raises:
        So101Error: the episodes are not those that a report may use.
    """
    found = scores(study, played)
    return Report(
        study,
        rows(study, played, found),
        compared_with_reference(study, found),
        tested(study, played),
    )


def study_in(text: str) -> Study:
    """The facts that a `report.json` was made from."""
    return Study.from_facts(json.loads(text)["study"])


def results_csv(report: Report, played: Played) -> str:
    """A row per run: what it is, and what its policies reached."""
    policy, measure = measure_of(report.study.metric)
    key = report.study.metric.partition("/")[2]
    policies = list(dict.fromkeys((base_of(policy), policy)))
    names = [field.name for field in fields(Record)]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow([*names, *(f"{name}/{key}" for name in policies)])
    for record in report.study.records:
        own: dict[str, Any] = {name: getattr(record, name) for name in names}
        episodes = played.get(record.uid, {}) if record.counts else {}
        values = [
            measure.read(episodes[name]) if name in episodes else None
            for name in policies
        ]
        writer.writerow([*own.values(), *values])
    return text.getvalue()

"""A whole report as data, as `report.json` and as `results.csv`."""

from dataclasses import asdict, astuple, dataclass, fields
from functools import cached_property
from typing import Any

from so101rl.files import to_json
from so101rl.report.cells import Content, content_of
from so101rl.report.conditions import ConditionResult, condition_results
from so101rl.report.raw import csv_text
from so101rl.report.record import EpisodesByRun, RunRecord, StudyRecord
from so101rl.report.table import Row, read_values, rows
from so101rl.report.verdict import ArmComparison, compare_with_reference
from so101rl.runs.metrics import base_of


@dataclass(frozen=True)
class Report:
    """The facts about a study's runs, and the numbers computed from their episodes."""

    study: StudyRecord
    rows: list[Row]
    comparisons: list[ArmComparison]
    conditions: list[ConditionResult]

    @cached_property
    def content(self) -> Content:
        """The tables and notes as text."""
        return content_of(self.study, self.rows, self.comparisons, self.conditions)

    def to_json(self) -> str:
        """Return the text of `report.json`: every number unrounded, and all runs."""
        content: dict[str, Any] = {
            "study": asdict(self.study),
            "rows": [asdict(row) for row in self.rows],
            "comparisons": [asdict(one) for one in self.comparisons],
        }
        if not self.study.number:
            del content["study"]["number"]
        if self.conditions:
            content["tests"] = [asdict(one) for one in self.conditions]
        return to_json(content)


def make_report(study: StudyRecord, episodes: EpisodesByRun) -> Report:
    """Compute every number of a report from the episodes.

    Raises:
        So101Error: the episodes are not those that a report may use.
    """
    values = read_values(study, episodes)
    return Report(
        study,
        rows(study, episodes, values),
        compare_with_reference(study, values),
        condition_results(study, episodes),
    )


def results_csv(report: Report, episodes: EpisodesByRun) -> str:
    """Return the text of `results.csv`: a row per run with its facts and results."""
    policy, metric = report.study.policy_and_metric
    key = report.study.metric.partition("/")[2]
    policies = list(dict.fromkeys((base_of(policy), policy)))
    names = [field.name for field in fields(RunRecord)]
    lines: list[list[Any]] = [[*names, *(f"{name}/{key}" for name in policies)]]
    for record in report.study.records:
        own = episodes.get(record.uid, {}) if record.has_result else {}
        values = [metric.read(own[name]) if name in own else None for name in policies]
        lines.append([*astuple(record), *values])
    return csv_text(lines)

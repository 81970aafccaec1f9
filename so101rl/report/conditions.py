"""The results of all arms under each condition in `evaluation.tests`."""

from dataclasses import dataclass

from so101rl.report.record import EpisodesByRun, StudyRecord
from so101rl.report.table import across_seeds
from so101rl.runs.metrics import ON, tested_as


@dataclass(frozen=True)
class ConditionResult:
    """The result of an arm under one test; `table.Row` describes the fields."""

    arm: str
    test: str
    values: dict[int, float]
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    by: str = ""
    of: int = 0


def condition_results(
    study: StudyRecord, episodes: EpisodesByRun
) -> list[ConditionResult]:
    """Return the results of all arms under all tests; empty if no run was tested."""
    policy, metric = study.policy_and_metric
    own_policy = policy.partition(ON)[0]
    names = {name for own in episodes.values() for name in own if ON in name}
    tests = sorted({name.partition(ON)[2] for name in names})
    results = []
    for arm in study.arms:
        for test in tests:
            name = tested_as(own_policy, test)
            rows = {
                record.seed: episodes[record.uid][name]
                for record in study.results_of(arm)
                if name in episodes[record.uid]
            }
            values = {
                seed: value
                for seed, own in rows.items()
                if (value := metric.read(own)) is not None
            }
            interval = across_seeds(values, [*map(len, rows.values())], metric)
            planned = len(study.arms[arm])
            results.append(ConditionResult(arm, test, values, of=planned, **interval))
    return results

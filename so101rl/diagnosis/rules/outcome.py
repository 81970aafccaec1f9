"""Symptoms of the result: failure classes, and success rates that mislead."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from omegaconf import DictConfig

from so101rl.diagnosis.facts import SELECT, Facts
from so101rl.diagnosis.finding import Finding
from so101rl.diagnosis.verdict import never_improved
from so101rl.runs.episodes_csv import FINAL
from so101rl.statistics import BASE, RESIDUAL, wilson


def dominant_failure(facts: Facts, limits: DictConfig, name: str) -> Finding | None:
    """Most failures are of one class."""
    policy = RESIDUAL if RESIDUAL in facts.scores else BASE
    if policy not in facts.scores:
        return None
    failures = facts.scores[policy]["failures"]
    n, total = failures.get(name, 0), sum(failures.values())
    if total < limits.failed * facts.scores[policy]["n_episodes"]:
        return None
    if not n or n < limits.share * total:
        return None
    shows = f"{n} of {total} failures{' of step 0' if never_improved(facts) else ''}"
    rows = [row for row in facts.rows.get(policy, ()) if row["failure"] == name]
    medians = [
        f"{number.title} {number.factor * middle:.3g} {number.unit}".rstrip()
        for number in facts.task.numbers
        if (middle := _median(rows, f"{FINAL}{number.name}")) is not None
    ]
    if medians:
        shows += f"; median {', '.join(medians)}"
    return Finding(shows, facts.task.failures[name])


def _median(rows: Sequence[Mapping[str, Any]], column: str) -> float | None:
    """Median of a column; None if there are no rows."""
    return median(row[column] for row in rows) if rows else None


def base_solves(facts: Facts, limits: DictConfig) -> Finding | None:
    """The base alone is nearly perfect."""
    found = facts.interval(BASE)
    if found is None or found[0] < limits.good:
        return None
    return Finding(
        f"the base alone solves {facts.success(BASE):.0%}",
        "Little is left to improve. Try a task that needs a residual.",
    )


def selection_luck(facts: Facts, limits: DictConfig) -> Finding | None:
    """The best checkpoint is worse on the held-out episodes than on the select ones."""
    select, success = facts.points(SELECT), facts.success()
    if not select or success is None or max(select) - success < limits.gap:
        return None
    n = facts.values["evaluation.select_episodes"]
    return Finding(
        f"{max(select):.0%} of {n} select episodes, {success:.0%} of the held-out ones",
        "The best of several noisy scores is too high; more episodes reduce this.",
    )


def not_randomized(facts: Facts, limits: DictConfig) -> Finding | None:
    """Nothing is randomized."""
    if facts.values.get("randomization.terms") != {}:
        return None
    return Finding(
        "randomization has no terms",
        "All episodes start alike, held-out ones too: success elsewhere is unknown.",
    )


def worse_elsewhere(facts: Facts, limits: DictConfig) -> Finding | None:
    """An evaluation in another world solves fewer episodes."""
    success, interval = facts.success(), facts.interval()
    if success is None or interval is None or not facts.elsewhere:
        return None
    worst = min(facts.elsewhere, key=lambda found: found.solved / found.episodes)
    rate = worst.solved / worst.episodes
    apart = wilson(worst.solved, worst.episodes)[1] < interval[0]
    if success - rate < limits.gap or not apart:
        return None
    return Finding(
        f"{success:.0%} as trained, {rate:.0%} with another {worst.changed}",
        "The policy fits only its own world; train it with more randomization.",
    )

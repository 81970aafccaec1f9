"""All rules by the name of their symptom, and the symptoms that a run has."""

from collections.abc import Iterator
from dataclasses import dataclass
from inspect import getmembers, isfunction

from omegaconf import DictConfig

from so101rl.diagnosis.advice import Change, changes
from so101rl.diagnosis.facts import Facts
from so101rl.diagnosis.finding import Finding, Rule
from so101rl.diagnosis.rules import effort, learning, outcome, progress

RULES: dict[str, Rule] = {
    name: rule
    for module in (effort, learning, outcome, progress)
    for name, rule in getmembers(module, isfunction)
    if rule.__module__ == module.__name__ and not name.startswith("_")
}
CLASS = "dominant_failure"  # the entry of failure classes without their own
del RULES[CLASS]


@dataclass(frozen=True)
class Symptom:
    """A finding, its name, and what to try.

    Attributes:
        name: of the rule, and of its entry in `conf/job/explain.yaml`.
        finding: what was found.
        changes: the keys to try, best first.
    """

    name: str
    finding: Finding
    changes: list[Change]


def symptoms(facts: Facts, limits: DictConfig) -> list[Symptom]:
    """Return the symptoms of a run in the order of the yaml, most urgent first.

    A failure class has the entry of its name, or else that of `dominant_failure`;
    entries of classes that the run's task does not have are not used.

    Args:
        facts: facts of the run.
        limits: by symptom, its limits and what to `try`.
    """
    return [
        Symptom(name, finding, changes(own["try"], facts, finding.measured))
        for name, finding, own in _findings(facts, limits)
        if finding is not None
    ]


def _findings(
    facts: Facts, limits: DictConfig
) -> Iterator[tuple[str, Finding | None, DictConfig]]:
    """Yield name, what was found, and the entry of every symptom."""
    classes = facts.task.failures
    for name, own in ((str(key), value) for key, value in limits.items()):
        if name in RULES:
            yield name, RULES[name](facts, own), own
            continue
        others = (n for n in classes if n in RULES or n not in limits)
        for failure in others if name == CLASS else {name} & set(classes):
            yield failure, outcome.dominant_failure(facts, own, failure), own

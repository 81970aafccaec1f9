"""All rules by the name of their symptom, and the symptoms that a run has."""

from dataclasses import dataclass
from functools import partial
from inspect import getmembers, isfunction

from omegaconf import DictConfig

from so101rl.diagnosis.advice import Change, changes
from so101rl.diagnosis.facts import Facts
from so101rl.diagnosis.finding import Finding, Rule
from so101rl.diagnosis.rules import effort, learning, outcome, progress
from so101rl.figures.failure_classes import FAILURE_CLASSES

RULES: dict[str, Rule] = {
    name: rule
    for module in (effort, learning, outcome, progress)
    for name, rule in getmembers(module, isfunction)
    if rule.__module__ == module.__name__
}
del RULES["dominant_failure"]  # it stands for one symptom per failure class
RULES |= {n: partial(outcome.dominant_failure, name=n) for n in FAILURE_CLASSES}


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
    """The symptoms of a run in the order of the yaml: what to change first comes first.

    Args:
        facts: of the run.
        limits: by symptom, its limits and what to `try`.
    """
    found = []
    for name, own in limits.items():
        finding = RULES[str(name)](facts, own)
        if finding is not None:
            tries = changes(own["try"], facts, finding.measured)
            found.append(Symptom(str(name), finding, tries))
    return found

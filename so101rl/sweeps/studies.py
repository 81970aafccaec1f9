"""A study: arms that differ in a few keys, each with the same seeds."""

import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hydra.utils import get_class

from so101rl.config.schema import settings
from so101rl.errors import ConfigError
from so101rl.runs.arms import SAME_ARM
from so101rl.runs.metrics import FINAL_METRIC, ON, check_number, find_metric
from so101rl.statistics import seeds_needed
from so101rl.sweeps.job import Job

if TYPE_CHECKING:
    from hydra.core.override_parser.types import Override

    from so101rl.sweeps.context import SweepContext

ARM = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9._-]{0,63}")
MOST_ARMS = 9  # one reference and eight comparisons; more cost too much power
TESTS, CORRECTIONS = ("paired_permutation",), ("holm",)


@dataclass(frozen=True)
class StudyPlan:
    """What a study registers before its first run, and its jobs.

    Attributes:
        promised: the node `study`, with its seeds as a list.
        settings: by arm, the config values that define it.
        jobs: all arms with the first seed, then with the second, and so on.
    """

    promised: Mapping[str, Any]
    settings: Mapping[str, Any]
    jobs: Sequence[Job]

    @property
    def warning(self) -> str:
        """A line that says that the seeds are too few for a verdict; else empty."""
        level = self.promised["significance"]
        seeds, comparisons = len(self.promised["seeds"]), len(self.settings) - 1
        needed = seeds_needed(comparisons, level)
        if seeds >= needed:
            return ""
        return (
            f"NO VERDICT POSSIBLE: study.seeds={seeds}: expected {needed} or more for "
            f"{comparisons} comparisons at study.significance={level:g}\n"
        )


def study_of(context: "SweepContext") -> StudyPlan:
    """Build and check the study of the config.

    Raises:
        So101Error: the study or one of its arms is invalid.
    """
    study = context.plain("study")
    _check(study)
    _check_metric(study["metric"], context.plain("evaluation.tests"))
    typed = context.typed()
    seeds = _seeds(typed, study["seeds"])
    common = [item.input_line or "" for item in typed if item.key_or_group != "seed"]
    arms = {name: [*common, *own] for name, own in study["arms"].items()}
    return StudyPlan(
        promised={**study, "seeds": list(range(study["seeds"]))},
        settings={
            name: _settings(context, own, study["metric"]) for name, own in arms.items()
        },
        jobs=[
            Job(
                f"{arm}/seed-{seed}",
                (*own, f"seed={seed}"),
                {"sweep": context.name, "arm": arm},
            )
            for seed in seeds
            for arm, own in arms.items()
        ],
    )


def _check(study: Mapping[str, Any]) -> None:
    """Raise if the node `study` is invalid; its metric is not checked."""
    arms = study["arms"]
    for name in arms:
        if not ARM.fullmatch(name):
            expected = "letters, digits and . _ -, because it becomes a folder"
            raise ConfigError("study.arms", got=name, expected=expected)
    if not 2 <= len(arms) <= MOST_ARMS:
        expected = f"2 to {MOST_ARMS} arms"
        raise ConfigError("study.arms", got=f"{len(arms)} arms", expected=expected)
    choices = {"reference": tuple(arms), "test": TESTS, "correction": CORRECTIONS}
    for key, options in choices.items():
        if study[key] not in options:
            expected = f"one of {', '.join(options)}"
            raise ConfigError(f"study.{key}", got=study[key], expected=expected)


def _check_metric(metric: str, tests: Collection[str]) -> None:
    """Raise if no run of the study computes the metric."""
    policy, _ = find_metric(metric)
    test = policy.partition(ON)[2]
    if test and test not in tests:
        expected = f"one of evaluation.tests after '{ON.strip()}': {', '.join(tests)}"
        raise ConfigError("study.metric", got=metric, expected=expected)


def _seeds(typed: Sequence["Override"], registered: int) -> list[int]:
    """The seeds to run: those typed with `seed=`, or all that are registered."""
    for item in (one for one in typed if one.key_or_group == "seed"):
        several = item.is_sweep_override()
        texts = item.sweep_string_iterator() if several else [str(item.value())]
        wanted = [int(text) for text in texts]
        if not set(wanted) <= set(range(registered)):
            expected = f"some of the registered seeds, 0 to {registered - 1}"
            raise ConfigError("seed", got=wanted, expected=expected)
        return list(dict.fromkeys(wanted))
    return list(range(registered))


def _settings(
    context: "SweepContext", words: Sequence[str], metric: str
) -> dict[str, Any]:
    """The config values that define an arm: without seed, folders and the like.

    Raises:
        So101Error: a value cannot work, or the arm's task does not measure the metric.
    """
    for item in context.parsed(words):
        if item.is_sweep_override():
            expected = "one value, since an arm is one setting"
            raise ConfigError(item.key_or_group, got=item.input_line, expected=expected)
    cfg = context.compose(words)
    if FINAL_METRIC in metric:  # a number of the task; others need no import of it
        numbers = get_class(cfg.env._target_).numbers  # type: ignore[attr-defined]
        check_number(metric, [number.name for number in numbers])
    return settings(cfg, without=SAME_ARM)

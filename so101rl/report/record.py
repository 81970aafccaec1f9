"""The facts about a study, besides its episodes: the plan, and a record per run."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, NamedTuple

from so101rl.runs.arms import evaluates_base_only
from so101rl.runs.failures import format_error
from so101rl.runs.metrics import (
    Episodes,
    Metric,
    all_scores,
    base_of,
    checked_score,
    find_metric,
)
from so101rl.runs.run_dir import RunDir
from so101rl.runs.task import NumberInfo
from so101rl.sweeps.outcome import RESUMABLE

MISSING = "missing"  # status of a planned run that does not exist
LONGEST_REASON = 200  # characters
EpisodesByPolicy = Mapping[str, Episodes]
EpisodesByRun = Mapping[str, EpisodesByPolicy]  # by uid


@dataclass(frozen=True)
class RunRecord:
    """The facts about a run, or about a missing one; they are part of `report.json`.

    Attributes:
        folder: the last two parts of its path.
        reason: why it gives no result; empty if it gives one.
        code: hash of the package's code.
        deviates: whether it differs from what was registered.
    """

    arm: str
    seed: int
    uid: str = ""
    run: str = ""
    status: str = MISSING
    reason: str = "no run"
    commit: str = ""
    dirty: bool | None = None
    code: str = ""
    registration: str = ""
    base: str = ""
    n_episodes: int | None = None
    env_steps: int | None = None
    wall_clock_s: float | None = None
    folder: str = ""
    deviates: bool = False

    @property
    def has_result(self) -> bool:
        """Whether the run gives a result."""
        return not self.reason


@dataclass(frozen=True)
class StudyRecord:
    """The facts about a study; they are part of `report.json`.

    Attributes:
        metric: policy and key of `evaluation.json`, such as `residual/success_rate`.
        arms: the planned seeds by arm, in the order of the table.
        records: of all runs, by arm and seed, including missing runs.
        question: empty if the study is not registered.
        reference: arm that the others are compared with; empty for no comparison.
        significance: allowed probability of any false claim.
        registration: its hash, time, commit and command.
        remarks: further notes below the table.
        number: what the task tells about the number in the metric, if it has one.
    """

    name: str
    metric: str
    arms: dict[str, list[int]]
    records: list[RunRecord]
    question: str = ""
    reference: str = ""
    significance: float = 0.05
    registration: dict[str, Any] = field(default_factory=dict)
    deviations: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    number: dict[str, Any] = field(default_factory=dict)

    @cached_property
    def policy_and_metric(self) -> tuple[str, Metric]:
        """The policy and the metric that the study compares."""
        return find_metric(
            self.metric, NumberInfo(**self.number) if self.number else None
        )

    @property
    def results(self) -> list[RunRecord]:
        """The runs that give a result."""
        return [record for record in self.records if record.has_result]

    def results_of(self, arm: str) -> list[RunRecord]:
        """The arm's runs that give a result, by seed."""
        return [record for record in self.results if record.arm == arm]

    def failed_seeds(self, arm: str) -> list[int]:
        """The arm's seeds whose training failed and would fail again."""
        solved = {record.seed for record in self.results_of(arm)}
        own = [record for record in self.records if record.arm == arm]
        failed = {record.seed for record in own if record.status == "failed"}
        return [seed for seed in self.arms[arm] if seed in failed - solved]

    @classmethod
    def from_json(cls, text: str) -> "StudyRecord":
        """Read the facts in a `report.json`."""
        facts = json.loads(text)["study"]
        records = [RunRecord(**one) for one in facts.pop("records")]
        return cls(records=records, **facts)


class LoadedStudy(NamedTuple):
    """A study and its run directories by uid."""

    study: StudyRecord
    runs: dict[str, RunDir]


def read_record(run: RunDir, arm: str, metric: str) -> RunRecord:
    """Read the facts about a run.

    Raises:
        ScoreError: the run's files contradict each other.
    """
    info, git, groups = run.info, run.info["git"] or {}, run.info["groups"]
    lines, part = run.metrics(), run.info.get("part_of") or {}
    episodes = episodes_of(run) if info["status"] == "finished" else {}
    reason = _missing_result(run, metric, episodes)
    return RunRecord(
        arm=arm,
        seed=info["seed"],
        uid=info["uid"],
        run=info["name"],
        status=_status(info),
        reason=reason,
        commit=git.get("commit") or "",
        dirty=git.get("dirty"),
        code=info.get("code_sha256") or "",
        registration=part.get("registration") or "",
        base=f"{groups.get('base_policy', '')} on {groups.get('env', '')}",
        n_episodes=None if reason else len(episodes[find_metric(metric)[0]]),
        env_steps=lines[-1]["step"] if lines else 0,
        wall_clock_s=info["wall_clock_s"],
        folder="/".join(run.path.parts[-2:]),
    )


def episodes_of(run: RunDir) -> dict[str, list[Mapping[str, Any]]]:
    """Return the held-out episodes of a run by policy, including its tests."""
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in [*run.episodes(), *run.tests()]:
        found.setdefault(row["policy"], []).append(row)
    return found


def _status(info: Mapping[str, Any]) -> str:
    """Return a run's status: `failed` only if the same command would fail again.

    A run that ended because of a full disk or a lack of memory counts as `killed`.
    """
    status, error = str(info["status"]), info["error"]
    if status == "failed" and error is not None and error["kind"] in RESUMABLE:
        return "killed"
    return status


def _missing_result(run: RunDir, metric: str, episodes: EpisodesByPolicy) -> str:
    """Return in one line why a run gives no result; empty if it gives one."""
    info = run.info
    if info["status"] != "finished":
        error = info["error"]
        text = format_error(error) if error else str(info["status"])
        return text[:LONGEST_REASON]
    if evaluates_base_only(run):
        return "evaluates a base policy alone"
    policy, _ = find_metric(metric)
    evaluation = run.evaluation() or {}
    for name in dict.fromkeys((base_of(policy), policy)):
        if name not in episodes or name not in all_scores(evaluation):
            return f"no evaluation of {name}"
        key = f"{name}/{metric.partition('/')[2]}"
        value = checked_score(key, episodes[name], evaluation, str(run.path))
        if value is None and name == policy:
            return f"has no {metric}"
    return ""

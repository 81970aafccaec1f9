"""What a report knows of a study besides numbers: what was planned, and its runs."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple

from so101rl.runs.arms import bare_base
from so101rl.runs.metrics import all_scores, base_of, checked_score, measure_of
from so101rl.runs.run_dir import RunDir
from so101rl.sweeps.outcome import ANEW

MISSING = "missing"  # status of a run that was promised and never began
Rows = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class Record:
    """One run, or the lack of one; empty text and None for what it does not have.

    Attributes:
        folder: the last two parts of its path.
        reason: why it gives no result; empty if it gives one.
        code: hash of the package's code.
        deviates: whether it is not what was registered.
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
    def counts(self) -> bool:
        """Whether it gives a result."""
        return not self.reason


@dataclass(frozen=True)
class Study:
    """What was to be compared, and what there is to compare.

    Attributes:
        name: of the folder below `experiments`, too.
        metric: policy and key of `evaluation.json`.
        arms: seeds by arm, in the order of the table; what is not there is missing.
        records: a run, or the lack of one, each.
        question: what the study asks; empty if it registered none.
        reference: the arm that the others are compared with; empty: no comparison.
        significance: probability of any false claim among all comparisons.
        registration: hash, time and commit of what was promised before the first run.
        deviations: from that promise.
        remarks: what else a reader has to know of the runs.
    """

    name: str
    metric: str
    arms: dict[str, list[int]]
    records: list[Record]
    question: str = ""
    reference: str = ""
    significance: float = 0.05
    registration: dict[str, Any] = field(default_factory=dict)
    deviations: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def of(self, arm: str) -> list[Record]:
        """The arm's runs that give a result, by seed."""
        return [one for one in self.records if one.arm == arm and one.counts]

    def lost(self, arm: str) -> list[int]:
        """The arm's seeds without a result."""
        there = {one.seed for one in self.of(arm)}
        return [seed for seed in self.arms[arm] if seed not in there]

    def failed(self, arm: str) -> list[int]:
        """Those of them whose training failed by itself, which will not change."""
        status = {(one.seed, one.status) for one in self.records if one.arm == arm}
        return [seed for seed in self.lost(arm) if (seed, "failed") in status]

    def facts(self) -> dict[str, Any]:
        """All of it for a JSON file."""
        return asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Study":
        """What `facts` wrote."""
        records = [Record(**one) for one in facts["records"]]
        return cls(**{**facts, "records": records})


class Source(NamedTuple):
    """A study, and the run directories that it is read from, by uid."""

    study: Study
    runs: dict[str, RunDir]


def record(run: RunDir, arm: str, metric: str) -> Record:
    """What a report says of a run.

    Raises:
        ScoreError: its files contradict each other.
    """
    info, git, groups = run.info, run.info["git"] or {}, run.info["groups"]
    lines, part = run.metrics(), run.info.get("part_of") or {}
    reason = _reason(run, metric)
    rows = {} if reason else played_in(run)
    return Record(
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
        n_episodes=len(rows[measure_of(metric)[0]]) if rows else None,
        env_steps=lines[-1]["step"] if lines else 0,
        wall_clock_s=info["wall_clock_s"],
        folder="/".join(run.path.parts[-2:]),
    )


def _status(info: Mapping[str, Any]) -> str:
    """A run's status, `failed` only where the same command would fail again.

    What a full disk or a lack of memory has ended may yet come to its end: such a run
    was stopped, and says nothing of its settings.
    """
    status, error = str(info["status"]), info["error"]
    if status == "failed" and error is not None and error["kind"] in ANEW:
        return "killed"
    return status


def played_in(run: RunDir) -> dict[str, list[Mapping[str, Any]]]:
    """The held-out episodes of a run by policy, those of its tests among them."""
    return _by_policy([*run.episodes(), *run.tests()])


def _by_policy(rows: Rows) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["policy"], []).append(row)
    return found


def _reason(run: RunDir, metric: str) -> str:
    """Why a run gives no result, in a line; empty if it does."""
    info = run.info
    if info["status"] != "finished":
        error = info["error"]
        text = f"{error['class']}: {error['message']}" if error else info["status"]
        return " ".join(text.split())[:200]
    if bare_base(run):
        return "evaluates a base policy alone"
    policy, _ = measure_of(metric)
    rows, evaluation = played_in(run), run.evaluation() or {}
    for wanted in dict.fromkeys((base_of(policy), policy)):
        if wanted not in rows or wanted not in all_scores(evaluation):
            return f"no evaluation of {wanted}"
        key = f"{wanted}/{metric.partition('/')[2]}"
        value = checked_score(key, rows[wanted], evaluation, str(run.path))
        if value is None and wanted == policy:
            return f"has no {metric}"
    return ""

"""What the runs of a study reached, and which of them are seeds of one arm."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from so101rl.config import settings
from so101rl.errors import So101Error
from so101rl.rundir import RunDir
from so101rl.statistics import Interval, t_interval, wilson

KEYS = ("env", "base_policy", "algo", "alpha")
POLICIES = ("base", "residual")
ABSENT = "absent"
# Keys and groups of the config that leave the arm what it is: which seed, where it
# ran, what was written down. Everything else makes another arm.
SAME_ARM = (
    "seed",
    "job",
    "run",
    "checkpoint",
    "replay",
    "trust",
    "tracking",
    "n_threads",
    "torch_threads",
    "log_every",
    "checkpoint_every",
    "keep_checkpoints",
    "evaluation.video",
    "evaluation.figure",
)


class StudyError(So101Error):
    """Runs that cannot make one honest table."""


@dataclass(frozen=True)
class Row:
    """One run as a row of `results.csv`; None stands for what it does not have."""

    run: str
    uid: str
    status: str
    commit: str | None
    dirty: bool | None
    env: str
    base_policy: str
    algo: str
    alpha: str
    differs_in: str
    seed: int
    base_success: float | None
    residual_success: float | None
    n_episodes: int | None
    env_steps: int
    wall_clock_s: float
    folder: str
    reason: str

    @property
    def arm(self) -> tuple[str, ...]:
        """What runs have in common that differ in the seed only."""
        return (*(getattr(self, key) for key in KEYS), self.differs_in)

    @property
    def counts(self) -> bool:
        """Whether the run ended well and has both results."""
        results = (self.base_success, self.residual_success)
        return self.status == "finished" and None not in results

    def success(self, policy: str) -> float:
        """Success rate of `base` or `residual`."""
        rate: float = getattr(self, f"{policy}_success")
        return rate


def read_rows(runs: Sequence[RunDir]) -> list[tuple[Row, RunDir]]:
    """A row per run, arm by arm and seed by seed.

    Raises:
        StudyError: a seed counts twice in one arm, or a run does not say what it is.
    """
    labels = [_label(run) for run in runs]
    told = _tell_apart(runs, labels)
    triples = zip(runs, labels, told, strict=True)
    pairs = [(_row(run, label, differs), run) for run, label, differs in triples]
    pairs.sort(key=lambda pair: (pair[0].arm, pair[0].seed, pair[1].info["started"]))
    _refuse_duplicates([row for row, _ in pairs])
    return pairs


def bare_base(run: RunDir) -> bool:
    """Whether a run is `job=evaluate` of a base policy alone: no arm of a study."""
    loads = any(run.config().get(key) for key in ("run", "checkpoint"))
    return run.info["groups"].get("job") == "evaluate" and not loads


def interval(rows: Sequence[Row], policy: str) -> Interval:
    """T over seed means; Wilson within one seed where the seeds do not differ.

    Equal seed means give t no width, though their episodes are as few as ever. This
    is the rule for one seed, and for a base without chance on the same episodes.
    """
    if varies(rows, policy):
        return t_interval([row.success(policy) for row in rows])
    rate, n = rows[0].success(policy), min(row.n_episodes or 0 for row in rows)
    return Interval(rate, *wilson(round(rate * n), n))


def varies(rows: Sequence[Row], policy: str) -> bool:
    """Whether the seeds have at least two different success rates."""
    return len({row.success(policy) for row in rows}) > 1


def _label(run: RunDir) -> tuple[str, ...]:
    groups = run.info["groups"]
    missing = [key for key in KEYS[:3] if key not in groups]
    if missing:
        raise StudyError(f"{run.path}: run.json names no {', '.join(missing)}")
    alpha = _said(_container(run)["residual"]["alpha"])
    return (*(groups[key] for key in KEYS[:3]), alpha)


def _row(run: RunDir, label: tuple[str, ...], differs_in: str) -> Row:
    info, evaluation = run.info, run.evaluation() or {"policies": {}}
    scores, git, lines = evaluation["policies"], info["git"] or {}, run.metrics()
    return Row(
        run=info["name"],
        uid=info["uid"],
        status=info["status"],
        commit=git.get("commit"),
        dirty=git.get("dirty"),
        **dict(zip(KEYS, label, strict=True)),
        differs_in=differs_in,
        seed=info["seed"],
        base_success=scores.get("base", {}).get("success_rate"),
        residual_success=scores.get("residual", {}).get("success_rate"),
        n_episodes=scores.get("residual", {}).get("n_episodes"),
        env_steps=lines[-1]["step"] if lines else 0,
        wall_clock_s=info["wall_clock_s"],
        folder=run.path.name,
        reason=_reason(info, scores),
    )


def _reason(info: Mapping[str, Any], policies: Mapping[str, Any]) -> str:
    """Why a run gives no result, in one line; empty if it does."""
    if info["error"]:
        error = info["error"]
        return " ".join(f"{error['class']}: {error['message']}".split())[:200]
    missing = [policy for policy in POLICIES if policy not in policies]
    return f"no evaluation of {' and '.join(missing)}" if missing else ""


def _refuse_duplicates(rows: Sequence[Row]) -> None:
    seen: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        twin = seen.setdefault((row.arm, row.seed), row) if row.counts else row
        if twin is not row:
            raise StudyError(
                f"{twin.run} and {row.run} are the same arm with the same seed "
                f"{row.seed}; leave one of them out"
            )


def _tell_apart(runs: Sequence[RunDir], labels: Sequence[tuple[str, ...]]) -> list[str]:
    """Per run what tells its arm from others of the same label; mostly nothing."""
    told = [""] * len(runs)
    for label in set(labels):
        places = [place for place, own in enumerate(labels) if own == label]
        texts = _differences([runs[place] for place in places])
        for place, text in zip(places, texts, strict=True):
            told[place] = text
    return told


def _differences(runs: Sequence[RunDir]) -> list[str]:
    """Per run the choices and keys in which the runs differ.

    A group's choice stands for the keys below it, unless runs with the same choice
    differ there too.
    """
    configs = [_settings(run) for run in runs]
    names = sorted({name for config in configs for name in config})
    keys = [name for name in names if _values(name, configs) > 1]
    choices = [run.info["groups"] for run in runs]
    groups = [
        group
        for group in sorted({group for own in choices for group in own})
        if _values(group, choices) > 1 and any(_below(key, group) for key in keys)
    ]
    told = []
    for config, own in zip(configs, choices, strict=True):
        said = [f"{group}={own.get(group, ABSENT)}" for group in groups]
        for key in keys:
            above = [group for group in groups if _below(key, group)]
            peers = [
                peer
                for peer, other in zip(configs, choices, strict=True)
                if all(other.get(group) == own.get(group) for group in above)
            ]
            if _values(key, peers) > 1:
                said.append(f"{key}={config.get(key, ABSENT)}")
        told.append(" ".join(said))
    return told


def _values(name: str, mappings: Sequence[Mapping[str, str]]) -> int:
    return len({mapping.get(name, ABSENT) for mapping in mappings})


def _below(key: str, group: str) -> bool:
    return key.startswith(group.replace("/", ".") + ".")


def _settings(run: RunDir) -> dict[str, str]:
    """The keys of a run's resolved config that make its arm, with dotted names."""
    found = settings(run.config(), without=SAME_ARM)
    return {key: _said(value) for key, value in found.items()}


def _container(run: RunDir) -> dict[str, Any]:
    from omegaconf import OmegaConf

    plain = OmegaConf.to_container(run.config(), resolve=True)
    assert isinstance(plain, dict)  # RunDir.config has seen to it
    return {str(name): value for name, value in plain.items()}


def _said(value: object) -> str:
    """A value as one types it; 1 and 1.0 are the same."""
    if isinstance(value, dict):
        inner = ",".join(f"{name}:{_said(own)}" for name, own in value.items())
        return f"{{{inner}}}"
    if isinstance(value, list):
        return f"[{','.join(_said(own) for own in value)}]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, float) and value.is_integer():
        return str(int(value))
    return str(value)

"""What a run left behind, read once: all that a rule may look at."""

import csv
import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from so101rl.config import N_JOINTS, settings
from so101rl.figures.style import curve
from so101rl.files import read_jsonl
from so101rl.logs import TIMINGS
from so101rl.rundir import EPISODES, RunDir, find_runs
from so101rl.statistics import wilson
from so101rl.trajectories import TRAJECTORIES, read_trajectories

BASE, LEARNED = "base", "residual"  # what an evaluation calls the two policies
SELECT, ROLLOUT = "eval/success_rate", "rollout/success_rate"
TYPED = ".hydra/overrides.yaml"
WORLD = ("env", "randomization", "hardware")  # groups that make the circumstances
_WORLDLY = re.compile(rf"({'|'.join(WORLD)})[./=]")


@dataclass(frozen=True)
class Effort:
    """What a policy did in its held-out episodes, mean over their steps.

    Attributes:
        size: norm of alpha * residual, as a share of the largest possible.
        clipped: share of the joints whose action was clipped.
    """

    size: float
    clipped: float


@dataclass(frozen=True)
class Elsewhere:
    """A later evaluation of the run's policy: what it changed, and what came out."""

    changed: str
    solved: int
    episodes: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is known of a run; what it did not write down is empty or None.

    Attributes:
        path: the run directory.
        info: the content of `run.json`.
        values: the config by dotted key.
        typed: the words of its command line.
        lines: those of `metrics.jsonl`, without the rollouts of few episodes.
        fps: env steps per second, median of the log lines.
        scores: the policies' entries in `evaluation.json`.
        policy_step: env step that the judged policy stems from.
        rows: those of `episodes.csv` by policy.
        effort: by policy, if the run kept the steps of its episodes.
        elsewhere: evaluations of the policy in other circumstances.
        few: points under which no curve is judged.
    """

    path: Path
    info: Mapping[str, Any]
    values: Mapping[str, Any]
    typed: Sequence[str]
    lines: Sequence[Mapping[str, float]]
    fps: float | None
    scores: Mapping[str, Any]
    policy_step: int | None
    rows: Mapping[str, Sequence[Mapping[str, str]]]
    effort: Mapping[str, Effort]
    elsewhere: Sequence[Elsewhere]
    few: int

    @cached_property
    def groups(self) -> dict[str, str]:
        """The chosen option of every config group."""
        return dict(self.info["groups"])

    @property
    def steps(self) -> int:
        """Env steps of the training so far."""
        return int(self.lines[-1]["step"]) if self.lines else 0

    @property
    def alpha(self) -> float | None:
        """The residual's authority at the end, mean over the joints."""
        value = self.values.get("residual.alpha")
        if isinstance(value, list):
            return fmean(value)
        return self.values.get("residual.alpha.end", value)

    def points(self, metric: str) -> list[float]:
        """The values of a metric, oldest first."""
        return [value for _, value in curve(self.lines, metric)]

    def early(self, metric: str) -> float | None:
        """Mean of the first quarter of a metric's points; None if they are few."""
        values = self.points(metric)
        enough = len(values) >= self.few
        return fmean(values[: math.ceil(len(values) / 4)]) if enough else None

    def late(self, metric: str) -> float | None:
        """Mean of the last quarter of a metric's points; None if they are few."""
        values = self.points(metric)
        enough = len(values) >= self.few
        return fmean(values[-math.ceil(len(values) / 4) :]) if enough else None

    def scored(self) -> list[float]:
        """Success on the select episodes over the training; empty if points are few.

        There the policy plays without noise, and every time the same episodes.
        """
        values = self.points(SELECT)
        return values if len(values) >= self.few else []

    def success(self, policy: str = LEARNED) -> float | None:
        """Success rate on the held-out episodes."""
        return self.scores[policy]["success_rate"] if policy in self.scores else None

    def interval(self, policy: str = LEARNED) -> tuple[float, float] | None:
        """Wilson's interval around `success`."""
        if policy not in self.scores:
            return None
        n = self.scores[policy]["n_episodes"]
        return wilson(round(self.scores[policy]["success_rate"] * n), n)

    def size(self) -> tuple[float, str] | None:
        """The residual as a share of the largest possible, and where it was measured.

        Without noise if the judged policy is one that was trained.
        """
        if LEARNED in self.effort and self.policy_step:
            return self.effort[LEARNED].size, "without noise"
        size, alpha = self.late("residual/l2"), self.late("residual/alpha")
        if size is None or not alpha:
            return None
        return size / (alpha * math.sqrt(N_JOINTS)), "in training, noise included"


def read_facts(path: Path, *, few: int, episodes: int) -> Facts:
    """Read a run directory.

    Args:
        path: of a run that may have been evaluated, or not; trained, or not.
        few: points under which no curve is judged.
        episodes: of a log line's rollouts; those of fewer are left out.
    """
    run = RunDir.open(path)
    evaluation = run.evaluation() or {"policies": {}}
    speeds = [line["time/fps"] for line in _timings(run) if "time/fps" in line]
    values = settings(run.config())
    limit = float(np.linalg.norm(evaluation.get("alpha", 0.0)))
    return Facts(
        path=run.path,
        info=run.info,
        values=values,
        typed=_typed(run),
        lines=[_judgeable(line, values, episodes) for line in run.metrics()],
        fps=median(speeds) if speeds else None,
        scores=evaluation["policies"],
        policy_step=evaluation.get("policy_step"),
        rows=_rows(run),
        effort=_effort(run, limit),
        elsewhere=_elsewhere(run),
        few=few,
    )


def _judgeable(
    line: Mapping[str, float], values: Mapping[str, Any], episodes: int
) -> dict[str, float]:
    """A log line, without its rollouts if those would tell something else.

    Before any episode can have run out of time, only solved ones have ended.
    """
    first = values["n_envs"] * values["env.max_episode_steps"] + values["log_every"]
    few = line.get("rollout/episodes", episodes) < episodes
    return {
        name: value
        for name, value in line.items()
        if not (name.startswith("rollout/") and (few or line["step"] < first))
    }


def _timings(run: RunDir) -> list[dict[str, Any]]:
    return read_jsonl(run.path / TIMINGS)[0]


def _typed(run: RunDir) -> list[str]:
    """Its command line; an evaluation's is its run's, in the evaluation's world."""
    folder = run.path.parent
    home = folder.parent if folder.name == "evaluations" else run.path
    if not (home / TYPED).is_file():
        return [f"{group}={option}" for group, option in run.info["groups"].items()]
    words = [str(word) for word in OmegaConf.load(home / TYPED)]
    if home != run.path:
        words += filter(_WORLDLY.match, shlex.split(run.info["command"]))
    return list({word.partition("=")[0]: word for word in words}.values())


def _rows(run: RunDir) -> dict[str, list[dict[str, str]]]:
    if not (run.path / EPISODES).is_file():
        return {}
    found: dict[str, list[dict[str, str]]] = {}
    with (run.path / EPISODES).open(newline="") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["policy"], []).append(row)
    return found


def _effort(run: RunDir, limit: float) -> dict[str, Effort]:
    """Args: run, and the largest norm that alpha * residual can have."""
    if not (run.path / TRAJECTORIES).is_file() or limit == 0:
        return {}
    found = {}
    for policy, episodes in read_trajectories(run.path / TRAJECTORIES).items():
        size = np.concatenate([episode.residual_l2 for episode in episodes]) / limit
        clipped = np.concatenate([episode.clipped for episode in episodes])
        found[policy] = Effort(float(size.mean()), float(clipped.mean()))
    return found


def _elsewhere(run: RunDir) -> list[Elsewhere]:
    found, own = [], settings(run.config(), without=("job", "run", "tracking"))
    for other in find_runs([run.path / "evaluations"]):
        evaluation = other.evaluation()
        if evaluation is None or LEARNED not in evaluation["policies"]:
            continue
        now = settings(other.config(), without=("job", "run", "tracking"))
        changed = [key for key in own | now if own.get(key) != now.get(key)]
        world = [key for key in changed if key.split(".")[0] in WORLD]
        if world:
            scores = evaluation["policies"][LEARNED]
            n = scores["n_episodes"]
            names = ", ".join(sorted({key.split(".")[0] for key in world}))
            found.append(Elsewhere(names, round(scores["success_rate"] * n), n))
    return found

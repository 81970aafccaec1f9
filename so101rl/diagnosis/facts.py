"""The facts of a run: everything that the rules may use, read once."""

import math
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
from omegaconf import OmegaConf

from so101rl.config.schema import settings
from so101rl.figures.style import curve
from so101rl.files import read_jsonl
from so101rl.runs.metrics_log import TIMINGS
from so101rl.runs.run_dir import RunDir
from so101rl.runs.task import TaskInfo
from so101rl.runs.trajectories import TRAJECTORIES, read_trajectories
from so101rl.statistics import RESIDUAL, wilson

SELECT, ROLLOUT = "eval/success_rate", "rollout/success_rate"
SHARE = "residual/share"  # |alpha * residual| / its maximum; not logged, computed here
TYPED = ".hydra/overrides.yaml"
WORLD = (
    "env",
    "randomization",
    "hardware",
)  # groups that describe the world, not the policy
# Keys that do not change the evaluated policy.
_NEUTRAL = (
    *("job", "run", "tracking", "trust", "evaluation", "init_from"),
    *("n_threads", "torch_threads"),
)
_WORLD_OVERRIDE = re.compile(rf"({'|'.join(WORLD)})[./=]")


@dataclass(frozen=True)
class Effort:
    """Use of the actions in a policy's held-out episodes, mean over all steps.

    Attributes:
        size: norm of alpha * residual, as a share of the largest possible.
        clipped: share of the action's elements that were clipped.
    """

    size: float
    clipped: float


@dataclass(frozen=True)
class Elsewhere:
    """A later evaluation of the same policy in another world, and what differs."""

    changed: str
    solved: int
    episodes: int


@dataclass(frozen=True, kw_only=True)
class Facts:
    """The facts of a run; those that were not recorded are empty or None.

    Attributes:
        path: the run directory.
        info: the content of `run.json`.
        task: the content of `task.json`.
        values: the config by dotted key.
        typed: the overrides of its command line; None if the run did not keep them.
        lines: those of `metrics.jsonl`, as `_judgeable` returns them.
        fps: env steps per second, median of the log lines.
        scores: the policies' entries in `evaluation.json`.
        policy_step: env step of the evaluated policy.
        judged_alpha: alpha (a,) of the evaluated policy.
        rows: those of `episodes.csv` by policy.
        effort: by policy, if the run kept the steps of its episodes.
        elsewhere: evaluations of the policy in other worlds.
        few: curves of fewer points are not judged.
    """

    path: Path
    info: Mapping[str, Any]
    task: TaskInfo
    values: Mapping[str, Any]
    typed: Sequence[str] | None
    lines: Sequence[Mapping[str, float]]
    fps: float | None
    scores: Mapping[str, Any]
    policy_step: int | None
    judged_alpha: Sequence[float] | None
    rows: Mapping[str, Sequence[Mapping[str, Any]]]
    effort: Mapping[str, Effort]
    elsewhere: Sequence[Elsewhere]
    few: int

    @property
    def steps(self) -> int:
        """Env steps of the training so far."""
        return int(self.lines[-1]["step"]) if self.lines else 0

    @property
    def alpha(self) -> float | None:
        """Mean alpha of the evaluated policy, or else of the end of training."""
        if self.judged_alpha is not None:
            return fmean(self.judged_alpha)
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

    def select_rates(self) -> list[float]:
        """Success rates on the select episodes, oldest first; empty if they are few."""
        values = self.points(SELECT)
        return values if len(values) >= self.few else []

    def success(self, policy: str = RESIDUAL) -> float | None:
        """Success rate on the held-out episodes."""
        return self.scores[policy]["success_rate"] if policy in self.scores else None

    def interval(self, policy: str = RESIDUAL) -> tuple[float, float] | None:
        """Wilson's interval around `success`."""
        if policy not in self.scores:
            return None
        n = self.scores[policy]["n_episodes"]
        return wilson(round(self.scores[policy]["success_rate"] * n), n)

    def size(self) -> tuple[float, str] | None:
        """Size of the residual (see `Effort`), and where it was measured."""
        return self._measured("size", SHARE)

    def clipped(self) -> tuple[float, str] | None:
        """Share of clipped actions, and where it was measured."""
        return self._measured("clipped", "residual/clipped")

    def _measured(self, name: str, metric: str) -> tuple[float, str] | None:
        if RESIDUAL in self.effort and self.policy_step:  # it was trained
            return getattr(self.effort[RESIDUAL], name), "without noise"
        value = self.late(metric)
        return None if value is None else (value, "in training, noise included")


def read_facts(path: Path, *, few: int, episodes: int) -> Facts:
    """Read a run directory.

    Args:
        path: the run directory, of a training or an evaluation.
        few: curves of fewer points are not judged.
        episodes: rollouts of a log line with fewer episodes are left out.

    Raises:
        TaskFileError: the run has no `task.json`.
    """
    run = RunDir.open(path)
    task, evaluation = run.task(), run.evaluation() or {"policies": {}}
    timings, _ = read_jsonl(run.path / TIMINGS)
    speeds = [line["time/fps"] for line in timings if "time/fps" in line]
    values = settings(run.config())
    alpha = evaluation.get("alpha")
    largest = 0.0 if alpha is None else float(np.linalg.norm(alpha))
    return Facts(
        path=run.path,
        info=run.info,
        task=task,
        values=values,
        typed=_typed(run),
        lines=[_judgeable(line, values, task, episodes) for line in run.metrics()],
        fps=median(speeds) if speeds else None,
        scores=evaluation["policies"],
        policy_step=evaluation.get("policy_step"),
        judged_alpha=alpha if RESIDUAL in evaluation["policies"] else None,
        rows=_rows(run),
        effort=_effort(run, largest),
        elsewhere=_elsewhere(run),
        few=few,
    )


def _judgeable(
    line: Mapping[str, float], values: Mapping[str, Any], task: TaskInfo, episodes: int
) -> dict[str, float]:
    """Return a log line with `residual/share` and without misleading `rollout/` values.

    They mislead if they come from fewer than `episodes` episodes, or from before the
    first time limit, when only solved episodes have ended.
    """
    largest = line.get("residual/alpha", 0.0) * _largest_per_mean(
        values, len(task.actions)
    )
    share = {SHARE: line["residual/l2"] / largest} if largest else {}
    first = values["n_envs"] * task.max_episode_steps + values["log_every"]
    few = line.get("rollout/episodes", episodes) < episodes
    return {
        name: value
        for name, value in {**line, **share}.items()
        if not (name.startswith("rollout/") and (few or line["step"] < first))
    }


def _largest_per_mean(values: Mapping[str, Any], n_actions: int) -> float:
    """Ratio of the largest norm of alpha * residual to the logged mean alpha."""
    alpha = values.get("residual.alpha")
    if not isinstance(alpha, list) or not any(alpha):
        return math.sqrt(n_actions)  # all elements alike, a ramp included
    return float(np.linalg.norm(alpha)) / fmean(alpha)


def _typed(run: RunDir) -> list[str] | None:
    """Overrides that train a run; for an evaluation its run's, with its own `WORLD`."""
    folder = run.path.parent
    home = folder.parent if folder.name == "evaluations" else run.path
    if not (home / TYPED).is_file():
        return None  # the chosen groups alone are not enough
    words = [str(word) for word in OmegaConf.load(home / TYPED)]
    begun = RunDir.open(home).config().get("init_from")
    if begun is not None:  # `latest` may name another run by now
        words.append(f"init_from={begun}")
    if home != run.path:
        words += filter(_WORLD_OVERRIDE.match, shlex.split(run.info["command"]))
    return list({word.partition("=")[0]: word for word in words}.values())


def _rows(run: RunDir) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in run.episodes():
        found.setdefault(row["policy"], []).append(row)
    return found


def _effort(run: RunDir, limit: float) -> dict[str, Effort]:
    """Effort by policy; `limit` is the largest possible norm of alpha * residual."""
    if not (run.path / TRAJECTORIES).is_file() or limit == 0:
        return {}
    found = {}
    for policy, episodes in read_trajectories(run.path / TRAJECTORIES).items():
        size = np.concatenate([episode.residual_l2 for episode in episodes]) / limit
        clipped = np.concatenate([episode.clipped for episode in episodes])
        found[policy] = Effort(float(size.mean()), float(clipped.mean()))
    return found


def _elsewhere(run: RunDir) -> list[Elsewhere]:
    """The evaluations of the same policy in another world."""
    found, own = [], settings(run.config(), without=_NEUTRAL)
    for other in run.evaluations():
        evaluation = other.evaluation()
        if evaluation is None or RESIDUAL not in evaluation["policies"]:
            continue
        now = settings(other.config(), without=_NEUTRAL)
        changed = {
            key.split(".")[0] for key in own | now if own.get(key) != now.get(key)
        }
        if changed and changed <= set(WORLD):
            scores = evaluation["policies"][RESIDUAL]
            n = scores["n_episodes"]
            names = ", ".join(sorted(changed))
            found.append(Elsewhere(names, round(scores["success_rate"] * n), n))
    return found

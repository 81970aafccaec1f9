"""What a search has found: a table, a figure, and the best values to go on with."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.figures.search import COMPLETE, FAILED, figure_search
from so101rl.files import write_atomic
from so101rl.runs.sweep_dir import write_summary
from so101rl.sweeps.search.figure import ENDS, importances, picture, searched
from so101rl.sweeps.search.preset import preset
from so101rl.sweeps.search.search import Plan
from so101rl.sweeps.search.space import words
from so101rl.sweeps.search.trials import Trials

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

TRIALS, BEST, FIGURE = "trials.csv", "best.yaml", "figures/search.png"
SHOWN = 5  # trials, and failures, in the summary
CAUTION = (
    "The best of many looks better than it is on the episodes that chose it. "
    "Train it with other seeds, and let `job=report` compare."
)


def conclude(trials: Trials, folder: Path, plan: Plan) -> None:
    """Write and print what came out so far.

    Args:
        trials: the study.
        folder: the sweep's.
        plan: what was looked for.
    """
    study = trials.study
    with trials.database_errors():
        ended = sorted(trials.finished(), key=lambda one: one.number)
        shares, remark = importances(study, ended)
        steps = (one.user_attrs.get("env_steps", 0) for one in study.trials)
        found = Found(plan, ended, _best(trials), shares, remark, sum(steps))
    write_atomic(folder / TRIALS, found.csv())
    if found.top:
        one = found.top[0]
        head = f"Trial {one.number} of search {plan.name}: {_values(one)}"
        write_atomic(folder / BEST, preset(one.params, head))
        title = f"search {plan.name}   {found.counts()}"
        best = found.top if found.is_front else found.top[:1]
        drawn = picture(title, plan.objectives, study, ended, best, shares, remark)
        figure_search(folder / FIGURE, drawn)
    text = found.text(folder, study.study_name)
    write_summary(folder, text, found.metrics(), found.best())
    print(text, end="")


@dataclass(frozen=True)
class Found:
    """What a search has found.

    Attributes:
        plan: what was looked for.
        ended: trials, by number.
        top: the complete ones, best first; of several objectives, those none beats.
        shares: each parameter's importance.
        remark: why there are none.
        env_steps: of all attempts, the failed ones too.
    """

    plan: Plan
    ended: "Sequence[FrozenTrial]"
    top: "Sequence[FrozenTrial]"
    shares: Mapping[str, float]
    remark: str
    env_steps: int

    @property
    def is_front(self) -> bool:
        """Whether there are several objectives, and so no best trial."""
        return len(self.plan.objectives) > 1

    def text(self, folder: Path, study: str) -> str:
        """All that is to be said, in Markdown.

        Args:
            folder: the sweep's.
            study: its name in the storage.
        """
        parts = [self._headline(), self._facts(study)]
        if self.top:
            parts = [self._headline(), self._table(), self._again(folder)]
            parts += [self._facts(study), CAUTION]
        return "\n\n".join(parts) + "\n"

    def metrics(self) -> dict[str, float]:
        """Numbers for a tracker."""
        counts = Counter(ENDS[one.state.name] for one in self.ended)
        found = {f"trials/{end}": float(counts[end]) for end in ENDS.values()}
        found["env_steps"] = float(self.env_steps)
        if self.top and not self.is_front:
            found[f"best/{self.plan.objectives[0]}"] = self.top[0].values[0]
        return found

    def best(self) -> dict[str, Any]:
        """The best values; of several objectives there are none."""
        if not self.top or self.is_front:
            return {}
        return {"trial": self.top[0].number, **self.top[0].params}

    def counts(self) -> str:
        """How many trials ended how."""
        counts = Counter(ENDS[one.state.name] for one in self.ended)
        parts = [f"{counts[end]} {end}" for end in ENDS.values() if counts[end]]
        return f"{len(self.ended)} trials" + (f": {', '.join(parts)}" if parts else "")

    def csv(self) -> str:
        """A line per trial."""
        import pandas as pd

        rows: list[Mapping[str, Any]] = [
            {
                "trial": one.number,
                "state": ENDS[one.state.name],
                **dict(zip(self.plan.objectives, one.values or (), strict=False)),
                "env_steps": one.user_attrs.get("env_steps"),
                "reason": one.user_attrs.get("reason", ""),
                **one.params,
            }
            for one in self.ended
        ]
        return pd.DataFrame(rows).to_csv(index=False)

    def _headline(self) -> str:
        many, runs = len(self.ended), len(self.plan.seeds)
        if not self.top:
            return f"**No complete trial** among {many}"
        mean = f", mean of {runs} runs" if runs > 1 else ""
        if self.is_front:
            names = " and ".join(self.plan.objectives)
            return f"**{len(self.top)} of {many} trials** that none beats in {names}"
        best = f"{self.plan.objectives[0]} {_values(self.top[0])}"
        return f"**Best of {many} trials: {best}**{mean}"

    def _table(self) -> str:
        """The best trials, a line each."""
        names = list(searched(self.ended))
        head = ["trial", *self.plan.objectives, *names]
        lines = [_row(head), _row(["--:"] * len(head))]
        for one in self.top[:SHOWN]:
            values = [f"{value:.4g}" for value in one.values]
            tried = [_said(one.params.get(name, "")) for name in names]
            lines.append(_row([str(one.number), *values, *tried]))
        return "\n".join(lines)

    def _again(self, folder: Path) -> str:
        """What to type to go on with the first of them."""
        one, name = self.top[0], self.plan.name
        told = [word for word in self.plan.fixed if not word.startswith("sweep=")]
        line = shlex.join(["python", "main.py", *told, *words(one.params)])
        copy = shlex.join(["cp", str(folder / BEST)])
        return (
            f"- train with trial {one.number}: `{line}`\n"
            f"- as a preset: `{copy} conf/experiment/{name}_best.yaml`"
        )

    def _facts(self, study: str) -> str:
        """What it cost, what mattered, what failed."""
        cost = f"{self.env_steps:,}"
        done = [one for one in self.ended if ENDS[one.state.name] != FAILED]
        if done:
            full = len(done) * len(self.plan.seeds) * self.plan.total
            share = f"{self.env_steps / full:.0%}"
            cost += f", {share} of what as many without an early end take"
        told = ", ".join(f"{name} {own:.0%}" for name, own in self.shares.items())
        facts = {
            "trials": self.counts(),
            "env steps": cost,
            "importance": told or self.remark,
        }
        failed = [one for one in self.ended if ENDS[one.state.name] == FAILED]
        for one in failed[:SHOWN]:
            reason = one.user_attrs.get("reason", "no reason is known")
            facts[f"trial {one.number} failed"] = reason
        if len(failed) > SHOWN:
            facts["other failures"] = f"{len(failed) - SHOWN}, see {TRIALS}"
        facts["study"] = study
        return "\n".join(f"- {name}: {text}" for name, text in facts.items())


def _best(trials: Trials) -> "list[FrozenTrial]":
    """The complete trials, best first; of several objectives, those none beats."""
    from optuna.study import StudyDirection

    study = trials.study
    if len(study.directions) > 1:
        return list(study.best_trials)
    done = [one for one in trials.finished() if ENDS[one.state.name] == COMPLETE]
    down = study.direction == StudyDirection.MAXIMIZE
    return sorted(done, key=lambda one: one.values[0], reverse=down)


def _row(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _said(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _values(one: "FrozenTrial") -> str:
    return ", ".join(f"{value:.4g}" for value in one.values)

"""The results of a search: a table, a figure, and a preset with the best values."""

import shlex
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.figures.search import (
    COMPLETE,
    FAILED,
    PRUNED,
    SearchedParam,
    SearchResult,
    TrialResult,
    figure_search,
)
from so101rl.files import write_atomic
from so101rl.runs.sweep_dir import write_summary
from so101rl.sweeps.search.search import SearchPlan
from so101rl.sweeps.search.space import preset, words
from so101rl.sweeps.search.trials import Trials

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

TRIALS, BEST, FIGURE = "trials.csv", "best.yaml", "figures/search.png"
SHOWN = 5  # trials, and failures, in the summary
STATUS = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED}  # by Optuna's state
MIN_COMPLETE = 10  # complete trials that importances are computed from
FOREST_SEED = 0  # seed of the random forest that computes importances
CAUTION = (
    "The value of the best trial is too high on average, because it was chosen by this "
    "value. Train it with other seeds, and compare with `job=report`."
)


def conclude(trials: Trials, folder: Path, plan: SearchPlan) -> None:
    """Write and print the results so far."""
    study = trials.study
    with trials.database_errors():
        ended = sorted(trials.finished(), key=lambda one: one.number)
        shares, remark = importance(study, ended)
        steps = sum(one.user_attrs.get("env_steps", 0) for one in study.trials)
        found = SearchSummary(plan, ended, _best(study, ended), shares, remark, steps)
    write_atomic(folder / TRIALS, found.csv())
    if found.top:
        one = found.top[0]
        head = f"Trial {one.number} of search {plan.name}: {_shown(*one.values)}"
        write_atomic(folder / BEST, preset(one.params, head))
        ways = [direction.name == "MAXIMIZE" for direction in study.directions]
        figure_search(folder / FIGURE, found.figure_content(ways))
    text = found.text(folder, study.study_name)
    write_summary(folder, text, found.metrics(), found.best())
    print(text, end="")


@dataclass(frozen=True)
class SearchSummary:
    """The results of a search.

    Attributes:
        ended: ended trials in the order of their numbers.
        top: complete trials, best first; with several objectives, the Pareto front.
        importances: share of the variance of the first objective, per parameter.
        remark: why there are no importances; empty if there are any.
        env_steps: env steps of all trials, including failed ones.
    """

    plan: SearchPlan
    ended: "Sequence[FrozenTrial]"
    top: "Sequence[FrozenTrial]"
    importances: Mapping[str, float]
    remark: str
    env_steps: int

    @property
    def is_front(self) -> bool:
        """Whether there are several objectives, and so no single best trial."""
        return len(self.plan.objectives) > 1

    @cached_property
    def _by_status(self) -> dict[str, int]:
        counts = Counter(STATUS[one.state.name] for one in self.ended)
        return {status: counts[status] for status in STATUS.values()}

    @property
    def counts(self) -> str:
        """The number of trials per status, as text."""
        parts = [f"{n} {status}" for status, n in self._by_status.items() if n]
        return f"{len(self.ended)} trials" + (f": {', '.join(parts)}" if parts else "")

    def text(self, folder: Path, study: str) -> str:
        """The summary in Markdown; `study` is the name of the study in its storage."""
        parts = [self._headline(), self._facts(study)]
        if self.top:
            parts[1:1] = [self._table(), self._next_commands(folder)]
            parts.append(CAUTION)
        return "\n\n".join(parts) + "\n"

    def metrics(self) -> dict[str, float]:
        """Numbers for a tracker."""
        found = {f"trials/{status}": float(n) for status, n in self._by_status.items()}
        found["env_steps"] = float(self.env_steps)
        if self.top and not self.is_front:
            found[f"best/{self.plan.objectives[0]}"] = self.top[0].values[0]
        return found

    def best(self) -> dict[str, Any]:
        """The best values; empty with several objectives."""
        if not self.top or self.is_front:
            return {}
        return {"trial": self.top[0].number, **self.top[0].params}

    def csv(self) -> str:
        """A line per trial."""
        import pandas as pd

        rows: list[Mapping[str, Any]] = [
            {
                "trial": one.number,
                "state": STATUS[one.state.name],
                **dict(zip(self.plan.objectives, one.values or (), strict=False)),
                "env_steps": one.user_attrs.get("env_steps"),
                "reason": one.user_attrs.get("reason", ""),
                **one.params,
            }
            for one in self.ended
        ]
        return pd.DataFrame(rows).to_csv(index=False)

    def figure_content(self, maximize: Sequence[bool]) -> SearchResult:
        """Return the figure's content; `maximize` has a value for each objective."""
        trials = [
            TrialResult(
                number=one.number,
                end=STATUS[one.state.name],
                values=one.values or (),
                params=one.params,
            )
            for one in self.ended
        ]
        return SearchResult(
            title=f"search {self.plan.name}   {self.counts}",
            objectives=dict(zip(self.plan.objectives, maximize, strict=True)),
            trials=trials,
            best=[o.number for o in (self.top if self.is_front else self.top[:1])],
            params=[_param(name, kind) for name, kind in self._searched.items()],
            importances=self.importances,
            remark=self.remark,
        )

    @property
    def _searched(self) -> "dict[str, BaseDistribution]":
        return {name: d for one in self.ended for name, d in one.distributions.items()}

    def _headline(self) -> str:
        n, runs = len(self.ended), len(self.plan.seeds)
        if not self.top:
            return f"**No complete trial** among {n}"
        mean = f", mean of {runs} runs" if runs > 1 else ""
        if self.is_front:
            names = " and ".join(self.plan.objectives)
            return f"**{len(self.top)} of {n} trials** that no other beats in {names}"
        best = f"{self.plan.objectives[0]} {_shown(*self.top[0].values)}"
        return f"**Best of {n} trials: {best}**{mean}"

    def _table(self) -> str:
        """The best trials, a line each."""
        names = list(self._searched)
        head = ["trial", *self.plan.objectives, *names]
        lines = [head, ["--:"] * len(head)]
        for one in self.top[:SHOWN]:
            cells = [*one.values, *(one.params.get(name, "") for name in names)]
            lines.append([str(one.number), *map(_shown, cells)])
        return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)

    def _next_commands(self, folder: Path) -> str:
        """The commands that train with the first of the best trials."""
        one, name = self.top[0], self.plan.name
        fixed = [word for word in self.plan.fixed if not word.startswith("sweep=")]
        line = shlex.join(["python", "main.py", *fixed, *words(one.params)])
        copy = shlex.join(["cp", str(folder / BEST)])
        return (
            f"- train with trial {one.number}: `{line}`\n"
            f"- as a preset: `{copy} conf/experiment/{name}_best.yaml`"
        )

    def _facts(self, study: str) -> str:
        """Cost, importances and failures."""
        cost = f"{self.env_steps:,}"
        failed = [one for one in self.ended if STATUS[one.state.name] == FAILED]
        if len(failed) < len(self.ended):
            n_done = len(self.ended) - len(failed)
            full = n_done * len(self.plan.seeds) * self.plan.total
            share = f"{self.env_steps / full:.0%}"
            cost += f", {share} of what they cost without pruning"
        shares = [f"{name} {own:.0%}" for name, own in self.importances.items()]
        facts = {
            "trials": self.counts,
            "env steps": cost,
            "importance": ", ".join(shares) or self.remark,
        }
        for one in failed[:SHOWN]:
            reason = one.user_attrs.get("reason", "no reason is known")
            facts[f"trial {one.number} failed"] = reason
        if len(failed) > SHOWN:
            facts["other failures"] = f"{len(failed) - SHOWN}, see {TRIALS}"
        facts["study"] = study
        return "\n".join(f"- {name}: {text}" for name, text in facts.items())


def _best(study: "Study", ended: "Sequence[FrozenTrial]") -> "list[FrozenTrial]":
    """Return complete trials, best first; with several objectives, the Pareto front."""
    if len(study.directions) > 1:
        return list(study.best_trials)
    done = [one for one in ended if one.state.name == "COMPLETE"]
    is_more_better = study.direction.name == "MAXIMIZE"
    return sorted(done, key=lambda one: one.values[0], reverse=is_more_better)


def importance(
    study: "Study", ended: "Sequence[FrozenTrial]"
) -> tuple[Mapping[str, float], str]:
    """Return each parameter's share of the first objective's variance, and a remark.

    By fANOVA: Hutter et al., An Efficient Approach for Assessing Hyperparameter
    Importance, ICML 2014.
    """
    values = [one.values[0] for one in ended if one.state.name == "COMPLETE"]
    if len(values) < MIN_COMPLETE:
        needed = f"Importances need {MIN_COMPLETE} complete trials"
        return {}, f"{needed}; there are {len(values)}."
    if len(set(values)) == 1:
        return {}, "All complete trials have the same value."
    # Imported here because it takes seconds.
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    evaluator = FanovaImportanceEvaluator(seed=FOREST_SEED)
    shares = get_param_importances(
        study, evaluator=evaluator, target=lambda one: one.values[0]
    )
    return shares, ""


def _param(name: str, kind: "BaseDistribution") -> SearchedParam:
    from optuna.distributions import CategoricalDistribution

    if isinstance(kind, CategoricalDistribution):
        return SearchedParam(name=name, choices=[str(one) for one in kind.choices])
    low, high, log = (getattr(kind, key) for key in ("low", "high", "log"))
    return SearchedParam(name=name, low=low, high=high, is_log=log)


def _shown(*values: Any) -> str:
    """Numbers with four digits, and other values as they are."""
    texts = [f"{one:.4g}" if isinstance(one, float) else str(one) for one in values]
    return ", ".join(texts)

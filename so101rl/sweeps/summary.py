"""What a search has found: a table, figures, and the best values to go on with."""

from collections import Counter
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from so101rl.files import write_atomic
from so101rl.sweeps.search import Plan, said
from so101rl.sweeps.space import words
from so101rl.sweeps.trials import Trials

if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

TRIALS, BEST, SUMMARY = "trials.csv", "best.yaml", "summary.md"
SHOWN = 5  # trials in the summary
STATES = {"COMPLETE": "complete", "PRUNED": "pruned", "FAIL": "failed"}


def conclude(trials: Trials, folder: Path, plan: Plan, params: Any) -> None:
    """Write and print what came out.

    Args:
        trials: the study.
        folder: the sweep's.
        plan: what was looked for.
        params: what was searched, as in the yaml.
    """
    ended = trials.finished()
    write_atomic(folder / TRIALS, _csv(ended))
    top = _best(trials)
    lines = [_counts(ended, plan, trials)]
    for one in top[:SHOWN]:
        values = ", ".join(f"{value:.4g}" for value in one.values)
        lines.append(f"- trial {one.number}: {values} with {said(one.params)}")
    write_atomic(
        folder / SUMMARY, "\n".join([f"# Search `{plan.name}`", "", *lines, ""])
    )
    print("\n".join(lines))
    if top:
        write_atomic(folder / BEST, _yaml(top[0], plan))
        print(
            f"the best, to train with: python main.py {' '.join(words(top[0].params))}"
        )
        print(f"as a preset: cp {folder / BEST} conf/experiment/{plan.name}_best.yaml")


def _best(trials: Trials) -> "list[FrozenTrial]":
    """The complete trials, best first; of several objectives, those none beats."""
    from optuna.study import StudyDirection
    from optuna.trial import TrialState

    study = trials.study
    if len(study.directions) > 1:
        return list(study.best_trials)
    done = [one for one in trials.finished() if one.state == TrialState.COMPLETE]
    down = study.direction == StudyDirection.MAXIMIZE
    return sorted(done, key=lambda one: one.values[0], reverse=down)


def _counts(ended: "list[FrozenTrial]", plan: Plan, trials: Trials) -> str:
    """How many trials ended how, and what they cost."""
    counts = Counter(STATES[one.state.name] for one in ended)
    steps = sum(one.user_attrs.get("env_steps", 0) for one in ended)
    full = len(ended) * len(plan.seeds) * plan.total
    parts = ", ".join(f"{count} {name}" for name, count in counts.items())
    return (
        f"{len(ended)} trials ({parts}), {steps:,} env steps, {steps / full:.0%} of "
        f"what as many without an early end take; study {trials.study.study_name}"
    )


def _csv(ended: "list[FrozenTrial]") -> str:
    """A line per trial."""
    import pandas as pd

    rows: list[Mapping[str, Any]] = [
        {
            "trial": one.number,
            "state": STATES[one.state.name],
            **{f"value_{index}": value for index, value in enumerate(one.values or [])},
            "env_steps": one.user_attrs.get("env_steps"),
            "reason": one.user_attrs.get("reason", ""),
            **one.params,
        }
        for one in ended
    ]
    return pd.DataFrame(rows).to_csv(index=False)


def _yaml(one: "FrozenTrial", plan: Plan) -> str:
    """A preset with a trial's values."""
    import yaml
    from omegaconf import OmegaConf

    cfg = OmegaConf.create()
    for key, value in one.params.items():
        plain = yaml.safe_load(value) if isinstance(value, str) else value
        OmegaConf.update(cfg, key, plain)
    values = ", ".join(f"{value:.4g}" for value in one.values)
    head = (
        f"# @package _global_\n# Trial {one.number} of search {plan.name}: {values}\n"
    )
    return head + OmegaConf.to_yaml(cfg)

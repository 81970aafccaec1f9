"""From Optuna's trials to the figure of a search."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from so101rl.figures.search import (
    COMPLETE,
    FAILED,
    PRUNED,
    SearchedParam,
    SearchResult,
    TrialResult,
)

if TYPE_CHECKING:
    from optuna import Study
    from optuna.distributions import BaseDistribution
    from optuna.trial import FrozenTrial

ENDS = {"COMPLETE": COMPLETE, "PRUNED": PRUNED, "FAIL": FAILED}  # Optuna's words, ours
ENOUGH = 10  # complete trials that importances are computed from
SEED = 0  # of the trees that compute them


def picture(
    title: str,
    objectives: Sequence[str],
    study: "Study",
    ended: "Sequence[FrozenTrial]",
    best: "Sequence[FrozenTrial]",
    shares: Mapping[str, float],
    remark: str,
) -> SearchResult:
    """What the figure shows.

    Args:
        title: a quiet line above.
        objectives: their names.
        study: Optuna's.
        ended: its trials, without those that others stand for.
        best: of several objectives, those that none beats.
        shares: each parameter's importance.
        remark: why there are none.
    """
    return SearchResult(
        title=title,
        objectives={
            name: way.name == "MAXIMIZE"
            for name, way in zip(objectives, study.directions, strict=True)
        },
        trials=[
            TrialResult(
                number=one.number,
                end=ENDS[one.state.name],
                values=one.values or (),
                params=one.params,
            )
            for one in sorted(ended, key=lambda one: one.number)
        ],
        best=[one.number for one in best],
        params=[_param(name, kind) for name, kind in searched(ended).items()],
        importances=shares,
        remark=remark,
    )


def searched(ended: "Sequence[FrozenTrial]") -> "dict[str, BaseDistribution]":
    """What was tried, by key."""
    return {name: kind for one in ended for name, kind in one.distributions.items()}


def importances(
    study: "Study", ended: "Sequence[FrozenTrial]"
) -> tuple[Mapping[str, float], str]:
    """Each parameter's share of the first objective's variance, or why there is none.

    By fANOVA: Hutter et al., An Efficient Approach for Assessing Hyperparameter
    Importance, ICML 2014.
    """
    values = [one.values[0] for one in ended if one.state.name == "COMPLETE"]
    if len(values) < ENOUGH:
        return (
            {},
            f"It takes {ENOUGH} complete trials to tell; there are {len(values)}.",
        )
    if len(set(values)) == 1:
        return {}, "All complete trials have the same value."
    # Here, for it takes seconds.
    from optuna.importance import FanovaImportanceEvaluator, get_param_importances

    return (
        get_param_importances(
            study,
            evaluator=FanovaImportanceEvaluator(seed=SEED),
            target=lambda one: one.values[0],
        ),
        "",
    )


def _param(name: str, kind: "BaseDistribution") -> SearchedParam:
    from optuna.distributions import CategoricalDistribution

    if isinstance(kind, CategoricalDistribution):
        return SearchedParam(name=name, choices=[str(one) for one in kind.choices])
    low, high, log = (getattr(kind, key) for key in ("low", "high", "log"))
    return SearchedParam(name=name, low=low, high=high, is_log=log)

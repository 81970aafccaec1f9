"""How good a run is, with its uncertainty."""

from dataclasses import dataclass

from omegaconf import DictConfig

from so101rl.diagnosis.facts import BASE, LEARNED, Facts

GOOD, FAIR, POOR, UNJUDGED = "GOOD", "FAIR", "POOR", "NOT JUDGED"


@dataclass(frozen=True)
class Pair:
    """Base and residual on the same episodes.

    Attributes:
        won: episodes that the residual solves and the base does not.
        lost: the other way round.
        p: of the exact McNemar test, two-sided.
    """

    won: int
    lost: int
    p: float

    def is_better(self, significance: float) -> bool:
        """Whether the residual is better beyond chance."""
        return self.won > self.lost and self.p < significance

    def is_worse(self, significance: float) -> bool:
        """Whether the residual is worse beyond chance."""
        return self.won < self.lost and self.p < significance


def compared(facts: Facts) -> Pair | None:
    """Compare base and residual episode by episode; None unless both played."""
    from scipy.stats import binomtest

    if BASE not in facts.rows or LEARNED not in facts.rows:
        return None
    base, residual = (_solved(facts, policy) for policy in (BASE, LEARNED))
    seeds = base.keys() & residual.keys()
    won = sum(residual[seed] and not base[seed] for seed in seeds)
    lost = sum(base[seed] and not residual[seed] for seed in seeds)
    p = binomtest(won, won + lost).pvalue if won + lost else 1.0
    return Pair(won, lost, float(p))


def judged(facts: Facts, limits: DictConfig) -> str:
    """GOOD, FAIR, POOR, or NOT JUDGED if a policy of the run was never evaluated.

    Args:
        facts: of the run.
        limits: `good` and `poor` are success rates that the ends of Wilson's
            interval have to reach, `significance` is that of the comparison.
    """
    found = facts.interval()
    if found is None:
        return UNJUDGED
    pair = compared(facts)
    worse = pair is not None and pair.is_worse(limits.significance)
    if found[1] < limits.poor or worse or never_better(facts):
        return POOR
    return GOOD if found[0] >= limits.good else FAIR


def never_better(facts: Facts) -> bool:
    """Whether the best policy of a training is the one that it began with."""
    return facts.policy_step == 0 and facts.steps > 0


def _solved(facts: Facts, policy: str) -> dict[str, bool]:
    return {row["seed"]: row["is_success"] == "True" for row in facts.rows[policy]}

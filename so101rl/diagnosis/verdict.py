"""How good a run is, with its uncertainty."""

from omegaconf import DictConfig

from so101rl import statistics
from so101rl.diagnosis.facts import Facts

GOOD, FAIR, POOR = "GOOD", "FAIR", "POOR"
UNSURE, UNJUDGED = "UNSURE", "NOT JUDGED"


def compared(facts: Facts) -> statistics.McNemarResult | None:
    """Base and residual episode by episode; None unless both played."""
    return statistics.mcnemar_test(row for rows in facts.rows.values() for row in rows)


def judged(facts: Facts, limits: DictConfig) -> str:
    """GOOD, FAIR or POOR; UNSURE after few episodes, NOT JUDGED after none.

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
    if found[1] < limits.poor or worse:
        return POOR
    if found[0] >= limits.good:
        return GOOD  # also if the policy that training began with was this good
    if never_better(facts):
        return POOR
    # An interval wider than the room between the limits could end in either.
    return UNSURE if found[1] - found[0] > limits.good - limits.poor else FAIR


def never_better(facts: Facts) -> bool:
    """Whether the best policy of a training is the one that it began with."""
    return facts.policy_step == 0 and facts.steps > 0

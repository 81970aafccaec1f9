"""The verdict on a run, with its uncertainty."""

from omegaconf import DictConfig

from so101rl import statistics
from so101rl.diagnosis.facts import Facts

GOOD, FAIR, POOR = "GOOD", "FAIR", "POOR"
UNSURE, UNJUDGED = "UNSURE", "NOT JUDGED"


def base_comparison(facts: Facts) -> statistics.McNemarResult | None:
    """McNemar test of base and residual; None unless both have episodes."""
    return statistics.mcnemar_test(row for rows in facts.rows.values() for row in rows)


def judge(facts: Facts, limits: DictConfig) -> str:
    """Return GOOD, FAIR or POOR; UNSURE after few episodes, NOT JUDGED after none.

    Args:
        facts: facts of the run.
        limits: success rate `good` for the lower end of Wilson's interval, success rate
            `poor` for its upper end, and `significance` of the McNemar test.
    """
    found = facts.interval()
    if found is None:
        return UNJUDGED
    pair = base_comparison(facts)
    worse = pair is not None and pair.is_worse(limits.significance)
    if found[1] < limits.poor or worse:
        return POOR
    if found[0] >= limits.good:
        return GOOD  # even if training did not improve it
    if never_improved(facts):
        return POOR
    # An interval wider than the gap between the limits cannot separate good from poor.
    return UNSURE if found[1] - found[0] > limits.good - limits.poor else FAIR


def never_improved(facts: Facts) -> bool:
    """Whether the evaluated policy is the one that the training began with."""
    return facts.policy_step == 0 and facts.steps > 0

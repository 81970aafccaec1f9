"""When one arm may be called better: enough pairs, and a test adjusted for all."""

from collections.abc import Mapping
from dataclasses import dataclass

from so101rl.statistics.paired_test import Comparison
from so101rl.statistics.seed_means import StatisticsError, check_share

LEAST = 6  # pairs for any claim; at 0.05 the test cannot do with less anyway
BETTER, WORSE = "better", "worse"
UNDECIDED, REFUSED = "undecided", "refused"


@dataclass(frozen=True)
class Verdict:
    """What may be said of one comparison.

    Attributes:
        decision: `better` or `worse` (arm a has the larger or smaller mean than b),
            `undecided`, or `refused` where so few pairs could not have decided.
        p: adjusted by Holm for all registered comparisons.
        comparison: what was compared.
        needed: pairs with which each of the comparisons can be decided.
    """

    decision: str
    p: float
    comparison: Comparison
    needed: int

    def said(self, a: str, b: str) -> str:
        """The finding in words, no bolder than the test allows."""
        n, needed = self.comparison.n, self.needed
        return {
            BETTER: f"{a} is better than {b}",
            WORSE: f"{a} is worse than {b}",
            UNDECIDED: f"no difference shown between {a} and {b}",
            REFUSED: f"no claim about {a} and {b}: {n} paired seeds, it takes {needed}",
        }[self.decision]


def verdicts(
    comparisons: Mapping[str, Comparison],
    alpha: float = 0.05,
    registered: int | None = None,
) -> dict[str, Verdict]:
    """Decide all comparisons of a study together, as they were registered.

    Args:
        comparisons: by name, all of them: p is adjusted for their number.
        alpha: probability of any false claim among them.
        registered: how many there should be, if some have no result.
    """
    needed = seeds_needed(max(1, registered or len(comparisons)), alpha)
    adjusted = holm({name: c.p for name, c in comparisons.items()}, registered)
    found = {}
    for name, comparison in comparisons.items():
        decision = REFUSED if comparison.n < needed else UNDECIDED
        if adjusted[name] <= alpha and comparison.n >= LEAST:
            decision = BETTER if comparison.difference.mean > 0 else WORSE
        found[name] = Verdict(decision, adjusted[name], comparison, needed)
    return found


def holm(
    p_values: Mapping[str, float], registered: int | None = None
) -> dict[str, float]:
    """P values adjusted for their number by Holm's step-down method (1979).

    Args:
        p_values: by name.
        registered: number of comparisons, if some have no p; those count as p = 1.
    """
    m = len(p_values) if registered is None else registered
    if m < len(p_values):
        raise StatisticsError(f"{len(p_values)} comparisons, {m} were registered")
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        p = p_values[name]
        if not 0 <= p <= 1:
            raise StatisticsError(f"{name} has p={p}; right is between 0 and 1")
        largest = max(largest, min(1.0, (m - rank) * p))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def smallest_p(n: int) -> float:
    """Smallest two-sided p that a sign-flip test of n pairs can reach: 2 / 2**n."""
    return 2.0 ** (1 - n)


def seeds_needed(comparisons: int = 1, alpha: float = 0.05) -> int:
    """Least number of paired seeds with which each of m comparisons can be decided.

    That is the least n with m * 2 / 2**n <= alpha: 6 for one, 8 for 4, 9 for 8; never
    below 6, whatever alpha is.
    """
    check_share("alpha", alpha)
    if comparisons < 1:
        raise StatisticsError(f"{comparisons} comparisons; right is 1 or more")
    n = LEAST
    while comparisons * smallest_p(n) > alpha:
        n += 1
    return n


def check_seeds(n: int, comparisons: int = 1, alpha: float = 0.05) -> None:
    """Refuse a study whose test cannot decide, before it is run."""
    needed = seeds_needed(comparisons, alpha)
    if n < needed:
        raise StatisticsError(
            f"{n} paired seeds cannot decide {comparisons} comparisons at "
            f"alpha={alpha}; it takes {needed}"
        )

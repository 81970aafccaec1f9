"""Verdicts on several arms: a minimum of pairs, and p values adjusted by Holm."""

from collections.abc import Mapping
from dataclasses import dataclass

from so101rl.statistics.paired_test import Comparison
from so101rl.statistics.seed_means import StatisticsError, check_share

LEAST = 6  # pairs for any claim; with fewer, p cannot reach 0.05
BETTER, WORSE = "better", "worse"
UNDECIDED, REFUSED = "undecided", "refused"


@dataclass(frozen=True)
class Verdict:
    """The claim that one comparison supports.

    Attributes:
        decision: `better` or `worse` (arm a has the larger or smaller mean than b),
            `undecided`, or `refused` if there are too few pairs to decide.
        p: p value, adjusted by Holm for all registered comparisons.
        comparison: the comparison itself.
        needed: least number of pairs that can decide a comparison.
    """

    decision: str
    p: float
    comparison: Comparison
    needed: int

    def describe(self, other: str, above: str = BETTER, below: str = WORSE) -> str:
        """Return the claim about arm a in a few words; `other` is the name of arm b.

        `above` and `below` are the words for an arm with a larger and a smaller mean.
        """
        return {
            BETTER: f"{above} than {other}",
            WORSE: f"{below} than {other}",
            UNDECIDED: "no difference shown",
            REFUSED: too_few_pairs(self.comparison.n, self.needed),
        }[self.decision]


def too_few_pairs(n: int, needed: int) -> str:
    """Return why n pairs allow no claim."""
    return f"no claim: {n} paired seeds, expected {needed} or more"


def verdicts(
    comparisons: Mapping[str, Comparison],
    alpha: float = 0.05,
    registered: int | None = None,
) -> dict[str, Verdict]:
    """Decide all comparisons of a study together.

    Args:
        comparisons: by name; p is adjusted for their number.
        alpha: probability of any false claim among them.
        registered: number of registered comparisons; None: all have a result.
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
    """Adjust p values for their number by Holm's step-down method (1979).

    Of the `registered` comparisons, those without a p value count as p = 1.
    """
    m = len(p_values) if registered is None else registered
    if m < len(p_values):
        raise StatisticsError(f"{len(p_values)} comparisons: expected at most {m}")
    adjusted, largest = {}, 0.0
    for rank, name in enumerate(sorted(p_values, key=lambda name: p_values[name])):
        p = p_values[name]
        if not 0 <= p <= 1:
            raise StatisticsError(f"{name}: p={p}: expected a number from 0 to 1")
        largest = max(largest, min(1.0, (m - rank) * p))
        adjusted[name] = largest
    return {name: adjusted[name] for name in p_values}


def smallest_p(n: int) -> float:
    """Return the smallest two-sided p of a sign-flip test of n pairs: 2 / 2**n."""
    return 2.0 ** (1 - n)


def seeds_needed(comparisons: int = 1, alpha: float = 0.05) -> int:
    """Return the least number of paired seeds that can decide each of m `comparisons`.

    That is the least n with m * 2 / 2**n <= alpha: 6 for one, 8 for 4, 9 for 8; never
    below 6, whatever alpha is.
    """
    check_share("alpha", alpha)
    if comparisons < 1:
        raise StatisticsError(f"comparisons={comparisons}: expected 1 or more")
    n = LEAST
    while comparisons * smallest_p(n) > alpha:
        n += 1
    return n

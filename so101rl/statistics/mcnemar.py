"""McNemar's test of two policies on the same episodes."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

BASE, RESIDUAL = "base", "residual"  # the names of the two policies of a run


@dataclass(frozen=True)
class McNemarResult:
    """Base and residual compared on the same episodes.

    Attributes:
        won: episodes that the residual solves and the base does not.
        lost: episodes that the base solves and the residual does not.
        p: p-value of the two-sided exact McNemar test.
    """

    won: int
    lost: int
    p: float

    def is_better(self, significance: float) -> bool:
        """Whether the residual is significantly better than the base."""
        return self.won > self.lost and self.p < significance

    def is_worse(self, significance: float) -> bool:
        """Whether the residual is significantly worse than the base."""
        return self.won < self.lost and self.p < significance

    def describe(self, significance: float) -> tuple[str, str]:
        """Return the finding as a sentence, and the numbers behind it."""
        found = "No difference from its base shown"
        if self.is_better(significance):
            found = "Better than its base beyond chance"
        elif self.is_worse(significance):
            found = "Worse than its base beyond chance"
        p = f"exact McNemar p = {self.p:.2g}"
        return found, f"won {self.won}, lost {self.lost}, {p}"


def mcnemar_test(episodes: Iterable[Mapping[str, Any]]) -> McNemarResult | None:
    """Compare base and residual in rows of `episodes.csv`; None if one has no rows."""
    from scipy.stats import binomtest

    solved: dict[str, dict[int, bool]] = {}
    for row in episodes:
        solved.setdefault(row["policy"], {})[row["seed"]] = row["is_success"]
    if BASE not in solved or RESIDUAL not in solved:
        return None
    base, residual = solved[BASE], solved[RESIDUAL]
    seeds = base.keys() & residual.keys()
    won = sum(residual[seed] and not base[seed] for seed in seeds)
    lost = sum(base[seed] and not residual[seed] for seed in seeds)
    p = binomtest(won, won + lost).pvalue if won + lost else 1.0
    return McNemarResult(won, lost, float(p))

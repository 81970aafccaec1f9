"""What every arm reached under each of `evaluation.tests`, without a verdict."""

from dataclasses import dataclass

from so101rl.report.held_out import Played
from so101rl.report.record import Study
from so101rl.report.table import across_seeds
from so101rl.runs.metrics import ON, measure_of, tested_as


@dataclass(frozen=True)
class Tested:
    """A policy of an arm under one test.

    Attributes:
        values: of the study's measure, by seed.
        mean: over the seeds; None without any.
        low: of its 95 % interval; None if there is none.
        by: which interval it is, as in `table.Row`.
        of: how many seeds there should be.
    """

    arm: str
    test: str
    values: dict[int, float]
    mean: float | None = None
    low: float | None = None
    high: float | None = None
    by: str = ""
    of: int = 0


def tested(study: Study, played: Played) -> list[Tested]:
    """All arms under all tests; nothing where no run was tested."""
    policy, measure = measure_of(study.metric)
    plain = policy.partition(ON)[0]
    names = {name for own in played.values() for name in own if ON in name}
    tests = sorted({name.partition(ON)[2] for name in names})
    found = []
    for arm in study.arms:
        for test in tests:
            name = tested_as(plain, test)
            own = {
                one.seed: played[one.uid][name]
                for one in study.of(arm)
                if name in played[one.uid]
            }
            values = {seed: measure.read(rows) for seed, rows in own.items()}
            known = {seed: value for seed, value in values.items() if value is not None}
            ends = across_seeds(known, sorted(map(len, own.values())), measure)
            found.append(Tested(arm, test, known, of=len(study.arms[arm]), **ends))
    return found

"""Compares two runs, or two arms of several seeds each."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from so101rl.report.cells import CLAIMS, interval
from so101rl.report.record import episodes_of
from so101rl.report.table import across_seeds
from so101rl.runs.arms import StudyError, arm_texts, distinguishing_settings
from so101rl.runs.metrics import POLICY_METRICS, Episodes, all_scores, checked_score
from so101rl.runs.run_dir import RunDir, find_runs
from so101rl.statistics import BASE, RESIDUAL, mcnemar_test, paired_test, plan, verdicts

KEY = "success_rate"
SUCCESS = POLICY_METRICS[KEY]
NAMES, REPORT = ("A", "B"), "report"
ONE_TRAINING = (
    "This tells two policies apart, not two settings: another seed of either may end "
    "elsewhere. For settings: several seeds of each, runs=[FOLDER,FOLDER]."
)
NOT_REGISTERED = (
    "Nobody registered this comparison: of many like it, some look so by chance."
)


@dataclass(frozen=True)
class Side:
    """One of the two sides: a run, or several seeds of one arm.

    Attributes:
        path: as typed.
        policy: `residual`, or `base` if a run has no residual.
        runs: runs with a result, by seed.
        episodes: episodes of that policy, by seed.
        means: success rate of that policy, by seed.
        failed: runs without a result, by seed.
    """

    path: str
    policy: str
    runs: dict[int, RunDir]
    episodes: Mapping[int, Episodes]
    means: dict[int, float]
    failed: dict[int, RunDir]

    @property
    def role(self) -> str:
        """The role of the episodes, see `so101rl.seeds`."""
        evaluation = next(iter(self.runs.values())).evaluation() or {}
        return str(all_scores(evaluation)[self.policy]["seeds"]["role"])


def read_side(path: str) -> Side:
    """Read the runs at or below a path.

    Raises:
        StudyError: no run gave a result, or the runs are not of one arm.
    """
    if not Path(path).is_dir():
        raise StudyError(f"{path}: there is no such folder")
    found = find_runs([path])
    good = [run for run in found if run.info["status"] == "finished" and run.episodes()]
    if not good:
        raise StudyError(f"{path}: no finished run with held-out episodes in it")
    first, *others = dict.fromkeys(arm_texts(good))
    if others:
        raise StudyError(f"{path}: not one arm, there is {first} and {others[0]}")
    runs: dict[int, RunDir] = {}
    for run in sorted(good, key=lambda run: int(run.info["seed"])):
        other = runs.setdefault(run.info["seed"], run)
        if other is not run:
            raise StudyError(f"{other.path} and {run.path} have the same seed")
    episodes = {seed: episodes_of(run) for seed, run in runs.items()}
    policy = RESIDUAL if all(RESIDUAL in own for own in episodes.values()) else BASE
    own_episodes = {seed: own[policy] for seed, own in episodes.items()}
    means = {seed: _success(runs[seed], rows) for seed, rows in own_episodes.items()}
    failed = {run.info["seed"]: run for run in found if run.info["seed"] not in runs}
    return Side(path, policy, runs, own_episodes, means, failed)


def compare_sides(a: Side, b: Side, significance: float) -> Iterator[str]:
    """Compare two sides; yield the findings line by line.

    Single runs are compared episode by episode, arms by pairs of the same seed.

    Raises:
        StudyError: they have no seed or no episode in common.
    """
    for name, side in zip(NAMES, (a, b), strict=True):
        yield f"{name}: {_describe(side)}"
        for seed, run in sorted(side.failed.items()):
            status = run.info["status"]
            yield f"   gave no result: seed {seed}, {status} ({run.path.name})"
        if side.role != REPORT:
            yield f"   on {side.role} episodes, by which settings are chosen"
    yield from _compare_settings(a, b)
    both = sorted(a.runs.keys() & b.runs.keys())
    if not both:
        seeds = [", ".join(map(str, side.runs)) for side in (a, b)]
        raise StudyError(
            f"A has seed {seeds[0]}, B has {seeds[1]}: expected runs of the same seed, "
            "or of the same seeds, which play the same episodes"
        )
    single = sorted(a.runs.keys() ^ b.runs.keys())
    if single:
        yield f"without a partner, left out: seed {', '.join(map(str, single))}"
    if len(both) == 1:
        yield from _compare_episodes(a, b, both[0], significance)
    else:
        yield from _compare_seeds(a, b, both, significance)


def _compare_episodes(
    a: Side, b: Side, seed: int, significance: float
) -> Iterator[str]:
    """Compare two runs episode by episode with McNemar's test."""
    rows = [{**row, "policy": RESIDUAL} for row in a.episodes[seed]]
    rows += [{**row, "policy": BASE} for row in b.episodes[seed]]
    n = len(rows) - len({row["seed"] for row in rows})
    test = mcnemar_test(rows)
    if n == 0 or test is None:
        raise StudyError(
            f"{a.path} and {b.path} played no episode in common: expected runs of one "
            "seed with the same evaluation.role"
        )
    yield (
        f"{n} episodes that both played: A alone solves {test.won}, B alone "
        f"{test.lost}; exact McNemar p = {test.p:.2g}"
    )
    if test.is_better(significance):
        yield "A is better than B on these episodes, beyond chance."
    elif test.is_worse(significance):
        yield "A is worse than B on these episodes, beyond chance."
    else:
        yield "No difference between A and B shown."
    yield ONE_TRAINING


def _compare_seeds(
    a: Side, b: Side, both: Sequence[int], significance: float
) -> Iterator[str]:
    """Compare two arms seed by seed with the sign-flip test."""
    for seed in both:
        own, other = ([row["seed"] for row in side.episodes[seed]] for side in (a, b))
        if own != other:
            raise StudyError(
                f"{a.runs[seed].path} and {b.runs[seed].path} did not play the same "
                f"episodes ({len(own)} and {len(other)})"
            )
    first, second = ({seed: side.means[seed] for seed in both} for side in (a, b))
    test = paired_test(first, second)
    found = test.difference
    effect = "" if test.effect is None else f", d_z = {test.effect:.2f}"
    yield (
        f"{test.n} pairs of the same seed: A - B = "
        f"{interval(SUCCESS, found.mean, found.low, found.high, sign=True)} points, "
        f"sign-flip test p = {test.p:.2g}{effect}"
    )
    if test.effect is None:
        yield "The difference is the same in all seeds: its interval has no width."
    # The remaining seeds say nothing about settings under which other seeds fail.
    failed = (a.failed.keys() & b.runs.keys()) | (b.failed.keys() & a.runs.keys())
    if failed:
        seeds = ", ".join(map(str, sorted(failed)))
        yield f"No claim: seed {seeds} gave no result in one of them."
        return
    verdict = verdicts({"": test}, significance)[""]
    yield f"A: {verdict.describe('B')}."
    if verdict.decision in CLAIMS:
        yield NOT_REGISTERED
        return
    planned = plan(test, alpha=significance)
    if planned.detectable is not None:
        size = SUCCESS.shown(planned.detectable)
        yield f"{test.n} pairs show a difference of {size} points with 80 % power."
    if planned.seeds_for is not None:
        yield f"A difference of the size seen takes about {planned.seeds_for} pairs."


def _describe(side: Side) -> str:
    """Return a line about one side, with the interval of its success rate."""
    numbers = [len(rows) for rows in side.episodes.values()]
    n = len(numbers)
    seeds = f"seed {min(side.means)}," if n == 1 else f"{n} seeds x"
    found = across_seeds(side.means, numbers, SUCCESS)
    success = interval(SUCCESS, found["mean"], found["low"], found["high"])
    what = f"{side.path}, {seeds} {numbers[0]} episodes"
    return f"{what}: {side.policy} success {success} %"


def _compare_settings(a: Side, b: Side) -> Iterator[str]:
    """Yield the keys and the choices of groups in which the two sides differ."""
    runs = [next(iter(side.runs.values())) for side in (a, b)]
    first, second = distinguishing_settings(runs)
    if not first:
        yield "their settings are the same"
        return
    yield "they differ in (A | B):"
    for key, value in first.items():
        yield f"  {key}: {value} | {second[key]}"


def _success(run: RunDir, rows: Episodes) -> float:
    """Return a policy's success rate, which `evaluation.json` has to confirm."""
    metric = f"{rows[0]['policy']}/{KEY}"
    value = checked_score(metric, rows, run.evaluation() or {}, str(run.path))
    assert value is not None  # there are episodes
    return value

"""`job=compare`: is one run, or one arm of several seeds, better than another?"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from so101rl.errors import ConfigError
from so101rl.runs.arms import StudyError, told_apart
from so101rl.runs.metrics import MEASURES, all_scores, checked_score
from so101rl.runs.run_dir import RunDir, find_runs
from so101rl.statistics import (
    BASE,
    RESIDUAL,
    Comparison,
    StatisticsError,
    compared,
    detectable,
    paired_test,
    seeds_for,
    seeds_needed,
    t_interval,
    verdicts,
    wilson,
)

KEY = "success_rate"
SUCCESS = MEASURES[KEY]
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
    """One of the two: a run, or several seeds of one arm.

    Attributes:
        path: as typed.
        policy: `residual`, or `base` where there is none.
        runs: by seed.
        episodes: of that policy, by seed.
        means: its success by seed.
        lost: runs that gave no result, by seed.
    """

    path: str
    policy: str
    runs: dict[int, RunDir]
    episodes: dict[int, list[dict[str, Any]]]
    means: dict[int, float]
    lost: dict[int, RunDir]

    @property
    def role(self) -> str:
        """Which episodes were played, see `so101rl.seeds`."""
        evaluation = next(iter(self.runs.values())).evaluation() or {}
        return str(all_scores(evaluation)[self.policy]["seeds"]["role"])


def compare(cfg: DictConfig) -> None:
    """Compare `runs=[A,B]` and say what may be said.

    Raises:
        So101Error: there are not two, or they cannot be compared.
    """
    paths = list(cfg.runs or [])
    if len(paths) != len(NAMES):
        expected = "two run directories, or two folders of runs: runs=[A,B]"
        raise ConfigError("runs", got=cfg.runs and paths, expected=expected)
    a, b = map(side_of, paths)
    for line in comparison(a, b, cfg.job.significance):
        print(line)


def side_of(path: str) -> Side:
    """Read what one of the two is.

    Raises:
        StudyError: no run there gave a result, or the runs are not of one arm.
    """
    if not Path(path).is_dir():
        raise StudyError(f"{path}: there is no such folder")
    found = find_runs([path])
    good = [run for run in found if run.info["status"] == "finished" and run.episodes()]
    if not good:
        raise StudyError(f"{path}: no finished run with held-out episodes in it")
    told = told_apart(good)
    others = [own for own in told if own != told[0]]
    if others:
        one, other = (_spoken(own) for own in (told[0], others[0]))
        raise StudyError(f"{path}: not one arm, there is {one} and {other}")
    runs: dict[int, RunDir] = {}
    for run in sorted(good, key=lambda run: int(run.info["seed"])):
        twin = runs.setdefault(run.info["seed"], run)
        if twin is not run:
            raise StudyError(f"{twin.path} and {run.path} have the same seed")
    played = {seed: run.episodes() for seed, run in runs.items()}
    policies = [{row["policy"] for row in rows} for rows in played.values()]
    policy = RESIDUAL if all(RESIDUAL in own for own in policies) else BASE
    episodes = {
        seed: [row for row in rows if row["policy"] == policy]
        for seed, rows in played.items()
    }
    means = {seed: _success(run, episodes[seed]) for seed, run in runs.items()}
    lost = {run.info["seed"]: run for run in found if run.info["seed"] not in runs}
    return Side(path, policy, runs, episodes, means, lost)


def comparison(a: Side, b: Side, significance: float) -> Iterator[str]:
    """What may be said of two sides, line by line.

    Raises:
        StudyError: they have played nothing in common.
    """
    for name, side in zip(NAMES, (a, b), strict=True):
        yield f"{name}: {_described(side)}"
        for seed, run in sorted(side.lost.items()):
            status = run.info["status"]
            yield f"   gave no result: seed {seed}, {status} ({run.path.name})"
        if side.role != REPORT:
            yield f"   on {side.role} episodes, by which settings are chosen"
    yield from _settings(a, b)
    both = sorted(a.runs.keys() & b.runs.keys())
    if not both:
        seeds = [", ".join(map(str, side.runs)) for side in (a, b)]
        raise StudyError(
            f"A has seed {seeds[0]}, B has {seeds[1]}: they played no episode in "
            "common; right are runs of the same seed, or of the same seeds"
        )
    alone = sorted(a.runs.keys() ^ b.runs.keys())
    if alone:
        yield f"without a partner, left out: seed {', '.join(map(str, alone))}"
    if len(both) == 1:
        yield from _two_policies(a, b, both[0], significance)
    else:
        yield from _two_settings(a, b, both, significance)


def _two_policies(a: Side, b: Side, seed: int, significance: float) -> Iterator[str]:
    """Episode by episode: exact McNemar."""
    rows = [{**row, "policy": RESIDUAL} for row in a.episodes[seed]]
    rows += [{**row, "policy": BASE} for row in b.episodes[seed]]
    n = len(rows) - len({row["seed"] for row in rows})
    pair = compared(rows)
    if n == 0 or pair is None:
        raise StudyError(
            f"{a.path} and {b.path} played no episode in common; right are runs of one "
            "seed with the same evaluation.role"
        )
    yield (
        f"{n} episodes that both played: A alone solves {pair.won}, B alone "
        f"{pair.lost}; exact McNemar p = {pair.p:.2g}"
    )
    if pair.is_better(significance):
        yield "A is better than B on these episodes, beyond chance."
    elif pair.is_worse(significance):
        yield "A is worse than B on these episodes, beyond chance."
    else:
        yield "No difference between A and B shown."
    yield ONE_TRAINING


def _two_settings(
    a: Side, b: Side, both: Sequence[int], significance: float
) -> Iterator[str]:
    """Seed by seed: the sign-flip test."""
    for seed in both:
        _check_same_episodes(a, b, seed)
    first, second = ({seed: side.means[seed] for seed in both} for side in (a, b))
    one = paired_test(first, second)
    found = one.difference
    effect = "" if one.effect is None else f", d_z = {one.effect:.2f}"
    mean = SUCCESS.shown(found.mean, sign=True)
    ends = f"[{SUCCESS.shown(found.low)}, {SUCCESS.shown(found.high)}]"
    yield (
        f"{one.n} pairs of the same seed: A - B = {mean} points {ends}, sign-flip test "
        f"p = {one.p:.2g}{effect}"
    )
    if one.effect is None:
        yield "The difference is the same in all seeds: its interval has no width."
    # The seeds that are left say nothing of settings under which others fail.
    lost = sorted((a.lost.keys() & b.runs.keys()) | (b.lost.keys() & a.runs.keys()))
    if lost:
        seeds = ", ".join(map(str, lost))
        yield f"No claim about A and B: seed {seeds} gave no result in one of them."
        return
    (verdict,) = verdicts({"": one}, significance).values()
    text = verdict.said(*NAMES)
    yield f"{text[0].upper()}{text[1:]}."
    if verdict.decision in ("better", "worse"):
        yield NOT_REGISTERED
    else:
        yield from _planned(one, significance)


def _planned(one: Comparison, significance: float) -> Iterator[str]:
    """How many seeds would decide."""
    if one.effect is None:
        return
    if one.n >= seeds_needed(1, significance):
        size = SUCCESS.shown(detectable(one.n, one.sd, alpha=significance))
        yield f"{one.n} pairs show a difference of {size} points with 80 % power."
    with suppress(StatisticsError):  # a difference of nearly 0 takes too many to count
        n = seeds_for(one.difference.mean, one.sd, alpha=significance)
        yield f"A difference of the size seen takes about {n} pairs."


def _described(side: Side) -> str:
    """A line about one of the two, with its own interval."""
    n, means = len(next(iter(side.episodes.values()))), side.means
    seeds = f"seed {min(means)}," if len(means) == 1 else f"{len(means)} seeds x"
    what = f"{side.path}, {seeds} {n} episodes"
    if len(set(means.values())) == 1:  # t would have no width: Wilson of one seed
        mean = means[min(means)]
        low, high = wilson(round(mean * n), n)
    else:
        found = t_interval(means)
        mean, low, high = found.mean, found.low, found.high
    ends = f"[{SUCCESS.shown(low)}, {SUCCESS.shown(high)}]"
    return f"{what}: {side.policy} success {SUCCESS.shown(mean)} % {ends}"


def _settings(a: Side, b: Side) -> Iterator[str]:
    """In what the two differ, by key or by choice of a group."""
    first, second = told_apart([next(iter(side.runs.values())) for side in (a, b)])
    if not first:
        yield "their settings are the same"
        return
    yield "they differ in (A | B):"
    for key, value in first.items():
        yield f"  {key}: {value} | {second[key]}"


def _check_same_episodes(a: Side, b: Side, seed: int) -> None:
    played = [[row["seed"] for row in side.episodes[seed]] for side in (a, b)]
    if played[0] != played[1]:
        raise StudyError(
            f"{a.runs[seed].path} and {b.runs[seed].path} did not play the same "
            f"episodes ({len(played[0])} and {len(played[1])}); arms are compared on "
            "the same ones"
        )


def _success(run: RunDir, rows: Sequence[Mapping[str, Any]]) -> float:
    """Success of a policy, which `evaluation.json` has to confirm."""
    metric = f"{rows[0]['policy']}/{KEY}"
    value = checked_score(metric, rows, run.evaluation() or {}, str(run.path))
    assert value is not None  # there are episodes
    return value


def _spoken(told: Mapping[str, str]) -> str:
    return " ".join(f"{key}={value}" for key, value in told.items())

"""Checks that held-out episodes have the right role and are the same in all arms."""

from so101rl.report.record import (
    EpisodesByPolicy,
    EpisodesByRun,
    RunRecord,
    StudyRecord,
)
from so101rl.runs.arms import StudyError
from so101rl.seeds import ROLES, TUNING_FROM, episode_seeds

REPORT = "report"


def check_root(record: RunRecord) -> None:
    """Raise a `StudyError` if a run's root seed is for tuning."""
    if record.seed >= TUNING_FROM:
        raise StudyError(
            f"{record.folder} ({record.run}): seed={record.seed}: expected less than "
            f"{TUNING_FROM}, from which on seeds are for tuning"
        )


def check_episodes(record: RunRecord, episodes: EpisodesByPolicy) -> None:
    """Raise a `StudyError` if episodes are not the run's report episodes, each once.

    An episode's seed determines its role and root, see `so101rl.seeds`. So this finds
    episodes that were used to train, select or tune, whatever the config says. Runs
    that begin with another run's policy pass, because that run saw other roles.
    """
    for policy, rows in episodes.items():
        own = episode_seeds(record.seed, REPORT, len(rows))
        found = [row["seed"] for row in rows]
        if found == own:
            continue
        wrong = [seed for seed in found if seed not in own]
        what = (
            describe_seed(wrong[0]) if wrong else "one episode twice, or not in order"
        )
        raise StudyError(
            f"{record.folder} ({record.run}), {policy}: {what}: expected the "
            f"{len(rows)} {REPORT} episodes of root seed {record.seed}"
        )


def check_same_number(study: StudyRecord, episodes: EpisodesByRun) -> None:
    """Raise a `StudyError` if arms to compare have different numbers of episodes."""
    first: dict[int, tuple[RunRecord, int]] = {}
    for record in study.results if study.reference else []:
        n = len(next(iter(episodes[record.uid].values())))
        other, n_other = first.setdefault(record.seed, (record, n))
        if n != n_other:
            raise StudyError(
                f"{other.folder} played {n_other} episodes and {record.folder} {n}: "
                "expected the same ones in all arms"
            )


def describe_seed(seed: int) -> str:
    """Return role, number and root of the episode that has this seed."""
    for role in ROLES:
        first = episode_seeds(0, role, 1)[0]
        step = episode_seeds(1, role, 1)[0] - first
        root, number = divmod(seed - first, step)
        if 0 <= root < 2**32:
            return f"{role} episode {number} of root seed {root}"
    return f"an episode with the unknown seed {seed}"

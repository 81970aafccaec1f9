"""The episodes that judge: of the right role, the run's own, the same in every arm."""

from collections.abc import Mapping

from so101rl.report.record import Record, Rows, Study
from so101rl.runs.arms import StudyError
from so101rl.seeds import ROLES, TUNING_FROM, episode_seeds

REPORT = "report"
Played = Mapping[str, Mapping[str, Rows]]  # by uid and policy


def check_root(record: Record) -> None:
    """Refuse a run that belongs to a search of settings.

    Raises:
        StudyError: its root seed is for tuning.
    """
    if record.seed >= TUNING_FROM:
        raise StudyError(
            f"{record.folder} ({record.run}) has the seed {record.seed}, which is for "
            f"tuning; a report takes seeds below {TUNING_FROM}"
        )


def check_episodes(record: Record, played: Mapping[str, Rows]) -> None:
    """Refuse episodes that somebody may have trained, selected or tuned on.

    Role and root of an episode stand in its seed, see `so101rl.seeds`: nothing but the
    number has to be believed, and `evaluation.role=tune` shows in it. A run that began
    with another run's policy is fine, for whatever that one saw has another role.

    Raises:
        StudyError: an episode is not one of the run's own report episodes, each once.
    """
    for policy, rows in played.items():
        own = episode_seeds(record.seed, REPORT, len(rows))
        found = [row["seed"] for row in rows]
        if found == own:
            continue
        wrong = [seed for seed in found if seed not in own]
        what = _spoken(wrong[0]) if wrong else "one episode twice, or not in order"
        raise StudyError(
            f"{record.folder} ({record.run}), {policy}: {what}; right are the "
            f"{len(rows)} {REPORT} episodes of root seed {record.seed}"
        )


def check_same(study: Study, played: Played) -> None:
    """Refuse arms that were to be compared and did not play the same episodes.

    Raises:
        StudyError: two runs of one seed did not.
    """
    first: dict[int, tuple[Record, int]] = {}
    for record in study.records:
        if not study.reference or not record.counts:
            continue
        n = len(next(iter(played[record.uid].values())))
        before, n_before = first.setdefault(record.seed, (record, n))
        if n != n_before:
            raise StudyError(
                f"{before.folder} played {n_before} episodes and {record.folder} {n}; "
                "arms are compared on the same ones"
            )


def _spoken(seed: int) -> str:
    """What an episode is, by its seed."""
    for role in ROLES:
        first = episode_seeds(0, role, 1)[0]
        step = episode_seeds(1, role, 1)[0] - first
        root, number = divmod(seed - first, step)
        if 0 <= root < 2**32:
            return f"{role} episode {number} of root seed {root}"
    return f"an episode with the foreign seed {seed}"

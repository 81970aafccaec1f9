"""The notes below the table of a report, as plain text."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from so101rl.report.record import MISSING, StudyRecord
from so101rl.report.table import DEVIATES, INCOMPLETE, PRELIMINARY, WILSON, Row, T
from so101rl.report.verdict import ArmComparison
from so101rl.runs.metrics import Metric
from so101rl.statistics import MIN_SEEDS
from so101rl.statistics.multiple_comparisons import UNDECIDED

HASH_LENGTH = 10  # characters of a hash
MOST_PAIRS = 1000  # the largest number of pairs that is written exactly


@dataclass(frozen=True)
class Note:
    """A note below the table: a text, then a list; an important one is emphasized."""

    text: str
    items: list[str] = field(default_factory=list)
    is_important: bool = False


def notes(
    study: StudyRecord,
    rows: Sequence[Row],
    found: Sequence[ArmComparison],
    metric: Metric,
) -> list[Note]:
    """Return all notes; how to read the table comes first."""
    return [
        Note(" ".join(_reading(rows))),
        *([Note(" ".join(_testing(study, found)))] if study.reference else []),
        *_without_result(study),
        *_weak_intervals(rows, found),
        *_improvements(found),
        *_plans(found, metric),
        *_deviations(study),
        *_origin(study),
        *map(Note, study.remarks),
    ]


def _reading(rows: Sequence[Row]) -> Iterator[str]:
    """Explain those kinds of cells that occur in the table."""
    kinds = {row.by for row in rows}
    if T in kinds:
        yield (
            "Mean over seeds [95 % t interval over the seed means]. It is not clipped: "
            "an end below 0 or above 100 says that the seeds are too few for how much "
            "they differ."
        )
    if WILSON in kinds:
        yield "W: the seed means are equal or one; Wilson interval of one seed."
    yield "IQM: mean over the seeds without the best and the worst quarter."
    marks = {mark for row in rows for mark in row.marks}
    if PRELIMINARY in marks:
        yield f"{PRELIMINARY}: fewer than {MIN_SEEDS} seeds."
    if INCOMPLETE in marks:
        yield f"{INCOMPLETE}: the mean of those seeds alone that gave a result."
    if DEVIATES in marks:
        yield f"{DEVIATES}: some of its runs are not what was registered, see below."


def _testing(study: StudyRecord, found: Sequence[ArmComparison]) -> Iterator[str]:
    """Explain how the arms are compared."""
    yield (
        "Difference: mean over pairs of the same seed, which play the same held-out "
        "episodes [95 % t interval]. p: sign-flip permutation test over the pairs, "
        f"two-sided; p (Holm): adjusted for {len(found)} comparisons. A verdict takes "
        f"p (Holm) <= {study.significance:g}; without it no difference is shown, "
        "whatever the means look like. d_z: mean difference / standard deviation of "
        "the differences."
    )
    if any(one.exact is False for one in found):
        yield "Above 16 pairs p counts 99,999 random sign flips."


def _without_result(study: StudyRecord) -> Iterator[Note]:
    """List runs that gave no result, and planned runs that do not exist."""
    solved = {(record.arm, record.seed) for record in study.results}
    runs = [record for record in study.records if record.status != MISSING]
    failed = [record for record in runs if not record.has_result]
    items = []
    for one in failed:
        has_other = (one.arm, one.seed) in solved
        other = "; another run of this seed gave one" if has_other else ""
        run = f"{one.folder} ({one.run}; {one.arm}, seed {one.seed})"
        items.append(f"{run}: {one.status}, {one.reason}{other}")
    if items:
        text = f"{len(items)} of {len(runs)} runs gave no result:"
        yield Note(text, items, is_important=True)
    n_missing = len(study.records) - len(runs)
    if n_missing:
        planned = sum(map(len, study.arms.values()))
        seeds: dict[str, list[str]] = {arm: [] for arm in study.arms}
        for one in study.records:
            if one.status == MISSING:
                seeds[one.arm].append(str(one.seed))
        items = [f"{arm}: seed {', '.join(own)}" for arm, own in seeds.items() if own]
        text = f"Registered runs that are missing, {n_missing} of {planned}:"
        yield Note(text, items, is_important=True)


def _weak_intervals(
    rows: Sequence[Row], found: Sequence[ArmComparison]
) -> Iterator[Note]:
    """List intervals that may cover too little, or have no width."""
    items = [f"{row.name}: the seed means look {row.odd}" for row in rows if row.odd]
    items += [
        f"{one.arm} - {one.reference}: the differences look {one.odd}"
        for one in found
        if one.odd
    ]
    if items:
        yield Note("Intervals that may cover too little:", items)
    differing = [one for one in found if one.difference is not None]
    equal = [one.arm for one in differing if one.effect is None]
    if equal:
        yield Note(
            f"The difference to {found[0].reference} is the same in all seeds for "
            f"{', '.join(equal)}: its interval has no width, the truth has."
        )


def _improvements(found: Sequence[ArmComparison]) -> Iterator[Note]:
    """List the probability that a seed of an arm has more than one of the reference."""
    items = [
        f"{one.arm}: {one.improvement:.2f} "
        f"[{one.improvement_low:.2f}, {one.improvement_high:.2f}]"
        for one in found
        if one.improvement is not None
    ]
    if items:
        ref = found[0].reference
        text = f"P(any seed of the arm has more than any of {ref}), ties half [95 %]:"
        yield Note(text, items)


def _plans(found: Sequence[ArmComparison], metric: Metric) -> Iterator[Note]:
    """Say what undecided comparisons could have shown, and with how many pairs."""
    unit = "points" if metric.unit == "%" else metric.unit
    items = []
    for one in found:
        if one.decision != UNDECIDED:
            continue
        parts = []
        if one.detectable is not None:
            size = f"{metric.shown(one.detectable)} {unit}".strip()
            parts.append(f"{len(one.seeds)} pairs show a difference of {size}")
        if one.seeds_for is not None:
            few = one.seeds_for <= MOST_PAIRS
            pairs = f"about {one.seeds_for}" if few else f"more than {MOST_PAIRS:,}"
            parts.append(f"one of the size seen takes {pairs} pairs")
        if parts:
            items.append(f"{one.arm}: {'; '.join(parts)}")
    if items:
        power = "80 % power by a t test; this test has some percent less"
        yield Note(f"Where no difference is shown ({power}):", items)


def _deviations(study: StudyRecord) -> Iterator[Note]:
    """Name the registration and the deviations from it."""
    if not study.registration:
        if study.reference == "":
            yield Note("No test was registered, so there is no verdict.")
        return
    when, digest = study.registration["registered"], study.registration["sha256"]
    git = study.registration["git"] or {}
    commit = (git.get("commit") or "unknown")[:HASH_LENGTH]
    dirty = ", with changes that were not committed" if git.get("dirty") else ""
    yield Note(
        f"Registered {when[:16].replace('T', ' ')} UTC at commit {commit}{dirty}; "
        f"sha256 {digest[:HASH_LENGTH]}. Runs started before that are deviations."
    )
    n = len(study.deviations)
    if n:
        text = f"{n} deviation{'s' if n > 1 else ''} from what was registered:"
        yield Note(text, study.deviations, is_important=True)


def _origin(study: StudyRecord) -> Iterator[Note]:
    """Name the code that the runs come from."""
    runs = [record for record in study.records if record.status != MISSING]
    commits = sorted({(one.commit or "unknown")[:HASH_LENGTH] for one in runs})
    yield Note(f"Commit: {', '.join(commits) or 'none'}.")
    codes = {one.code for one in runs}
    if len(codes) > 1:
        yield Note("The runs come from different code.", is_important=True)
    elif len(commits) > 1:
        yield Note("The package's code is the same at all of these commits.")
    dirty = sum(bool(one.dirty) for one in runs)
    if dirty:
        text = f"{dirty} of {len(runs)} runs had changes that were not committed."
        yield Note(text, is_important=True)

"""Runs that nobody registered, put into arms by what they have in common."""

from collections.abc import Sequence

from so101rl.report.record import Source, Study, record
from so101rl.report.registered import complete
from so101rl.runs.arms import StudyError, bare_base, told_apart
from so101rl.runs.run_dir import RunDir

LONGEST = 60  # characters of an arm's name; longer ones are spelled out below the table
METRIC = "residual/success_rate"


def grouped(runs: Sequence[RunDir], name: str) -> Source:
    """Make a study of runs, without reference and without test.

    Runs whose configs differ in nothing but the seed are seeds of one arm.

    Args:
        runs: all of them, those that failed too.
        name: what to call the study.

    Raises:
        StudyError: there are no runs, or a seed of an arm has two results.
    """
    for run in runs:
        run.update_status()
    bare = [run for run in runs if bare_base(run)]
    runs = [run for run in runs if run not in bare]
    remarks = []
    if bare:
        names = ", ".join(run.info["name"] for run in bare)
        remarks = [f"Left out, for they evaluate a base policy alone: {names}."]
    if not runs:
        wanted = "right are folders that hold a run.json of job=train below"
        raise StudyError(" ".join(["no runs;", wanted, *remarks]))
    texts = [
        " ".join(f"{key}={value}" for key, value in told.items())
        for told in told_apart(runs)
    ]
    called, spelled = _names(sorted(set(texts)), runs)
    if len(called) > 1 and _in_common(runs):
        remarks.insert(0, f"All runs: {_in_common(runs)}.")
    found = sorted(
        (
            record(run, called[text], METRIC)
            for run, text in zip(runs, texts, strict=True)
        ),
        key=lambda one: (list(called.values()).index(one.arm), one.seed, one.folder),
    )
    arms = {
        arm: sorted({one.seed for one in found if one.arm == arm})
        for arm in called.values()
    }
    study = Study(
        name=name,
        metric=METRIC,
        arms=arms,
        records=complete(arms, found),
        remarks=[*remarks, *spelled],
    )
    return Source(study, {run.info["uid"]: run for run in runs})


def _names(
    texts: Sequence[str], runs: Sequence[RunDir]
) -> tuple[dict[str, str], list[str]]:
    """An arm's name by what tells it apart, and words for those that are cut short."""
    if len(texts) == 1:
        return {texts[0]: _in_common(runs)}, []
    names: dict[str, str] = {}
    spelled: list[str] = []
    for text in texts:
        names[text] = text
        if len(text) > LONGEST:
            names[text] = f"variant {len(spelled) + 1}"
            spelled.append(f"{names[text]}: {text}")
    return names, spelled


def _in_common(runs: Sequence[RunDir]) -> str:
    """What all runs are."""
    described = [_what(run) for run in runs]
    return " / ".join(
        part for part in described[0] if all(part in own for own in described)
    )


def _what(run: RunDir) -> list[str]:
    groups = run.info["groups"]
    missing = [key for key in ("env", "base_policy", "algo") if key not in groups]
    if missing:
        raise StudyError(f"{run.path}: run.json names no {', '.join(missing)}")
    return [str(groups[key]) for key in ("env", "base_policy", "algo")]

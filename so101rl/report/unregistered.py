"""Makes a study of any runs, grouped into arms by their settings."""

from collections.abc import Sequence

from so101rl.report.record import LoadedStudy, StudyRecord, read_record
from so101rl.report.registered import with_missing
from so101rl.runs.arms import StudyError, arm_texts, evaluates_base_only
from so101rl.runs.run_dir import RunDir

LONGEST_NAME = 60  # characters of an arm; longer ones are written below the table
METRIC = "residual/success_rate"


def load_unregistered(runs: Sequence[RunDir], name: str) -> LoadedStudy:
    """Make a study of runs, including failed ones; it has no reference and no test.

    Runs whose configs differ only in the seed are seeds of one arm.

    Raises:
        StudyError: there are no runs, or a seed of an arm has two results.
    """
    for run in runs:
        run.update_status()
    bare = [run for run in runs if evaluates_base_only(run)]
    runs = [run for run in runs if run not in bare]
    remarks = []
    if bare:
        names = ", ".join(run.info["name"] for run in bare)
        remarks = [f"Left out, for they evaluate a base policy alone: {names}."]
    if not runs:
        expected = "no runs: expected folders with a run.json of job=train below them"
        raise StudyError("; ".join([expected, *remarks]))
    texts, common = arm_texts(runs), _common_choices(runs)
    arm_names, long_names = _names(sorted(set(texts)), common)
    if len(arm_names) > 1 and common:
        remarks.insert(0, f"All runs: {common}.")
    records = [
        read_record(run, arm_names[text], METRIC)
        for run, text in zip(runs, texts, strict=True)
    ]
    records.sort(key=lambda record: record.folder)
    arms = {
        arm: sorted({record.seed for record in records if record.arm == arm})
        for arm in arm_names.values()
    }
    study = StudyRecord(
        name=name,
        metric=METRIC,
        arms=arms,
        records=with_missing(arms, records),
        remarks=[*remarks, *long_names],
    )
    return LoadedStudy(study, {run.info["uid"]: run for run in runs})


def _names(texts: Sequence[str], common: str) -> tuple[dict[str, str], list[str]]:
    """Return the arms' names by their settings, and notes that explain short names."""
    if len(texts) == 1:
        return {texts[0]: common}, []
    names: dict[str, str] = {}
    notes: list[str] = []
    for text in texts:
        names[text] = text
        if len(text) > LONGEST_NAME:
            names[text] = f"variant {len(notes) + 1}"
            notes.append(f"{names[text]}: {text}")
    return names, notes


def _common_choices(runs: Sequence[RunDir]) -> str:
    """Return the choices of env, base policy and algorithm that all runs share."""
    choices = [run.info["groups"] for run in runs]
    for run, own in zip(runs, choices, strict=True):
        missing = [key for key in ("env", "base_policy", "algo") if key not in own]
        if missing:
            raise StudyError(f"{run.path}: run.json names no {', '.join(missing)}")
    common: list[str] = []
    for key in ("env", "base_policy", "algo"):
        values = {str(own[key]) for own in choices}
        common += values if len(values) == 1 else []
    return " / ".join(common)

"""Loads a study that was registered before its first run, and finds deviations."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from so101rl.files import read_json
from so101rl.report.record import LoadedStudy, RunRecord, StudyRecord, read_record
from so101rl.runs.arms import StudyError, arm_settings, arm_values
from so101rl.runs.differences import differences
from so101rl.runs.metrics import find_metric, number_of
from so101rl.runs.preregistration import FILE, sha256
from so101rl.runs.run_dir import RunDir, find_runs

KEPT = ("command", "sha256", "registered", "git")  # of a registration, in report.json
MOST_CHANGES = 4  # settings of a run that are listed; the rest is counted


def load_registered(sweep: Path, study_now: Mapping[str, Any] | None) -> LoadedStudy:
    """Load the registered study in the folder of a sweep.

    `study_now` is the node `study` of the present config, if it is known.

    Raises:
        StudyError: there is no registration, it was edited, or a seed of an arm has two
            results.
    """
    registration = read_registration(sweep)
    plan = _plan(registration)
    find_metric(plan["metric"])  # raises if there is no such metric
    runs = find_runs([sweep])
    for run in runs:
        run.update_status()
    members, outsiders = _split_members(runs, registration)
    records: list[RunRecord] = []
    seeds: dict[tuple[str, str], list[int]] = {}  # by arm and deviation
    for run, arm in members:
        found = list(_run_deviations(run, arm, registration))
        record = read_record(run, arm, plan["metric"])
        records.append(replace(record, deviates=bool(found)))
        for deviation in found:
            seeds.setdefault((arm, deviation), []).append(record.seed)
    by_runs = [
        f"{arm}, seed {', '.join(map(str, sorted(own)))}: {deviation}"
        for (arm, deviation), own in sorted(seeds.items())
    ]
    told = (number_of(run, plan["metric"]) for run, _ in members)
    study = StudyRecord(
        number=next(filter(None, told), {}),
        records=with_missing(plan["arms"], records),
        deviations=[*_study_changes(registration, study_now), *by_runs, *outsiders],
        **plan,
    )
    return LoadedStudy(study, {run.info["uid"]: run for run, _ in members})


def check_registration(folder: Path, study: StudyRecord) -> None:
    """Raise a `StudyError` if a report differs from the registration in its folder."""
    for name, value in _plan(read_registration(folder)).items():
        if getattr(study, name) != value:
            raise StudyError(
                f"{folder / FILE} has {name} {value}, the report {getattr(study, name)}"
            )


def _plan(registration: Mapping[str, Any]) -> dict[str, Any]:
    """Return the fields of `StudyRecord` that a registration determines."""
    study = registration["study"]
    return {
        "name": registration["name"],
        "metric": study["metric"],
        "arms": {arm: list(study["seeds"]) for arm in study["arms"]},
        "question": study["question"],
        "reference": study["reference"],
        "significance": study["significance"],
        "registration": {key: registration[key] for key in KEPT if key in registration},
    }


def with_missing(
    arms: Mapping[str, Sequence[int]], records: Sequence[RunRecord]
) -> list[RunRecord]:
    """Return the records by arm and seed, with one for each missing run.

    Raises:
        StudyError: a seed of an arm has two results.
    """
    found: list[RunRecord] = []
    for arm, seeds in arms.items():
        for seed in seeds:
            own = [one for one in records if (one.arm, one.seed) == (arm, seed)]
            results = [one for one in own if one.has_result]
            if len(results) > 1:
                raise StudyError(
                    f"{results[0].folder} and {results[1].folder} ({results[1].run}) "
                    f"are both seed {seed} of {arm}: expected one result per seed"
                )
            found += own or [RunRecord(arm, seed)]
    return found


def read_registration(folder: Path) -> dict[str, Any]:
    """Read the registration in a folder.

    Raises:
        StudyError: there is none, or it was edited.
    """
    path = folder / FILE
    if not path.is_file():
        raise StudyError(
            f"{folder} holds no {FILE}: expected the folder of a study that has been "
            "started (python main.py -m experiment=NAME), or runs=[DIR,...] out=DIR"
        )
    content = read_json(path)
    registered = {key: content[key] for key in ("study", "settings")}
    if sha256(registered) != content["sha256"]:
        raise StudyError(f"{path} has been edited: its hash does not fit its content")
    return content


def _split_members(
    runs: Sequence[RunDir], registration: Mapping[str, Any]
) -> tuple[list[tuple[RunDir, str]], list[str]]:
    """Return the study's runs with their arms, and notes about all other runs."""
    members, outsiders = [], []
    for run in runs:
        part, seed = run.info.get("part_of") or {}, run.info["seed"]
        arm = part.get("arm")
        if part.get("sweep") != registration["name"] or arm is None:
            why = "is no run of this study"
        elif arm not in registration["study"]["arms"]:
            why = f"is of an arm that was not registered, {arm}"
        elif seed not in registration["study"]["seeds"]:
            why = f"has a seed that was not registered, {seed}"
        else:
            members.append((run, arm))
            continue
        name = f"{'/'.join(run.path.parts[-2:])} ({run.info['name']})"
        outsiders.append(f"{name} {why}; left out of the table")
    return members, outsiders


def _study_changes(
    registration: Mapping[str, Any], study_now: Mapping[str, Any] | None
) -> Iterator[str]:
    """Yield what changed in the study's config since it was registered."""
    known = set()
    for entry in registration["deviations"]:
        commit = ((entry["git"] or {}).get("commit") or "unknown")[:10]
        known.update(entry["changes"])
        for change in entry["changes"]:
            yield f"{entry['at'][:16]}, commit {commit}: {change}"
    if study_now is None:
        return
    now = {"study": {**study_now, "seeds": list(range(study_now["seeds"]))}}
    for change in differences({"study": registration["study"]}, now):
        if change not in known:
            yield f"in the study's file by now, but run as registered: {change}"


def _run_deviations(
    run: RunDir, arm: str, registration: Mapping[str, Any]
) -> Iterator[str]:
    """Yield how a run differs from what was registered."""
    later = [entry["sha256"] for entry in registration["deviations"]]
    if run.info["part_of"].get("registration") not in [registration["sha256"], *later]:
        yield "started under another registration"
    if run.info["started"] < registration["registered"]:
        yield "started before the study was registered"
    found = differences(arm_values(registration["settings"][arm]), arm_settings(run))
    if len(found) > MOST_CHANGES:
        found[MOST_CHANGES:] = [f"{len(found) - MOST_CHANGES} more"]
    if found:
        yield f"other settings, {', '.join(found)}"

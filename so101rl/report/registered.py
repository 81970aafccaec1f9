"""The runs of a study that was registered before its first run, and what broke that."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from so101rl.files import read_json
from so101rl.report.record import Record, Source, Study, record
from so101rl.runs.arms import StudyError, arm_settings, changes, spoken
from so101rl.runs.differences import differences
from so101rl.runs.metrics import measure_of
from so101rl.runs.preregistration import FILE, sha256
from so101rl.runs.run_dir import RunDir, find_runs

KEPT = ("command", "sha256", "registered", "git")  # of a registration, in report.json
LISTED = 4  # keys of a run that differ, before the rest is counted


def registered(sweep: Path, study_now: Mapping[str, Any] | None) -> Source:
    """Read a study's folder.

    Args:
        sweep: folder of `registration.json` and of the runs, ARM/seed-N each.
        study_now: what the study's yaml says today, if it is known.

    Raises:
        StudyError: there is no registration, somebody edited it, or a seed of an arm
            has two results.
    """
    promise = promise_in(sweep)
    study = promise["study"]
    measure_of(study["metric"])
    runs = find_runs([sweep])
    for run in runs:
        run.update_status()
    members, strangers = _members(runs, promise)
    found: list[Record] = []
    told: dict[tuple[str, str], list[int]] = {}  # seeds by arm and what is wrong
    for run, arm in members:
        breaches = list(_breaches(run, arm, promise))
        one = record(run, arm, study["metric"])
        found.append(replace(one, deviates=bool(breaches)))
        for breach in breaches:
            told.setdefault((arm, breach), []).append(one.seed)
    by_uid = {run.info["uid"]: run for run, _ in members}
    plan = _plan(promise)
    breaches = [
        f"{arm}, seed {', '.join(map(str, sorted(seeds)))}: {breach}"
        for (arm, breach), seeds in sorted(told.items())
    ]
    deviations = [*_edits(promise, study_now), *breaches, *strangers]
    records = complete(plan["arms"], found)
    made = Study(records=records, deviations=deviations, **plan)
    return Source(made, by_uid)


def check_promise(folder: Path, study: Study) -> None:
    """Refuse a report's facts that are not what its `registration.json` has.

    Raises:
        StudyError: naming the first.
    """
    for name, value in _plan(promise_in(folder)).items():
        if getattr(study, name) != value:
            raise StudyError(
                f"{folder / FILE} has {name} {value}, the report {getattr(study, name)}"
            )


def _plan(promise: Mapping[str, Any]) -> dict[str, Any]:
    """What a registration says of a study: the fields of `Study` by name."""
    study = promise["study"]
    return {
        "name": promise["name"],
        "metric": study["metric"],
        "arms": {arm: list(study["seeds"]) for arm in study["arms"]},
        "question": study["question"],
        "reference": study["reference"],
        "significance": study["significance"],
        "registration": {key: promise[key] for key in KEPT if key in promise},
    }


def complete(arms: Mapping[str, Sequence[int]], found: list[Record]) -> list[Record]:
    """The records arm by arm and seed by seed, with one for each run that is missing.

    Raises:
        StudyError: a seed of an arm has two results.
    """
    records = []
    for arm, seeds in arms.items():
        for seed in seeds:
            own = [one for one in found if (one.arm, one.seed) == (arm, seed)]
            good = [one for one in own if one.counts]
            if len(good) > 1:
                raise StudyError(
                    f"{good[0].folder} and {good[1].folder} ({good[1].run}) are both "
                    f"seed {seed} of {arm}; leave one of them out"
                )
            records += own or [Record(arm, seed)]
    return records


def promise_in(sweep: Path) -> dict[str, Any]:
    """The registration in a folder.

    Raises:
        StudyError: there is none, or somebody has edited it.
    """
    path = sweep / FILE
    if not path.is_file():
        raise StudyError(
            f"{sweep} holds no {FILE}; right is the folder of a study that has been "
            "started (python main.py -m experiment=NAME), or runs=[DIR,...] out=DIR"
        )
    promise = read_json(path)
    if (
        sha256({key: promise[key] for key in ("study", "settings")})
        != promise["sha256"]
    ):
        raise StudyError(f"{path} has been edited: its hash is that of something else")
    return promise


def _members(
    runs: Sequence[RunDir], promise: Mapping[str, Any]
) -> tuple[list[tuple[RunDir, str]], list[str]]:
    """The runs of the study with their arm, and words for those of none."""
    members, strangers = [], []
    for run in runs:
        part, seed = run.info.get("part_of") or {}, run.info["seed"]
        arm = part.get("arm")
        if part.get("sweep") != promise["name"] or arm is None:
            why = "is no run of this study"
        elif arm not in promise["study"]["arms"]:
            why = f"is of an arm that was not registered, {arm}"
        elif seed not in promise["study"]["seeds"]:
            why = f"has a seed that was not registered, {seed}"
        else:
            members.append((run, arm))
            continue
        strangers.append(f"{_name(run)} {why}; left out of the table")
    return members, strangers


def _edits(
    promise: Mapping[str, Any], study_now: Mapping[str, Any] | None
) -> Iterator[str]:
    """Changes of the study's file since it was registered."""
    for entry in promise["deviations"]:
        commit = ((entry["git"] or {}).get("commit") or "unknown")[:10]
        for change in entry["changes"]:
            yield f"{entry['at'][:16]}, commit {commit}: {change}"
    if study_now is None:
        return
    known = {change for entry in promise["deviations"] for change in entry["changes"]}
    seeds = list(range(study_now["seeds"]))
    now = {"study": {**study_now, "seeds": seeds}}
    for change in differences({"study": promise["study"]}, now):
        if change not in known:
            yield f"in the study's file by now, but run as registered: {change}"


def _breaches(run: RunDir, arm: str, promise: Mapping[str, Any]) -> Iterator[str]:
    """What a run is that was not promised."""
    hashes = {promise["sha256"], *(one["sha256"] for one in promise["deviations"])}
    if run.info["part_of"].get("registration") not in hashes:
        yield "started under another registration"
    if run.info["started"] < promise["registered"]:
        yield "started before the study was registered"
    found = changes(spoken(promise["settings"][arm]), arm_settings(run))
    if found:
        said = [f"{key}: {was} -> {now}" for key, was, now in found[:LISTED]]
        more = [f"{len(found) - LISTED} more"] if len(found) > LISTED else []
        yield f"other settings, {', '.join([*said, *more])}"


def _name(run: RunDir) -> str:
    return f"{'/'.join(run.path.parts[-2:])} ({run.info['name']})"

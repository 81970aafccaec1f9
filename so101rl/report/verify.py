"""Compares a written report with its episodes and runs (`job=report verify=true`)."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from itertools import zip_longest
from pathlib import Path
from typing import Any

from so101rl.errors import So101Error
from so101rl.report import raw
from so101rl.report.document import make_report
from so101rl.report.folder import JSON, PICTURE, texts
from so101rl.report.record import EpisodesByRun, LoadedStudy, StudyRecord, episodes_of
from so101rl.report.registered import check_registration
from so101rl.runs.preregistration import FILE

LONGEST_LINE = 120  # characters shown of a line that differs
ABSENT = "nothing"


class VerifyError(So101Error):
    """A written report differs from what its episodes, or its runs, give."""


def verify(folder: Path, loaded: LoadedStudy | None) -> list[str]:
    """Compute a report again from `episodes.csv.gz` and compare it, byte for byte.

    `loaded` is the study as its run directories have it; None if there are none.

    Returns:
        Sentences that say what was compared.

    Raises:
        VerifyError: naming the first difference.
    """
    written = _read(folder, JSON)
    episodes = raw.unpack_episodes(folder / raw.EPISODES_GZ)
    study = StudyRecord.from_json(written)
    if study.reference or (folder / FILE).exists():
        check_registration(folder, study)
    picture = folder / PICTURE
    drawn = picture.read_bytes() if picture.exists() else None
    computed = texts(folder, make_report(study, episodes), episodes, drawn)
    content = json.loads(computed[JSON])
    for place, was, now in _differences(json.loads(written), content):
        raise VerifyError(f"{folder / JSON}, {place}: written {was}, computed {now}")
    for name, text in computed.items():
        _compare_lines(folder / name, text)
    numbers = sum(type(leaf) in (int, float) for _, leaf in _leaves(content))
    n = sum(len(rows) for own in episodes.values() for rows in own.values())
    result = (
        f"computed again from {n:,} episodes and identical: {', '.join(computed)} "
        f"({numbers:,} numbers of {JSON} to the last bit)"
    )
    if loaded is None:
        return [result, "not compared with run directories, which are not there"]
    return [result, *_compare_runs(folder, study, episodes, loaded)]


def _compare_runs(
    folder: Path, study: StudyRecord, episodes: EpisodesByRun, loaded: LoadedStudy
) -> Iterator[str]:
    """Compare a report with those run directories that still exist."""
    now, runs = loaded
    known = {record.uid: record for record in study.records if record.uid}
    for uid, run in runs.items():
        if uid not in known:
            raise VerifyError(f"{run.path} is not in {folder / JSON}; make it again")
        if known[uid].has_result and episodes_of(run) != episodes[uid]:
            raise VerifyError(f"{run.path}: {raw.EPISODES_GZ} has other episodes")
    is_complete = len(runs) == len(known)
    pairs: list[tuple[str, Any, Any]] = [("study", study, now)]
    if not is_complete:
        by_uid = {record.uid: record for record in now.records}
        pairs = [(known[uid].folder, known[uid], by_uid[uid]) for uid in runs]
    for name, was, is_now in pairs:
        for place, one, other in _differences(asdict(was), asdict(is_now)):
            raise VerifyError(
                f"{folder / JSON}, {name}/{place}: written {one}, the runs have {other}"
            )
    yield f"episodes and facts are those of {len(runs)} of {len(known)} run directories"
    if is_complete:
        curves = raw.write_curves(study, raw.read_curves(study, runs))
        _compare_lines(folder / raw.CURVES, curves)
        yield f"{raw.CURVES} is what they logged"


def _read(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise VerifyError(f"cannot read {folder / name}: {error}") from error


def _compare_lines(path: Path, computed: str) -> None:
    """Raise at the first line of a file that differs from the computed one."""
    written = _read(path.parent, path.name).split("\n")
    lines = zip_longest(written, computed.split("\n"), fillvalue="(end)")
    for number, (was, now) in enumerate(lines, start=1):
        if was != now:
            raise VerifyError(
                f"{path}, line {number}:\n  written  {was[:LONGEST_LINE]}\n"
                f"  computed {now[:LONGEST_LINE]}"
            )


def _differences(written: Any, computed: Any) -> Iterator[tuple[str, Any, Any]]:
    """Yield place and both values wherever two JSON contents differ."""
    first, second = dict(_leaves(written)), dict(_leaves(computed))
    for place in dict.fromkeys([*first, *second]):
        was, now = first.get(place, ABSENT), second.get(place, ABSENT)
        if was != now:
            yield place, was, now


def _leaves(content: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Yield place and value of every number, text and empty container in a content."""
    if not content or not isinstance(content, dict | list):
        yield place, content
        return
    items = content.items() if isinstance(content, dict) else enumerate(content)
    for key, value in items:
        yield from _leaves(value, f"{place}/{key}" if place else str(key))

"""`job=report verify=true`: is a written report what its episodes and runs say?"""

import json
from collections.abc import Iterator
from itertools import zip_longest
from pathlib import Path
from typing import Any

from so101rl.errors import So101Error
from so101rl.figures.style import curve
from so101rl.report.document import report_of, study_in
from so101rl.report.files import JSON, PICTURE, texts
from so101rl.report.held_out import Played
from so101rl.report.raw import (
    CURVE,
    CURVES,
    EPISODES_GZ,
    unpack_episodes,
    write_curves,
)
from so101rl.report.record import Source, Study, played_in
from so101rl.report.registered import check_promise
from so101rl.runs.preregistration import FILE

SHOWN = 120  # characters of a line that differs


class VerifyError(So101Error):
    """A written report does not say what its episodes, or its runs, say."""


def verify(folder: Path, source: Source | None) -> list[str]:
    """Compute a report again from `episodes.csv.gz` and compare it, byte for byte.

    Args:
        folder: of the report.
        source: the study as the runs that are still there tell it; None without any.

    Returns:
        What was compared, in words.

    Raises:
        VerifyError: with the first difference.
    """
    written = _written(folder, JSON)
    played = unpack_episodes(folder / EPISODES_GZ)
    study = study_in(written)
    if study.reference or (folder / FILE).exists():
        check_promise(folder, study)
    report = report_of(study, played)
    picture = folder / PICTURE
    drawn = picture.read_bytes() if picture.exists() else None
    again = texts(folder, report, played, drawn)
    for place, was, now in _differences(json.loads(written), json.loads(again[JSON])):
        raise VerifyError(f"{folder / JSON}, {place}: written {was}, computed {now}")
    for name, text in again.items():
        _compare(folder / name, _written(folder, name), text)
    numbers = sum(1 for _ in _numbers(json.loads(again[JSON])))
    episodes = sum(len(rows) for own in played.values() for rows in own.values())
    said = [
        f"computed again from {episodes:,} episodes and identical: {', '.join(again)} "
        f"({numbers:,} numbers of {JSON} to the last bit)"
    ]
    if source is None:
        return [*said, "not compared with run directories, which are not there"]
    return [*said, *_compare_runs(folder, study, played, source)]


def _compare_runs(
    folder: Path, study: Study, played: Played, source: Source
) -> Iterator[str]:
    """Compare with the run directories, as far as they are still there."""
    now, runs = source
    known = {one.uid: one for one in study.records if one.uid}
    for uid, run in runs.items():
        if uid not in known:
            raise VerifyError(f"{run.path} is not in {folder / JSON}; make it again")
        if known[uid].counts and played_in(run) != played[uid]:
            raise VerifyError(f"{run.path}: {EPISODES_GZ} has other episodes")
    is_whole = len(runs) == len(known)
    if is_whole:
        pairs = [("study", study.facts(), now.facts())]
    else:
        again = {one.uid: one for one in now.records}
        pairs = [
            (known[uid].folder, vars(known[uid]), vars(again[uid])) for uid in runs
        ]
    for name, was, is_now in pairs:
        for place, one, other in _differences(was, is_now, name):
            raise VerifyError(
                f"{folder / JSON}, {place}: written {one}, the runs have {other}"
            )
    yield f"episodes and facts are those of {len(runs)} of {len(known)} run directories"
    if is_whole:
        curves = {
            one.uid: curve(runs[one.uid].metrics(), CURVE)
            for one in study.records
            if one.counts
        }
        _compare(folder / CURVES, _written(folder, CURVES), write_curves(study, curves))
        yield f"{CURVES} is what they logged"


def _written(folder: Path, name: str) -> str:
    try:
        return (folder / name).read_bytes().decode()
    except (OSError, UnicodeDecodeError) as error:
        raise VerifyError(f"cannot read {folder / name}: {error}") from error


def _compare(path: Path, written: str, computed: str) -> None:
    """Compare two texts line by line."""
    lines = zip_longest(written.split("\n"), computed.split("\n"), fillvalue="(end)")
    for number, (was, now) in enumerate(lines, start=1):
        if was != now:
            raise VerifyError(
                f"{path}, line {number}:\n  written  {was[:SHOWN]}\n"
                f"  computed {now[:SHOWN]}"
            )


def _differences(
    written: Any, computed: Any, place: str = ""
) -> Iterator[tuple[str, Any, Any]]:
    """Where two contents of JSON files differ, with both values."""
    if isinstance(written, dict) and isinstance(computed, dict):
        for key in dict.fromkeys([*written, *computed]):
            inner = f"{place}/{key}" if place else str(key)
            was, now = written.get(key, "nothing"), computed.get(key, "nothing")
            yield from _differences(was, now, inner)
    elif isinstance(written, list) and isinstance(computed, list):
        pairs = zip_longest(written, computed, fillvalue="nothing")
        for number, (was, now) in enumerate(pairs):
            yield from _differences(was, now, f"{place}/{number}")
    elif written != computed:
        yield place, written, computed


def _numbers(content: Any) -> Iterator[float]:
    if isinstance(content, dict | list):
        values = content.values() if isinstance(content, dict) else content
        for value in values:
            yield from _numbers(value)
    elif isinstance(content, int | float) and not isinstance(content, bool):
        yield content

"""The raw data of a report: held-out episodes and learning curves of all runs."""

import csv
import gzip
import io
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from so101rl.figures.style import curve
from so101rl.files import FileError
from so101rl.report.record import EpisodesByRun, StudyRecord
from so101rl.runs.episodes_csv import columns_of, read_row
from so101rl.runs.run_dir import RunDir

EPISODES_GZ, CURVES = "episodes.csv.gz", "curves.csv"
CURVE = "eval/success_rate"  # of metrics.jsonl: the select episodes
Curves = Mapping[str, Sequence[tuple[int, float]]]  # by uid: env steps, success


def csv_text(rows: Iterable[Iterable[Any]]) -> str:
    """Return rows as csv text."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()


def pack_episodes(study: StudyRecord, episodes: EpisodesByRun) -> bytes:
    """Return all held-out episodes as a compressed csv; equal episodes, equal bytes.

    The rows are sorted by policy, seed and episode, because the base plays the same
    episodes in many runs and equal rows next to each other compress well.
    """
    lines = [
        (policy, record.seed, number, place, record, row)
        for place, record in enumerate(study.records)
        for policy, rows in episodes.get(record.uid, {}).items()
        for number, row in enumerate(rows)
    ]
    lines.sort(key=lambda line: line[:4])
    columns = columns_of(lines[0][-1]) if lines else []
    head = ("arm", "run", *columns)
    cells = (
        [record.arm, record.uid, *(row[name] for name in columns)]
        for *_, record, row in lines
    )
    return gzip.compress(csv_text([head, *cells]).encode(), 9, mtime=0)


def unpack_episodes(path: Path) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
    """Read the episodes that `pack_episodes` packed, by uid and policy."""
    episodes: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for number, row in enumerate(_read(path), start=2):
        try:
            values = read_row(row)
        except (KeyError, TypeError, ValueError) as error:
            line = f"{path}, line {number}"
            raise FileError(f"{line}: cannot be read ({error})") from error
        own = episodes.setdefault(row["run"], {})
        own.setdefault(values["policy"], []).append(values)
    return episodes


def read_curves(study: StudyRecord, runs: Mapping[str, RunDir]) -> Curves:
    """Read the learning curves of the runs that give a result."""
    return {
        record.uid: curve(runs[record.uid].metrics(), CURVE) for record in study.results
    }


def write_curves(study: StudyRecord, curves: Curves) -> str:
    """Return learning curves as csv."""
    points = (
        (record.arm, record.uid, steps, rate)
        for record in study.records
        for steps, rate in curves.get(record.uid, ())
    )
    return csv_text([("arm", "run", "env_steps", "success"), *points])


def _read(path: Path) -> Iterator[dict[str, str]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise FileError(f"cannot read {path}: {error}") from error

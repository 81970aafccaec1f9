"""The raw files of a report: held-out episodes and learning curves of all its runs."""

import csv
import gzip
import io
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from so101rl.files import FileError
from so101rl.report.held_out import Played
from so101rl.report.record import Record, Rows, Study
from so101rl.runs.episodes_csv import COLUMNS

EPISODES_GZ, CURVES = "episodes.csv.gz", "curves.csv"
CURVE = "eval/success_rate"  # of metrics.jsonl: the select episodes
HEAD = ("arm", "run", *COLUMNS)
Curves = Mapping[str, Sequence[tuple[int, float]]]  # by uid: env steps, success


def pack_episodes(study: Study, played: Played) -> bytes:
    """All held-out episodes as a compressed csv; equal episodes give equal bytes.

    Runs stand side by side, episode by episode: the base plays the same in many of
    them, and that packs to next to nothing.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(HEAD)
    lines = [
        (policy, record.seed, number, place, record, row)
        for place, record in enumerate(study.records)
        for policy, rows in played.get(record.uid, {}).items()
        for number, row in enumerate(rows)
    ]
    lines.sort(key=lambda line: line[:4])
    for *_, record, row in lines:
        writer.writerow([record.arm, record.uid, *(row[name] for name in COLUMNS)])
    return gzip.compress(text.getvalue().encode(), 9, mtime=0)


def unpack_episodes(path: Path) -> dict[str, dict[str, list[Mapping[str, Any]]]]:
    """What `pack_episodes` has packed, by uid and policy."""
    played: dict[str, dict[str, list[Mapping[str, Any]]]] = {}
    for number, row in enumerate(_read(path), start=2):
        try:
            values = {name: read(row[name]) for name, read in COLUMNS.items()}
        except (KeyError, TypeError, ValueError) as error:
            raise FileError(
                f"{path}, line {number}: cannot be read ({error})"
            ) from error
        run = played.setdefault(row["run"], {})
        run.setdefault(values["policy"], []).append(values)
    return played


def write_curves(study: Study, curves: Curves) -> str:
    """Learning curves as csv."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(("arm", "run", "env_steps", "success"))
    for record in study.records:
        for steps, rate in curves.get(record.uid, ()):
            writer.writerow((record.arm, record.uid, steps, rate))
    return text.getvalue()


def own_episodes(
    record: Record, played: Played, policies: Collection[str]
) -> Mapping[str, Rows]:
    """The episodes of a record that gives a result.

    Raises:
        FileError: some of its policies have none.
    """
    own = played.get(record.uid, {})
    for policy in policies:
        if policy not in own:
            raise FileError(f"{record.folder} ({record.run}): no episodes of {policy}")
    return own


def _read(path: Path) -> Iterator[dict[str, str]]:
    try:
        with gzip.open(path, "rt", encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)
    except (OSError, EOFError, UnicodeDecodeError) as error:
        raise FileError(f"cannot read {path}: {error}") from error

"""The folder of a report: what is written there, and whether it still says that."""

from pathlib import Path

from so101rl.figures.style import curve
from so101rl.files import write_atomic
from so101rl.report.document import Report, report_of, results_csv
from so101rl.report.figure import draw
from so101rl.report.held_out import Played
from so101rl.report.latex import table_tex
from so101rl.report.markdown import first_readme, table_md
from so101rl.report.page import page
from so101rl.report.raw import (
    CURVE,
    CURVES,
    EPISODES_GZ,
    pack_episodes,
    write_curves,
)
from so101rl.report.record import Source, Study, played_in
from so101rl.runs.preregistration import FILE

JSON, TABLE, PICTURE = "report.json", "table.md", "figure.png"


def write_report(folder: Path, source: Source, registration: Path | None) -> Report:
    """Write everything that a report consists of.

    Args:
        folder: where to.
        source: the study and its runs.
        registration: what was registered, to be kept with the report.

    Raises:
        So101Error: the runs make no honest report; then nothing is written.
    """
    study, runs = source
    good = [record for record in study.records if record.counts]
    played = {one.uid: played_in(runs[one.uid]) for one in good}
    curves = {one.uid: curve(runs[one.uid].metrics(), CURVE) for one in good}
    report = report_of(study, played)
    write_atomic(folder / EPISODES_GZ, pack_episodes(study, played))
    write_atomic(folder / CURVES, write_curves(study, curves))
    if registration is not None:
        write_atomic(folder / FILE, registration.read_bytes())
    drawn = draw(folder, report, curves)
    picture = drawn.read_bytes() if drawn else None
    for name, text in texts(folder, report, played, picture).items():
        write_atomic(folder / name, text)
    if not (folder / "README.md").exists():
        write_atomic(folder / "README.md", first_readme(study, commands(study, folder)))
    return report


def texts(
    folder: Path, report: Report, played: Played, picture: bytes | None
) -> dict[str, str]:
    """All files of a report that are text made of its numbers, by name."""
    _, again = commands(report.study, folder)
    return {
        JSON: report.to_json(),
        TABLE: table_md(report.words),
        "table.tex": table_tex(report.words),
        "results.csv": results_csv(report, played),
        "report.html": page(report, picture, again),
    }


def commands(study: Study, folder: Path) -> tuple[str, str]:
    """The command that makes a report, and the one that verifies it."""
    named, place = f"experiment={study.name}", f"out=experiments/{folder.name}"
    if not study.registration:
        make, check = f"{place} runs=[FOLDER]", place
    elif folder.name == study.name:
        make = check = named
    else:  # the study of that name may be another one by now
        make, check = f"{named} {place}", place
    start = "python main.py job=report"
    return f"{start} {make}", f"{start} {check} verify=true"

"""Writes all files of a report into its folder."""

from pathlib import Path

from so101rl.files import write_atomic
from so101rl.report import raw
from so101rl.report.document import Report, make_report, results_csv
from so101rl.report.figure import draw
from so101rl.report.latex import table_tex
from so101rl.report.markdown import first_readme, table_md
from so101rl.report.page import page
from so101rl.report.record import EpisodesByRun, LoadedStudy, StudyRecord, episodes_of
from so101rl.runs.preregistration import FILE

JSON, TABLE, PICTURE = "report.json", "table.md", "figure.png"


def write_report(
    folder: Path, loaded: LoadedStudy, registration: Path | None
) -> Report:
    """Write all files of a report, with a copy of the study's registration if any.

    Raises:
        So101Error: the runs make no report; then nothing is written.
    """
    study, runs = loaded
    episodes = {record.uid: episodes_of(runs[record.uid]) for record in study.results}
    curves = raw.read_curves(study, runs)
    report = make_report(study, episodes)
    write_atomic(folder / raw.EPISODES_GZ, raw.pack_episodes(study, episodes))
    write_atomic(folder / raw.CURVES, raw.write_curves(study, curves))
    if registration is not None:
        write_atomic(folder / FILE, registration.read_bytes())
    drawn = draw(folder, report, curves)
    picture = drawn.read_bytes() if drawn else None
    for name, text in texts(folder, report, episodes, picture).items():
        write_atomic(folder / name, text)
    if not (folder / "README.md").exists():
        write_atomic(folder / "README.md", first_readme(study, commands(study, folder)))
    return report


def texts(
    folder: Path, report: Report, episodes: EpisodesByRun, picture: bytes | None
) -> dict[str, str]:
    """Return the text of each file that shows the report's numbers, by file name."""
    _, check = commands(report.study, folder)
    return {
        JSON: report.to_json(),
        TABLE: table_md(report.content),
        "table.tex": table_tex(report.content),
        "results.csv": results_csv(report, episodes),
        "report.html": page(report, picture, check),
    }


def commands(study: StudyRecord, folder: Path) -> tuple[str, str]:
    """Return the command that makes a report, and the one that verifies it."""
    experiment, out = f"experiment={study.name}", f"out=experiments/{folder.name}"
    if not study.registration:
        make, check = f"{out} runs=[FOLDER]", out
    elif folder.name == study.name:
        make = check = experiment
    else:  # another study may have that name by now
        make, check = f"{experiment} {out}", out
    start = "python main.py job=report"
    return f"{start} {make}", f"{start} {check} verify=true"

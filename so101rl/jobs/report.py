"""`job=report`: write the report of a study, or verify a written one."""

import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from so101rl.errors import ConfigError, So101Error
from so101rl.report.folder import TABLE, write_report
from so101rl.report.record import LoadedStudy
from so101rl.report.registered import load_registered
from so101rl.report.unregistered import load_unregistered
from so101rl.report.verify import verify
from so101rl.runs.arms import StudyError
from so101rl.runs.preregistration import FILE
from so101rl.runs.run_dir import find_runs

EXPERIMENTS = Path("experiments")
DIFFERENT = 1  # exit code if a report differs from what its episodes give


def report(cfg: DictConfig) -> None:
    """Write a report, or verify one.

    Raises:
        So101Error: the runs make no report.
        SystemExit: with code 1 if a written report differs from what its episodes give.
    """
    folder = _folder(cfg)
    if cfg.verify:
        _verify(folder, cfg)
        return
    loaded = _load(cfg, folder)
    registration = _registration() if loaded.study.registration else None
    written = write_report(folder, loaded, registration)
    for one in written.comparisons:
        print(f"{one.arm}: {one.verdict}")
    for note in written.content.notes:
        if note.is_important:
            print("\n  ".join([note.text, *note.items]))
    print(f"report: {folder / TABLE}")


def _verify(folder: Path, cfg: DictConfig) -> None:
    """Print what was compared; exit at the first difference."""
    is_study = cfg.study is not None and _registration().is_file()
    try:
        loaded = _load(cfg, folder) if cfg.runs is not None or is_study else None
        for line in verify(folder, loaded):
            print(line)
    except So101Error as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(DIFFERENT) from error


def _folder(cfg: DictConfig) -> Path:
    """Return the folder of the report."""
    if cfg.out is not None:
        return Path(cfg.out)
    experiment = HydraConfig.get().runtime.choices.get("experiment")
    if cfg.study is None:
        expected = "a study (experiment=NAME), or else runs=[DIR,...] with out=DIR"
        raise ConfigError("experiment", got=experiment, expected=expected)
    return EXPERIMENTS / str(experiment)


def _registration() -> Path:
    """Return the path of the study's registration."""
    return Path(HydraConfig.get().sweep.dir) / FILE


def _load(cfg: DictConfig, folder: Path) -> LoadedStudy:
    """Load the study and its runs."""
    if cfg.runs is not None:
        for path in cfg.runs:
            if not Path(path).is_dir():
                raise StudyError(f"runs=[{path}]: there is no such folder")
        return load_unregistered(find_runs(cfg.runs), folder.name)
    if cfg.study is None:
        expected = "run directories, or folders of them; or experiment=NAME of a study"
        raise ConfigError("runs", got=None, expected=expected)
    now: Any = OmegaConf.to_container(cfg.study, resolve=True)
    return load_registered(_registration().parent, now)

"""`job=report`: write the report of a study, or verify one that is written."""

import sys
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from so101rl.errors import ConfigError, So101Error
from so101rl.report.files import TABLE, write_report
from so101rl.report.grouped import grouped
from so101rl.report.record import Source
from so101rl.report.registered import registered
from so101rl.report.verify import verify
from so101rl.runs.arms import StudyError
from so101rl.runs.preregistration import FILE
from so101rl.runs.run_dir import find_runs

EXPERIMENTS = Path("experiments")
DIFFERENT = 1  # exit code if a report is not what its episodes say


def report(cfg: DictConfig) -> None:
    """Write a report, or verify one.

    Raises:
        So101Error: there is nothing to report, or nothing honest.
        SystemExit: with code 1 if a written report is not what its episodes say.
    """
    folder = _folder(cfg)
    if cfg.verify:
        _verify(folder, cfg)
        return
    source = _source(cfg, folder)
    promise = Path(HydraConfig.get().sweep.dir) / FILE
    kept = promise if source.study.registration else None
    written = write_report(folder, source, kept)
    for one in written.comparisons:
        print(f"{one.arm}: {one.verdict}")
    for note in written.words.notes:
        if note.loud:
            print("\n  ".join([note.text, *note.items]))
    print(f"report: {folder / TABLE}")


def _verify(folder: Path, cfg: DictConfig) -> None:
    """Compare, and say what was compared or what differs."""
    try:
        source = _source(cfg, folder) if _has_source(cfg) else None
        for line in verify(folder, source):
            print(line)
    except So101Error as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(DIFFERENT) from error


def _folder(cfg: DictConfig) -> Path:
    """Where the report is, or will be."""
    if cfg.out is not None:
        return Path(cfg.out)
    if cfg.study is None:
        expected = "a study (experiment=NAME), or else runs=[DIR,...] with out=DIR"
        got = HydraConfig.get().runtime.choices.get("experiment")
        raise ConfigError("experiment", got=got, expected=expected)
    return EXPERIMENTS / str(HydraConfig.get().runtime.choices["experiment"])


def _has_source(cfg: DictConfig) -> bool:
    """Whether there are run directories to look into."""
    if cfg.runs is not None or cfg.study is None:
        return cfg.runs is not None
    return (Path(HydraConfig.get().sweep.dir) / FILE).is_file()


def _source(cfg: DictConfig, folder: Path) -> Source:
    """The study, and the runs that it is made of."""
    if cfg.runs is not None:
        for path in cfg.runs:
            if not Path(path).is_dir():
                raise StudyError(f"runs=[{path}]: there is no such folder")
        return grouped(find_runs(cfg.runs), folder.name)
    if cfg.study is None:
        expected = "run directories, or folders of them; or experiment=NAME of a study"
        raise ConfigError("runs", got=None, expected=expected)
    now: Any = OmegaConf.to_container(cfg.study, resolve=True)
    return registered(Path(HydraConfig.get().sweep.dir), now)

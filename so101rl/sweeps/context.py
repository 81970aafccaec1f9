"""What was typed for a sweep, and how its jobs are called."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.types import RunMode, TaskFunction
from omegaconf import DictConfig, OmegaConf, open_dict

from so101rl.config.threads import n_threads
from so101rl.files import PACKAGE
from so101rl.sweeps.job import INHERITED, for_jobs
from so101rl.sweeps.processes import Program

ALL = "all"  # the option of `sweep` that searches for nothing


@dataclass(frozen=True)
class SweepContext:
    """One `python main.py -m ...`.

    Attributes:
        config: composed from what was typed, `hydra` included.
        loader: composes the jobs' configs.
        program_words: how Python calls this program again.
        arguments: what was typed, those for Hydra left out.
    """

    config: DictConfig
    loader: ConfigLoader
    program_words: tuple[str, ...]
    arguments: Sequence[str]

    @classmethod
    def of(
        cls,
        config: DictConfig,
        loader: ConfigLoader,
        task: TaskFunction,
        arguments: Sequence[str],
    ) -> "SweepContext":
        """Put together what Hydra gives a sweeper."""
        return cls(config, loader, _program_words(task), list(arguments))

    @property
    def folder(self) -> Path:
        """The sweep's folder."""
        return Path(self.config.hydra.sweep.dir)

    @property
    def name(self) -> str:
        """The sweep's name: that of its yaml, or else of its folder."""
        chosen = self.config.hydra.runtime.choices
        if self.config.study is not None:
            return str(chosen.experiment)
        return self.folder.name if chosen.sweep == ALL else str(chosen.sweep)

    @property
    def line(self) -> str:
        """The command line."""
        program = "so101rl" if self.program_words[0] == "-m" else "python main.py"
        return " ".join([program, *sys.argv[1:]])

    def parsed(self, words: Sequence[str]) -> list[Override]:
        """Read words as Hydra does."""
        parser = OverridesParser.create(config_loader=self.loader)
        return parser.parse_overrides(list(words))

    def typed(self) -> list[Override]:
        """What was typed that is for the jobs."""
        return for_jobs(self.parsed(self.arguments))

    def compose(self, words: Sequence[str]) -> DictConfig:
        """A job's config, as its process will get it.

        Raises:
            So101Error: what it is told cannot work.
        """
        name = self.config.hydra.job.config_name
        words = [*self._inherited(), *words]
        cfg = self.loader.load_configuration(name, words, RunMode.RUN)
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg

    def program(self, n_jobs: int) -> Program:
        """How to call a job, of which `n_jobs` share the machine."""
        sources = self.config.hydra.runtime.config_sources
        (conf,) = (one.path for one in sources if one.provider == "main")
        keys = {item.key_or_group for item in self.typed()}
        threads = max(1, n_threads(None) // n_jobs)
        common = () if "n_threads" in keys else (f"n_threads={threads}",)
        return Program(self.program_words, Path(conf), (*common, *self._inherited()))

    def _inherited(self) -> list[str]:
        """What every job is told: where parts of the user's own are."""
        words = [*self.config.hydra.overrides.hydra, *self.arguments]
        typed = self.parsed(words)
        return [one.input_line or "" for one in typed if one.key_or_group in INHERITED]

    def plain(self, key: str) -> Any:
        """A node of the config as plain Python."""
        node = OmegaConf.select(self.config, key)
        return OmegaConf.to_container(node, resolve=True)


def _program_words(task: TaskFunction) -> tuple[str, ...]:
    """What follows `python` to call this program: a script such as main.py, or `-m`."""
    for file in (sys.modules[task.__module__].__file__, sys.argv[0]):
        script = Path(file or "").resolve()
        if (
            script.suffix == ".py"
            and script.is_file()
            and PACKAGE not in script.parents
        ):
            return (str(script),)
    return ("-m", "so101rl")

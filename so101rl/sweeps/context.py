"""The command line of a sweep, and how it composes and calls its jobs."""

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
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
from so101rl.runs.sweep_dir import SweepDir
from so101rl.sweeps.job import INHERITED, SWEEP_KEYS
from so101rl.sweeps.processes import Program
from so101rl.tracking.base import followed

NO_SEARCH = "all"  # the option of `sweep` that runs combinations or a study


@dataclass(frozen=True)
class SweepContext:
    """The call `python main.py -m ...` of one sweep.

    Attributes:
        config: the sweep's composed config, with the node `hydra`.
        loader: composes the jobs' configs.
        program_words: what follows `python` to call this program again.
        arguments: the typed overrides, without those of `hydra`.
    """

    config: DictConfig
    loader: ConfigLoader
    program_words: tuple[str, ...]
    arguments: Sequence[str]

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
        return self.folder.name if chosen.sweep == NO_SEARCH else str(chosen.sweep)

    @property
    def line(self) -> str:
        """The command line."""
        program = "so101rl" if self.program_words[0] == "-m" else "python main.py"
        return " ".join([program, *sys.argv[1:]])

    def parsed(self, words: Sequence[str]) -> list[Override]:
        """Parse overrides as Hydra does."""
        parser = OverridesParser.create(config_loader=self.loader)
        return parser.parse_overrides(list(words))

    def typed(self) -> list[Override]:
        """The typed overrides, without `SWEEP_KEYS` and `INHERITED`."""
        left_out = (*SWEEP_KEYS, *INHERITED)
        typed = self.parsed(self.arguments)
        return [item for item in typed if not item.key_or_group.startswith(left_out)]

    def compose(self, words: Sequence[str]) -> DictConfig:
        """A job's config, as its process will compose it.

        Raises:
            So101Error: a value is invalid.
        """
        words = [*self._inherited(), *words]
        name = self.config.hydra.job.config_name
        cfg = self.loader.load_configuration(name, words, RunMode.RUN)
        with open_dict(cfg):
            del cfg["hydra"]
        return cfg

    def program(self, n_jobs: int) -> Program:
        """How to call a job; `n_jobs` at a time share the cores."""
        sources = self.config.hydra.runtime.config_sources
        (conf,) = (one.path for one in sources if one.provider == "main")
        keys = {item.key_or_group for item in self.typed()}
        threads = max(1, n_threads(None) // n_jobs)
        common = () if "n_threads" in keys else (f"n_threads={threads}",)
        return Program(self.program_words, Path(conf), (*common, *self._inherited()))

    def _inherited(self) -> list[str]:
        """The typed overrides of the keys in `INHERITED`."""
        words = [*self.config.hydra.overrides.hydra, *self.arguments]
        typed = self.parsed(words)
        return [one.input_line or "" for one in typed if one.key_or_group in INHERITED]

    def plain(self, key: str) -> Any:
        """A node of the config as plain Python."""
        node = OmegaConf.select(self.config, key)
        return OmegaConf.to_container(node, resolve=True)

    @contextlib.contextmanager
    def tracked(self, sweep: SweepDir, conclude: Callable[[], None]) -> Iterator[None]:
        """Mirror the sweep to its trackers while the block runs it.

        `conclude` is called when the block ends, also after an error.
        """
        chosen = self.config.hydra.runtime.choices
        groups = {
            str(group): option
            for group, option in chosen.items()
            if option is not None and not str(group).startswith("hydra/")
        }
        group = None if chosen.sweep == NO_SEARCH else "trial"
        group = group if self.config.study is None else "arm"
        tracking = self.config.tracking
        with followed(sweep, tracking, name=self.name, groups=groups, group=group):
            try:
                yield
            finally:
                conclude()


def program_words(task: TaskFunction) -> tuple[str, ...]:
    """What follows `python` to call this program: a script such as main.py, or `-m`."""
    for file in (sys.modules[task.__module__].__file__, sys.argv[0]):
        path = Path(file or "").resolve()
        if path.suffix == ".py" and path.is_file() and PACKAGE not in path.parents:
            return (str(path),)
    return ("-m", "so101rl")

"""Composes configs with our checks, for the command line and for Python.

`CheckedLoader` replaces Hydra's config loader, so single runs, every job of a sweep,
`--cfg` and `--help` get the same checks, before any directory is made.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import ModuleType

import hydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from so101rl.config import from_run, groups, messages, schema
from so101rl.config.errors import UnknownKeyError
from so101rl.config.hydra_internal import Loader, loader_class, outer_hydra_suspended
from so101rl.config.overrides import checked, line_of
from so101rl.config.targets import check_targets
from so101rl.errors import ConfigError
from so101rl.files import PACKAGE, shipped

CONF = shipped("conf")
CHECKED_VALUES = 20  # values of one key that are checked before a sweep begins
SWEEPERS = str(PACKAGE / "sweeps" / "hydra_plugins")


def compose(overrides: Sequence[str] = (), *, conf: Path = CONF) -> DictConfig:
    """Compose the config that a job would get from the command line.

    Args:
        overrides: What would be typed, for example `["algo=sac", "n_envs=2"]`.
        conf: The folder of the yaml files.

    Raises:
        So101Error: If an override is wrong.
    """
    with (
        outer_hydra_suspended(),
        checked_loader(),
        hydra.initialize_config_dir(config_dir=str(conf), version_base="1.3"),
    ):
        return hydra.compose("config", overrides=list(overrides))


@contextmanager
def checked_loader() -> Iterator[None]:
    """Let Hydra load configs through `CheckedLoader`, and find our sweepers."""
    _add_sweepers()
    with loader_class(CheckedLoader):
        yield


def _add_sweepers() -> None:
    """Add our folder to `hydra_plugins`, where Hydra looks for sweepers."""
    try:
        package = import_module("hydra_plugins")
    except ModuleNotFoundError:  # no plugin is installed
        package = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
        package.__path__ = []
    if SWEEPERS not in package.__path__:
        package.__path__.append(SWEEPERS)  # type: ignore[attr-defined]


class CheckedLoader(Loader):
    """Hydra's config loader, with our checks and `run=`."""

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose a config; signature and result are Hydra's.

        Raises:
            So101Error: If what was typed is wrong.
        """
        schema.register()
        try:
            typed = self._parsed(overrides)
            self.set_search_path(typed)
            groups.check_search_path(self)
            if config_name is None or not validate_sweep_overrides:  # Hydra only probes
                rest = (run_mode, from_shell, validate_sweep_overrides)
                return super().load_configuration(config_name, overrides, *rest)
            if run_mode == RunMode.MULTIRUN:
                for job in _sample_jobs(typed):
                    self.load_configuration(config_name, job, RunMode.RUN)
            return self._load(config_name, typed, run_mode)
        except (HydraException, OmegaConfBaseException, YAMLError) as error:
            raise messages.translated(error, groups.options(self)) from error

    def _load(
        self, config_name: str, typed: list[Override], run_mode: RunMode
    ) -> DictConfig:
        """Compose, check, and take over the values of `run=`."""
        for item in typed:
            groups.check_choice(self, item)
            groups.check_directory(item)
        values = [item for item in typed if self._is_value(item)]
        choices = [_line(item) for item in typed if item not in values]
        base = super().load_configuration(config_name, choices, run_mode)
        groups.check_job(values, base, run_mode)
        run = _typed_run(values, base) if base.job.get("loads_run") else None
        chosen: set[str] = set()  # groups, by what was typed
        if run is not None:
            chosen = {item.key_or_group for item in typed if item not in values}
            chosen |= self._chosen_by_options(config_name, choices, run_mode)
            choices += self._choices_of_run(run, chosen, base)
            base = super().load_configuration(config_name, choices, run_mode)
        lines = [line_of(item) for item in values]
        if run_mode == RunMode.RUN:  # the jobs of a sweep are checked one by one
            lines = [self._checked(item, base) for item in values]
        cfg = base
        if lines:
            cfg = super().load_configuration(config_name, choices + lines, run_mode)
        cfg.hydra.overrides.task = [
            _line(item) for item in typed if not item.is_hydra_override()
        ]
        if run_mode == RunMode.RUN:
            if run is not None:
                keys = [item.key_or_group for item in values]
                from_run.restore(cfg, run, keep=chosen, typed=keys)
                again = [line for line in lines if not line.startswith("run=")]
                self.apply(self._parsed(again), cfg)
            _validate(cfg, values)
            check_targets(cfg)
        return cfg

    def _checked(self, item: Override, base: DictConfig) -> str:
        """Return a `key=value` as Hydra should apply it, see `overrides.checked`."""
        try:
            return checked(item, base)
        except UnknownKeyError as error:
            group = item.key_or_group.partition(".")[0]
            found = groups.misplaced(
                self,
                error.key,
                typed=_line(item),
                chosen=base.hydra.runtime.choices.get(group),
            )
            raise found or error from error

    def _chosen_by_options(
        self, config_name: str, choices: list[str], run_mode: RunMode
    ) -> set[str]:
        """Return the groups that the typed options choose in their own yaml."""

        def chosen_in_yaml(lines: list[str]) -> set[tuple[str, str | None]]:
            found = self.compute_defaults_list(config_name, lines, run_mode).overrides
            return {
                (group, origin.containing_config_path)
                for group, origin in found.override_metadata.items()
                if not origin.external_override
            }

        return {group for group, _ in chosen_in_yaml(choices) - chosen_in_yaml([])}

    def _choices_of_run(
        self, run: Path, chosen: set[str], base: DictConfig
    ) -> list[str]:
        """Return the run's options as overrides, without the groups in `chosen`."""
        if "experiment" in chosen:
            expected = "to be left out next to run=, which brings all of its config"
            got = base.hydra.runtime.choices.experiment
            raise ConfigError("experiment", got=got, expected=expected)
        return [
            f"{group}={names[0]}" if len(names) == 1 else f"{group}=[{','.join(names)}]"
            for group, names in from_run.choices(run).items()
            if not chosen & {group, group.split("/")[0]}
            and set(names) <= set(self.get_group_options(group))
        ]

    def _parsed(self, words: list[str]) -> list[Override]:
        return OverridesParser.create(config_loader=self).parse_overrides(words)

    def _is_value(self, override: Override) -> bool:
        """Tell a `key=value` from the choice of a group's option."""
        is_group = self.is_group(override.key_or_group)
        return not override.is_hydra_override() and not is_group


def _validate(cfg: DictConfig, typed: list[Override]) -> None:
    """Refuse a config that is wrong, by the typed key that made it so, if any did."""
    try:
        schema.validate(cfg)
    except UnknownKeyError as error:  # something refers to it: hardware.actuator=typo
        name = error.key.removeprefix(f"{error.parent}.").partition(".")[0]
        for item in typed:
            key = item.key_or_group
            if item.value() == name and key != error.key:
                expected = f"one of {', '.join(error.siblings)}"
                raise ConfigError(key, got=name, expected=expected) from error
        raise
    for group in schema.GROUPS:
        if group != "tracking" and "_target_" not in cfg[group]:
            expected = "the class that its yaml is for, with its module in front"
            raise ConfigError(f"{group}._target_", got=None, expected=expected)


def _typed_run(values: list[Override], base: DictConfig) -> Path | None:
    """Return the directory that `run=` names, or None if it was not typed."""
    for item in values:
        if item.key_or_group == "run":
            is_sweep = item.is_sweep_override()
            value = next(item.sweep_iterator()) if is_sweep else item.value()
            if value is None:
                return None
            latest = base.job.get("latest", "ended")
            jobs = base.job.get("reads", [from_run.TRAIN])
            return from_run.find_run(str(value), latest=latest, jobs=jobs)
    return None


def _sample_jobs(typed: list[Override]) -> Iterator[list[str]]:
    """Yield jobs of a sweep in which every typed value occurs at least once.

    A sweep of 5 x 5 values is checked in 9 jobs, not 25; of a long range only the
    beginning is. Intervals are left to the optimiser that draws from them.
    """
    if any(item.is_sweep_override() and not item.is_discrete_sweep() for item in typed):
        return
    values = [
        [
            f"{item.get_key_element()}={text}"
            for text in islice(item.sweep_string_iterator(), CHECKED_VALUES)
        ]
        if item.is_sweep_override()
        else [_line(item)]
        for item in typed
    ]
    first = [texts[0] for texts in values]
    yield first
    for index, texts in enumerate(values):
        for text in texts[1:]:
            yield [*first[:index], text, *first[index + 1 :]]


def _line(override: Override) -> str:
    """Return an override as it was typed."""
    assert override.input_line is not None
    return override.input_line

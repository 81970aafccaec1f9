"""Composing a config: Hydra's loader with our checks, for `main.py` and for scripts.

`CheckedLoader` stands where Hydra loads any config, so one set of checks serves single
runs, every job of a sweep, `--cfg` and `--help`, before a directory is made.
"""

import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from pathlib import Path
from types import ModuleType
from typing import Any

import hydra
from hydra._internal import hydra as hydra_internal
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.singleton import Singleton
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from so101rl.config import from_run, groups, messages, schema
from so101rl.config.overrides import checked
from so101rl.errors import ConfigError, UnknownKeyError
from so101rl.files import PACKAGE, shipped

CONF = shipped("conf")
SAMPLED = 20  # values of one key that are checked before a sweep begins
PLUGINS = PACKAGE / "sweeps" / "hydra_plugins"  # our sweepers


def compose(overrides: Sequence[str] = (), *, conf: Path = CONF) -> DictConfig:
    """Compose a config in Python as `main.py` does from the command line.

    Args:
        overrides: What would be typed, for example `["algo=sac", "n_envs=2"]`.
        conf: The folder of the yaml files.

    Returns:
        The config that a job would get.

    Raises:
        So101Error: If an override cannot work.
    """
    with (
        _beside_hydra(),
        checked_loader(),
        hydra.initialize_config_dir(config_dir=str(conf), version_base="1.3"),
    ):
        return hydra.compose("config", overrides=list(overrides))


@contextmanager
def _beside_hydra() -> Iterator[None]:
    """Let us compose within somebody's Hydra program: Hydra has room for one only."""
    theirs = Singleton._instances.pop(GlobalHydra, None)
    try:
        yield
    finally:
        Singleton._instances.pop(GlobalHydra, None)
        if theirs is not None:
            Singleton._instances[GlobalHydra] = theirs


@contextmanager
def checked_loader() -> Iterator[None]:
    """Let Hydra load configs through `CheckedLoader` within a `with` block."""
    schema.register()
    _show_plugins()
    usual = hydra_internal.ConfigLoaderImpl
    hydra_internal.ConfigLoaderImpl = CheckedLoader  # type: ignore
    try:
        yield
    finally:
        hydra_internal.ConfigLoaderImpl = usual  # type: ignore


def _show_plugins() -> None:
    """Let Hydra find our sweepers: it takes them from a package of one name only."""
    try:
        package = import_module("hydra_plugins")
    except ModuleNotFoundError:  # no plugin is installed
        package = sys.modules["hydra_plugins"] = ModuleType("hydra_plugins")
        package.__path__ = []
    if str(PLUGINS) not in package.__path__:
        package.__path__.append(str(PLUGINS))  # type: ignore


class CheckedLoader(ConfigLoaderImpl):
    """Hydra's loader, with our checks and `run=`."""

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
    ) -> DictConfig:
        """Compose a config; signature and result as in Hydra.

        Raises:
            So101Error: If what was typed cannot work.
        """
        schema.register()  # a launcher's process begins here
        try:
            if config_name is None or not validate_sweep_overrides:  # Hydra only probes
                return super().load_configuration(
                    config_name,
                    overrides,
                    run_mode,
                    from_shell,
                    validate_sweep_overrides,
                )
            typed = OverridesParser.create(config_loader=self).parse_overrides(
                overrides
            )
            if run_mode == RunMode.MULTIRUN:
                for job in _sampled_jobs(typed):
                    self.load_configuration(config_name, job, RunMode.RUN)
            return self._load(config_name, typed, run_mode)
        except (HydraException, OmegaConfBaseException, YAMLError) as error:
            raise messages.explained(error, groups.options(self)) from error

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        """Return a group's options, without copying every known config first.

        Hydra copies them for each of the 80 questions that `--help` asks: 0.25 s.
        """
        if config_name is None and not overrides:
            return self.repository.get_group_options(group_name, results_filter)
        return super().get_group_options(
            group_name, results_filter, config_name, overrides
        )

    def _load(
        self, config_name: str, typed: list[Override], run_mode: RunMode
    ) -> DictConfig:
        """Compose, check, and put the values of `run=` in."""
        for item in typed:
            groups.check_choice(self, item)
            groups.check_directory(item)
        values = [item for item in typed if self._is_value(item)]
        chosen = [_line(item) for item in typed if item not in values]
        base = super().load_configuration(config_name, chosen, run_mode)
        groups.check_reader(values, base)
        _check_warm_start(values, base, run_mode)
        loads = base.job.get("loads_run")
        run_dir = (
            _typed_run(values, base.job.get("unfinished", False)) if loads else None
        )
        anew = {item.key_or_group for item in typed if item not in values}
        if run_dir is not None:
            if chosen:
                anew |= self._chosen_within(config_name, chosen, run_mode)
            chosen += self._choices_of_run(run_dir, anew, base)
            base = super().load_configuration(config_name, chosen, run_mode)
        lines = [_line(item) for item in values]
        if run_mode == RunMode.RUN:  # a sweep's jobs are checked one by one
            lines = [self._checked(item, base) for item in values]
        cfg = base
        if lines:
            cfg = super().load_configuration(config_name, chosen + lines, run_mode)
        cfg.hydra.overrides.task = [
            _line(item) for item in typed if not item.is_hydra_override()
        ]
        if run_mode == RunMode.RUN:
            if run_dir is not None:
                moved = [item.key_or_group for item in values]
                from_run.restore(cfg, run_dir, keep=anew, typed=moved)
                self._apply_once_more(lines, cfg)
            _validate(cfg, values)
            from_run.check_targets(cfg)
        return cfg

    def _checked(self, item: Override, base: DictConfig) -> str:
        """Return a `key=value` as Hydra should apply it, see `overrides.checked`."""
        try:
            return checked(item, base)
        except UnknownKeyError as error:
            group = item.key_or_group.partition(".")[0]
            found = groups.at_home(
                self,
                error.key,
                typed=_line(item),
                chosen=base.hydra.runtime.choices.get(group),
            )
            raise found or error from error

    def _chosen_within(
        self, config_name: str, chosen: list[str], run_mode: RunMode
    ) -> set[str]:
        """Return the groups that the typed options choose in their turn."""

        def within(lines: list[str]) -> set[tuple[str, str | None]]:
            found = self.compute_defaults_list(config_name, lines, run_mode).overrides
            return {
                (group, origin.containing_config_path)
                for group, origin in found.override_metadata.items()
                if not origin.external_override
            }

        return {group for group, _ in within(chosen) - within([])}

    def _choices_of_run(
        self, run_dir: Path, anew: set[str], base: DictConfig
    ) -> list[str]:
        """Return the run's group choices as overrides, but for those made anew."""
        if "experiment" in anew:
            expected = "to be left out next to run=, which brings all of its config"
            got = base.hydra.runtime.choices.experiment
            raise ConfigError("experiment", got=got, expected=expected)
        return [
            f"{group}={names[0]}" if len(names) == 1 else f"{group}=[{','.join(names)}]"
            for group, names in from_run.choices(run_dir).items()
            if not anew & {group, group.split("/")[0]}
            and set(names) <= set(self.get_group_options(group))
        ]

    def _apply_once_more(self, lines: list[str], cfg: DictConfig) -> None:
        """Put what was typed on top of what came from a run."""
        again = [line for line in lines if not line.startswith("run=")]
        parsed = OverridesParser.create(config_loader=self).parse_overrides(again)
        self._apply_overrides_to_config(parsed, cfg)

    def _is_value(self, override: Override) -> bool:
        """Tell a `key=value` from the choice of a group's option."""
        return not override.is_hydra_override() and not self.repository.group_exists(
            override.key_or_group
        )


def _validate(cfg: DictConfig, typed: list[Override]) -> None:
    """Refuse a config that cannot work; the blame is with what was typed, if at all."""
    try:
        schema.validate(cfg)
    except UnknownKeyError as error:  # something refers to it: hardware.actuator=typo
        name = error.key.removeprefix(f"{error.parent}.").partition(".")[0]
        for item in typed:
            if item.value() == name and item.key_or_group != error.key:
                expected = f"one of {', '.join(error.siblings)}"
                raise ConfigError(
                    item.key_or_group, got=name, expected=expected
                ) from error
        raise
    for group in schema.GROUPS:
        if group != "tracking" and "_target_" not in cfg[group]:
            expected = "the class that its yaml is for, with its module in front"
            raise ConfigError(f"{group}._target_", got=None, expected=expected)


def _check_warm_start(
    typed: list[Override], base: DictConfig, run_mode: RunMode
) -> None:
    """Refuse a typed `init_from` where nothing is trained, or that moves on."""
    for item in typed:
        if item.key_or_group != "init_from":
            continue
        if not base.job.get("trains", False):
            expected = "to be left out: only a training begins with a run's policy"
            got = item.get_value_element_as_str()
            raise ConfigError("init_from", got=got, expected=expected)
        sweep = item.is_sweep_override()
        values = list(item.sweep_iterator()) if sweep else [item.value()]
        if run_mode == RunMode.MULTIRUN and "latest" in values:
            expected = "a path: in a sweep, each run would begin with the one before"
            raise ConfigError("init_from", got="latest", expected=expected)


def _typed_run(values: list[Override], unfinished: bool) -> Any:
    """Return the directory that `run=` names, or None if it was not typed."""
    for item in values:
        if item.key_or_group == "run":
            value = (
                next(item.sweep_iterator())
                if item.is_sweep_override()
                else item.value()
            )
            if value is None:
                return None
            return from_run.find_run(str(value), needs_policy=not unfinished)
    return None


def _sampled_jobs(typed: list[Override]) -> Iterator[list[str]]:
    """Yield jobs of a sweep in which every typed value occurs at least once.

    Not their product: a sweep of 5 x 5 values is checked in 9 jobs. Of a long range,
    only the beginning. Intervals belong to an optimiser and are left to it.
    """
    if any(item.is_sweep_override() and not item.is_discrete_sweep() for item in typed):
        return
    values = [
        [
            f"{item.get_key_element()}={text}"
            for text in islice(item.sweep_string_iterator(), SAMPLED)
        ]
        if item.is_sweep_override()
        else [_line(item)]
        for item in typed
    ]
    yield [texts[0] for texts in values]
    for index, texts in enumerate(values):
        for text in texts[1:]:
            others = [first[0] for first in values]
            yield [*others[:index], text, *others[index + 1 :]]


def _line(override: Override) -> str:
    """Return an override as it was typed."""
    assert override.input_line is not None
    return override.input_line

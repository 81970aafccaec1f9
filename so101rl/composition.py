"""Composing a config: Hydra's loader with our checks, for `main.py` and for scripts.

`CheckedLoader` stands where Hydra loads any config, so one set of checks serves single
runs, every job of a sweep, `--cfg` and `--help`, before a directory is made.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
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

from so101rl import config, explain, saved_run
from so101rl.errors import ConfigError, OverrideSyntaxError, UnknownOptionError
from so101rl.overrides import checked

CONF = Path(__file__).resolve().parents[1] / "conf"


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
    config.register()
    usual = hydra_internal.ConfigLoaderImpl
    hydra_internal.ConfigLoaderImpl = CheckedLoader  # type: ignore
    try:
        yield
    finally:
        hydra_internal.ConfigLoaderImpl = usual  # type: ignore


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
        if config_name is None or not validate_sweep_overrides:  # Hydra only probes
            return super().load_configuration(
                config_name, overrides, run_mode, from_shell, validate_sweep_overrides
            )
        try:
            typed = OverridesParser.create(config_loader=self).parse_overrides(
                overrides
            )
            if run_mode == RunMode.MULTIRUN:
                for job in _sampled_jobs(typed):
                    self.load_configuration(config_name, job, RunMode.RUN)
            return self._load(config_name, typed, run_mode)
        except (HydraException, OmegaConfBaseException) as error:
            raise explain.explained(error, self.options()) from error

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

    def options(self) -> dict[str, list[str]]:
        """Return the options of each of our config groups."""
        groups = [name for name in self.list_groups("") if name != "hydra"]
        return {
            group: self.get_group_options(group, ObjectType.CONFIG) for group in groups
        }

    def _load(
        self, config_name: str, typed: list[Override], run_mode: RunMode
    ) -> DictConfig:
        """Compose, check, and put the values of `run=` in."""
        for item in typed:
            self._check_choice(item)
        values = [item for item in typed if self._is_value(item)]
        choices = [_line(item) for item in typed if item not in values]
        base = super().load_configuration(config_name, choices, run_mode)
        loads = base.job.get("loads_run")
        run_dir = (
            _typed_run(values, base.job.get("unfinished", False)) if loads else None
        )
        anew = {item.key_or_group for item in typed if item not in values}
        if run_dir is not None:
            if choices:
                anew |= self._chosen_within(config_name, choices, run_mode)
            choices += self._choices_of_run(run_dir, anew)
            base = super().load_configuration(config_name, choices, run_mode)
        lines = [_line(item) for item in values]
        if run_mode == RunMode.RUN:  # a sweep's jobs are checked one by one
            lines = [checked(item, base) for item in values]
        cfg = base
        if lines:
            cfg = super().load_configuration(config_name, choices + lines, run_mode)
        cfg.hydra.overrides.task = [
            _line(item) for item in typed if not item.is_hydra_override()
        ]
        if run_mode == RunMode.RUN:
            if run_dir is not None:
                moved = [item.key_or_group for item in values]
                saved_run.restore(cfg, run_dir, keep=anew, typed=moved)
                self._apply_once_more(lines, cfg)
            config.validate(cfg)
            saved_run.check_targets(cfg)
        return cfg

    def _chosen_within(
        self, config_name: str, choices: list[str], run_mode: RunMode
    ) -> set[str]:
        """Return the groups that the typed options choose in their turn."""

        def within(lines: list[str]) -> set[tuple[str, str | None]]:
            found = self.compute_defaults_list(config_name, lines, run_mode).overrides
            return {
                (group, origin.containing_config_path)
                for group, origin in found.override_metadata.items()
                if not origin.external_override
            }

        return {group for group, _ in within(choices) - within([])}

    def _choices_of_run(self, run_dir: Path, anew: set[str]) -> list[str]:
        """Return the run's group choices as overrides, but for those made anew."""
        if "experiment" in anew:
            expected = "to be left out next to run=, which brings all of its config"
            raise ConfigError("experiment", got="(typed)", expected=expected)
        return [
            f"{group}={names[0]}" if len(names) == 1 else f"{group}=[{','.join(names)}]"
            for group, names in saved_run.choices(run_dir).items()
            if not anew & {group, group.split("/")[0]}
            and set(names) <= set(self.get_group_options(group))
        ]

    def _apply_once_more(self, lines: list[str], cfg: DictConfig) -> None:
        """Put what was typed on top of what came from a run."""
        again = [line for line in lines if not line.startswith("run=")]
        parsed = OverridesParser.create(config_loader=self).parse_overrides(again)
        self._apply_overrides_to_config(parsed, cfg)

    def _check_choice(self, override: Override) -> None:
        """Refuse `group=null` and `env.observation=...` for `env/observation=...`."""
        key, value = override.key_or_group, override.value()
        if override.is_hydra_override():
            return
        if value is None and not override.is_delete():
            options = self.get_group_options(key)
            if options:
                raise UnknownOptionError(key, got="null", options=options)
        path = key.replace(".", "/")
        if path != key and isinstance(value, str) and self.get_group_options(path):
            raise OverrideSyntaxError(
                _line(override), reason="that is a group", guess=f"{path}={value}"
            )

    def _is_value(self, override: Override) -> bool:
        """Tell a `key=value` from the choice of a group's option."""
        return not override.is_hydra_override() and not self.repository.group_exists(
            override.key_or_group
        )


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
            return saved_run.find_run(str(value), needs_policy=not unfinished)
    return None


def _sampled_jobs(typed: list[Override]) -> Iterator[list[str]]:
    """Yield jobs of a sweep in which every typed value occurs at least once.

    Not their product: a sweep of 5 x 5 values is checked in 9 jobs. Intervals belong to
    an optimiser and are left to it.
    """
    if any(item.is_sweep_override() and not item.is_discrete_sweep() for item in typed):
        return
    values = [
        [f"{item.get_key_element()}={text}" for text in item.sweep_string_iterator()]
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

"""The command line: Hydra composes, this module checks and says what is wrong.

`CheckedLoader` stands where Hydra loads any config, so one set of checks serves single
runs, every job of a sweep, `--cfg` and `--help`, before a directory is made.
"""

import os
import sys
from collections.abc import Callable, Iterator
from importlib import import_module
from typing import Any

from hydra._internal import hydra as hydra_internal
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import get_args_parser
from hydra.core.hydra_config import HydraConfig
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from so101rl import config, explain, saved_run
from so101rl.errors import ConfigError, OverrideSyntaxError, UnknownOptionError
from so101rl.overrides import checked

EXIT_USER_ERROR = 2
EXIT_INTERRUPTED = 130


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
        rest = [_line(item) for item in typed if item not in values]
        base = super().load_configuration(config_name, rest, run_mode)
        run_dir = None
        if base.job.get("loads_run"):
            run_dir = _typed_run(values)
        chosen = {item.key_or_group for item in typed}
        if run_dir is not None:
            known = self.options()
            rest += [
                f"{group}={option}"
                for group, option in saved_run.choices(run_dir).items()
                if group not in chosen and option in known.get(group, ())
            ]
            base = super().load_configuration(config_name, rest, run_mode)
        if run_mode == RunMode.MULTIRUN:
            lines = [_line(item) for item in values]
        else:
            lines = [checked(item, base) for item in values]
        cfg = base
        if lines:
            cfg = super().load_configuration(config_name, rest + lines, run_mode)
        cfg.hydra.overrides.task = [
            _line(item) for item in typed if not item.is_hydra_override()
        ]
        if run_mode == RunMode.MULTIRUN:
            return cfg
        if run_dir is not None:
            saved_run.restore(cfg, run_dir, keep=chosen)
            again = [line for line in lines if not line.startswith("run=")]
            parsed = OverridesParser.create(config_loader=self).parse_overrides(again)
            self._apply_overrides_to_config(parsed, cfg)
        config.validate(cfg)
        return cfg

    def _check_choice(self, override: Override) -> None:
        """Refuse `group=null`, which Hydra does not understand."""
        if override.value() is None and not override.is_delete():
            group, known = override.key_or_group, self.options()
            if group in known:
                raise UnknownOptionError(group, got="null", options=known[group])

    def _is_value(self, override: Override) -> bool:
        """Tell a `key=value` from the choice of a group's option."""
        return not override.is_hydra_override() and not self.repository.group_exists(
            override.key_or_group
        )


def guarded(main: Callable[[], Any]) -> int:
    """Run Hydra's entry point and turn what it raises into an exit code.

    Args:
        main: The function decorated with `hydra.main`.

    Returns:
        0, 2 for a user's mistake, 130 for Ctrl+C, or what the job itself asked for.
    """
    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra raises instead of printing
    hydra_internal.ConfigLoaderImpl = CheckedLoader  # type: ignore
    config.register()
    try:
        _check_flags(sys.argv[1:])
        main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except Exception as error:
        return _report(error)
    return 0


def run_job(cfg: DictConfig) -> float | None:
    """Call the function that `cfg.job._target_` names.

    Args:
        cfg: Composed and checked config.

    Returns:
        What the job returns: a sweep's objective, or None.
    """
    call = HydraConfig.get()
    in_sweep = call.mode == RunMode.MULTIRUN
    if in_sweep:
        print(f"--- job {call.job.num}: {' '.join(call.overrides.task)}", flush=True)
    try:
        return _locate(str(cfg.job._target_))(cfg)
    except Exception as error:
        if in_sweep:  # Hydra runs the other jobs, then raises the first failure
            print(f"--- job {call.job.num} failed: {error}", file=sys.stderr)
            raise
        if explain.user_error(error) is None:
            raise
        # Leave before Hydra prints its own line about the failed job.
        raise SystemExit(_report(error)) from error


def _report(error: Exception) -> int:
    """Print a user's mistake in one short message; raise anything else again."""
    reason = explain.user_error(error)
    if reason is None or os.environ.get("SO101RL_DEBUG") == "1":
        raise error
    print(f"error: {reason}", file=sys.stderr)
    return EXIT_USER_ERROR


def _locate(target: str) -> Callable[[DictConfig], float | None]:
    """Import the job function; only our own package may be named."""
    module, _, name = target.rpartition(".")
    expected = "a function of so101rl, as in conf/job/train.yaml"
    if not target.startswith("so101rl."):
        raise ConfigError("job._target_", got=target, expected=expected)
    try:
        found = import_module(module)
    except ModuleNotFoundError as error:
        if error.name is None or not module.startswith(error.name):
            raise
        raise ConfigError("job._target_", got=target, expected=expected) from error
    if not hasattr(found, name):
        raise ConfigError("job._target_", got=target, expected=expected)
    return getattr(found, name)


def _check_flags(argv: list[str]) -> None:
    """Refuse `--seed 3` and words that argparse would report in ten lines."""
    unknown = get_args_parser().parse_known_args(argv)[1]
    if not unknown:
        return
    word = unknown[0]
    if word.startswith("-"):
        key = word.lstrip("-").replace("-", "_")
        raise OverrideSyntaxError(
            word,
            reason="there is no such flag; settings are written without dashes",
            guess=key if "=" in key else f"{key}=VALUE",
        )
    raise OverrideSyntaxError(
        word, reason="write all settings together, before or after the flags"
    )


def _typed_run(values: list[Override]) -> Any:
    """Return the directory that `run=` names, or None if it was not typed."""
    for item in values:
        if item.key_or_group == "run":
            value = (
                next(item.sweep_iterator())
                if item.is_sweep_override()
                else item.value()
            )
            return None if value is None else saved_run.find_run(str(value))
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

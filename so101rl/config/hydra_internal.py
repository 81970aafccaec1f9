"""All uses of private parts of Hydra 1.3; no other file uses them."""

import warnings
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from hydra._internal import hydra as hydra_module
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.object_type import ObjectType
from hydra.core.override_parser.types import Override
from omegaconf import DictConfig


class Loader(ConfigLoaderImpl):
    """Hydra's config loader, with public methods for our checks."""

    def get_group_options(
        self,
        group_name: str,
        results_filter: ObjectType | None = ObjectType.CONFIG,
        config_name: str | None = None,
        overrides: list[str] | None = None,
    ) -> list[str]:
        """Read the files directly; Hydra copies them first, 0.25 s for --help."""
        if config_name is None and not overrides:
            return self.repository.get_group_options(group_name, results_filter)
        return super().get_group_options(
            group_name, results_filter, config_name, overrides
        )

    def set_search_path(self, typed: list[Override]) -> None:
        """Add a typed `hydra.searchpath` to the search for groups and options."""
        with warnings.catch_warnings(action="ignore"):
            self._process_config_searchpath(None, typed, self.repository)  # type: ignore

    def is_group(self, name: str) -> bool:
        """Return whether there is a config group of this name."""
        return self.repository.group_exists(name)

    def yaml_of(self, path: str) -> DictConfig | None:
        """Return an option's own yaml, uncomposed, for example `algo/ppo`."""
        found = self.repository.load_config(path)
        return found.config if found and isinstance(found.config, DictConfig) else None

    def apply(self, typed: list[Override], cfg: DictConfig) -> None:
        """Set the typed keys of a composed config, in place."""
        self._apply_overrides_to_config(typed, cfg)


@contextmanager
def loader_class(loader: type[Loader]) -> Iterator[None]:
    """Let Hydra load configs through `loader`."""
    before = hydra_module.ConfigLoaderImpl
    hydra_module.ConfigLoaderImpl = loader  # type: ignore[misc]
    try:
        yield
    finally:
        hydra_module.ConfigLoaderImpl = before  # type: ignore[misc]


@contextmanager
def outer_hydra_suspended() -> Iterator[None]:
    """Allow composing inside a Hydra program, although Hydra's state is global."""
    before, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        yield
    finally:
        GlobalHydra.instance().hydra = before  # by now it may be another instance


def parse_flags(words: Sequence[str]) -> tuple[Namespace, list[str]]:
    """Return Hydra's flags, and the words after them that it does not know."""
    return get_args_parser().parse_known_args(list(words))

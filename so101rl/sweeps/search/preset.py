"""Values that were found, as a preset for `conf/experiment/`."""

from collections.abc import Mapping
from typing import Any

from so101rl.config.schema import GROUPS
from so101rl.sweeps.search.space import words


def preset(params: Mapping[str, Any], head: str) -> str:
    """A yaml file that sets what was searched, as typing it would.

    Args:
        params: values by key, or by config group.
        head: its first line, which a list of presets shows.
    """
    from hydra.core.override_parser.overrides_parser import OverridesParser
    from omegaconf import OmegaConf

    typed = OverridesParser.create().parse_overrides(words(params))
    chosen = [item for item in typed if _is_group(item.key_or_group)]
    cfg = OmegaConf.create()
    if chosen:
        cfg.defaults = [
            {f"override /{item.key_or_group}": item.value()} for item in chosen
        ]
    for item in typed:
        if item not in chosen:
            OmegaConf.update(cfg, item.key_or_group, item.value(), force_add=True)
    return f"# @package _global_\n# {head}\n{OmegaConf.to_yaml(cfg)}"


def _is_group(key: str) -> bool:
    return key in GROUPS or "/" in key

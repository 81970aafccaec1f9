"""`run=`: a finished run's own config, changed only by the keys that were typed."""

import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from so101rl.config import GROUPS
from so101rl.errors import RunNotFoundError

OUTPUT_ROOTS = ("outputs", "multirun")
CONFIG_FILE = Path(".hydra") / "config.yaml"
HYDRA_FILE = Path(".hydra") / "hydra.yaml"
# keys that say what to do now, not what the run was
_OF_THE_CALL = ("job", "run", "checkpoint", "trust")
# a run directory may come from somebody else: its config may name only these packages
_TRUSTED = (
    "so101rl.",
    "stable_baselines3.",
    "sb3_contrib.",
    "torch.nn.",
    "torch.optim.",
)


def find_run(run: str) -> Path:
    """Return the run directory that `run=` means.

    Args:
        run: A directory, or `latest` for the run started last below `outputs/` and
            `multirun/` of the working directory.

    Raises:
        RunNotFoundError: If there is none.
    """
    if run == "latest":
        runs = [path for root in OUTPUT_ROOTS for path in _runs_below(Path(root))]
        if not runs:
            raise RunNotFoundError(run, reason="no run in outputs/ or multirun/ yet")
        return max(runs, key=lambda path: (path / CONFIG_FILE).stat().st_mtime_ns)
    path = Path(run)
    if not path.is_dir():
        raise RunNotFoundError(run, reason="there is no such directory")
    for name in (Path("run.json"), CONFIG_FILE):
        if not (path / name).is_file():
            raise RunNotFoundError(run, reason=f"not a run directory (no {name} in it)")
    return path


def choices(run_dir: Path) -> dict[str, list[str]]:
    """Return the options (usually one) that the run chose in each of our groups.

    Groups within groups are among them, such as `env/observation`.
    """
    if not (run_dir / HYDRA_FILE).is_file():
        return {}
    chosen = _load(run_dir, HYDRA_FILE).hydra.runtime.choices
    ours = [str(group) for group in chosen if str(group).split("/")[0] in GROUPS]
    found = {group: chosen[group] for group in ours if chosen[group]}
    return {
        group: [names] if isinstance(names, str) else list(names)
        for group, names in found.items()
    }


def restore(cfg: DictConfig, run_dir: Path, *, keep: Collection[str]) -> None:
    """Replace the values of a freshly composed config by those of a run, in place.

    Args:
        cfg: Composed config, with the `hydra` node.
        run_dir: The run.
        keep: Groups (`env`, `env/observation`) chosen on the command line: they stay as
            composed.

    Raises:
        RunNotFoundError: If the run's config cannot be read by this version.
    """
    saved = _load(run_dir, CONFIG_FILE)
    values = OmegaConf.to_container(saved)  # as written: references stay references
    assert isinstance(values, dict)
    _check_targets(values, str(run_dir))
    inner = [group.replace("/", ".") for group in keep if "/" in group]
    fresh = {path: OmegaConf.select(cfg, path) for path in inner}
    for key, value in ((str(name), value) for name, value in values.items()):
        if key in _OF_THE_CALL or key in keep:
            continue
        if key not in cfg:
            reason = f"written by another version: this one has no key '{key}'"
            raise RunNotFoundError(str(run_dir), reason=reason)
        try:
            if key in GROUPS:
                cfg[key] = value
            else:
                OmegaConf.update(cfg, key, value, merge=True)
        except OmegaConfBaseException as error:
            reason = (
                f"its {key} does not fit this version ({str(error).splitlines()[0]})"
            )
            raise RunNotFoundError(str(run_dir), reason=reason) from error
    for path, node in fresh.items():
        OmegaConf.update(cfg, path, node, merge=False)
    cfg.run = str(run_dir)
    with open_dict(cfg.hydra):
        # The job writes into the run, if anywhere: Hydra makes no directory of its own.
        cfg.hydra.run.dir = "."
        cfg.hydra.output_subdir = None


def _runs_below(root: Path) -> Iterator[Path]:
    """Yield the run directories below `root`; evaluations of a bare policy are none."""
    for folder, subfolders, files in os.walk(root):
        if "run.json" in files:
            subfolders.clear()
            path = Path(folder)
            if (path / CONFIG_FILE).is_file() and not _load(path, CONFIG_FILE).job.get(
                "loads_run"
            ):
                yield path


def _load(run_dir: Path, name: Path) -> DictConfig:
    """Read one of the yaml files that Hydra left in a run directory."""
    try:
        cfg = OmegaConf.load(run_dir / name)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise RunNotFoundError(str(run_dir), reason=f"cannot read {name}") from error
    if not isinstance(cfg, DictConfig):
        raise RunNotFoundError(str(run_dir), reason=f"cannot read {name}")
    return cfg


def _check_targets(node: dict[Any, Any] | list[Any], run: str) -> None:
    """Refuse a run whose config would call something foreign when it is built."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if key == "_target_" and not str(value).startswith(_TRUSTED):
            raise RunNotFoundError(run, reason=f"its config would call {value}")
        if isinstance(value, dict | list):
            _check_targets(value, run)

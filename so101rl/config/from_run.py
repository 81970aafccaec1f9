"""`run=`: a finished run's own config, changed only by the keys that were typed."""

import os
import re
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from so101rl.config.schema import GROUPS, OF_THE_CALL
from so101rl.errors import ConfigError, RunNotFoundError
from so101rl.files import PACKAGE

OUTPUT_ROOTS = ("outputs", "multirun")
CONFIG_FILE = Path(".hydra") / "config.yaml"
HYDRA_FILE = Path(".hydra") / "hydra.yaml"
BEST = Path("checkpoints") / "best"  # the policy that a run is asked for
REFERENCES_FILE = Path(".hydra") / "references.yaml"
_REFERENCE = re.compile(r"\$\{[\w.${}]+\}")
_TARGET = re.compile(r"^( *(?:- )?_target_: )(\S+)$", re.MULTILINE)
# Classes by the names that runs made before version 0.2 call them.
MOVED = {
    "so101rl.scene.Scene": "so101rl.scene.scene.Scene",
    "so101rl.scene.ContactPair": "so101rl.scene.scene.ContactPair",
}
# A run directory may come from somebody else, so its config may name only classes: ours
# and these. Not by any path: `so101rl.jobs.doctor.subprocess.Popen` is one, too.
_LIBRARIES = re.compile(
    r"(stable_baselines3(\.common\.noise)?|sb3_contrib|torch\.nn|torch\.optim)\.[A-Z]\w*"
)
_OURS = re.compile(
    r"(?P<package>so101rl|benchmarks)\.(?P<module>\w+(\.\w+)*)\.(?P<name>[A-Z]\w*)"
)


def find_run(run: str, *, needs_policy: bool = True, key: str = "run") -> Path:
    """Return the run directory that `run=` means.

    Args:
        run: A directory, or `latest` for the run started last below `outputs/` and
            `multirun/` of the working directory.
        needs_policy: Whether `latest` is one of those with a best policy.
        key: The config key that names it, for messages.

    Raises:
        RunNotFoundError: If there is none.
    """
    if run == "latest":
        runs = [
            path
            for root in OUTPUT_ROOTS
            for path in _runs_below(Path(root), needs_policy)
        ]
        if not runs:
            what = f"run with {BEST}" if needs_policy else "run"
            reason = f"no {what} in outputs/ or multirun/ yet"
            raise RunNotFoundError(run, reason=reason, key=key)
        return max(runs, key=lambda path: (path / CONFIG_FILE).stat().st_mtime_ns)
    path = Path(run)
    if not path.is_dir():
        raise RunNotFoundError(run, reason="there is no such directory", key=key)
    for name in (Path("run.json"), CONFIG_FILE):
        if not (path / name).is_file():
            reason = f"not a run directory (no {name} in it)"
            raise RunNotFoundError(run, reason=reason, key=key)
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


def restore(
    cfg: DictConfig, run_dir: Path, *, keep: Collection[str], typed: Collection[str]
) -> None:
    """Replace the values of a freshly composed config by those of a run, in place.

    Args:
        cfg: Composed config, with the `hydra` node.
        run_dir: The run.
        keep: Groups (`env`, `env/observation`) chosen on the command line: they stay as
            composed.
        typed: Keys typed on the command line; what follows them has to follow.

    Raises:
        RunNotFoundError: If the run's config cannot be read by this version.
    """
    saved = _load(run_dir, CONFIG_FILE)
    values = OmegaConf.to_container(saved)  # as written: references stay references
    assert isinstance(values, dict)
    _check_foreign(
        {key: values[key] for key in values if key not in OF_THE_CALL}, str(run_dir)
    )
    inner = [group.replace("/", ".") for group in keep if "/" in group]
    fresh = {path: OmegaConf.select(cfg, path) for path in inner}
    now = references(_plain(cfg))
    OmegaConf.set_struct(cfg.evaluation.tests, False)  # its keys are names
    for key, value in ((str(name), value) for name, value in values.items()):
        if key not in OF_THE_CALL and key not in keep:
            _put(cfg, key, value, run_dir)
    for key, reference in _references_of(run_dir, now, cfg, typed).items():
        if key.partition(".")[0] not in {*OF_THE_CALL, *keep}:
            _put(cfg, key, reference, run_dir)
    for path, node in fresh.items():
        OmegaConf.update(cfg, path, node, merge=False)
    cfg.run = str(run_dir)
    with open_dict(cfg.hydra):
        # The job writes into the run, if anywhere: Hydra makes no directory of its own.
        cfg.hydra.run.dir = "."
        cfg.hydra.output_subdir = None


def references(node: Mapping[Any, Any], parent: str = "") -> dict[str, str]:
    """Find the keys that follow another key.

    Args:
        node: Config as plain Python, unresolved.
        parent: Dotted key of `node`, with a dot behind; empty for the root.

    Returns:
        `{"base_policy.act_scale": "${env.act_scale}", ...}`.
    """
    found: dict[str, str] = {}
    for name, value in node.items():
        if not re.fullmatch(r"[a-z]\w*", str(name)):
            continue  # `_target_` above all: what a run calls is not up for reference
        if isinstance(value, Mapping):
            found |= references(value, f"{parent}{name}.")
        elif isinstance(value, str) and _REFERENCE.fullmatch(value):
            found[f"{parent}{name}"] = value
    return found


def _references_of(
    run_dir: Path, now: dict[str, str], cfg: DictConfig, typed: Collection[str]
) -> dict[str, str]:
    """Return the run's references by key, which its resolved config no longer has.

    A run of before they were kept is refused if a typed key has followers `now`.
    """
    if (run_dir / REFERENCES_FILE).is_file():
        saved = _plain(_load(run_dir, REFERENCES_FILE))
        for key, value in saved.items():
            if not references({key.rpartition(".")[2]: value}):
                reason = f"{REFERENCES_FILE}: {key} is no reference"
                raise RunNotFoundError(str(run_dir), reason=reason)
        return saved
    kept = references(_plain(cfg))
    for key, reference in now.items():
        for moved in typed:
            if key not in kept and _names(reference, moved):
                reason = f"too old to say whether {key} follows {moved}; type both"
                raise RunNotFoundError(str(run_dir), reason=reason)
    return {}


def _names(reference: str, key: str) -> bool:
    """Tell whether a reference leads to a key, into it, or to what it is part of."""
    targets = [text.strip(".") for text in re.findall(r"[\w.]+", reference)]
    return any(
        f"{target}.".startswith(f"{key}.") or f"{key}.".startswith(f"{target}.")
        for target in targets
    )


def _put(cfg: DictConfig, key: str, value: Any, run_dir: Path) -> None:
    """Set one key to the run's value; a group's node is replaced as a whole."""
    if key.partition(".")[0] not in cfg:
        reason = f"written by another version: this one has no key '{key}'"
        raise RunNotFoundError(str(run_dir), reason=reason)
    try:
        OmegaConf.update(cfg, key, value, merge=key not in GROUPS)
    except OmegaConfBaseException as error:
        reason = f"its {key} does not fit this version ({str(error).splitlines()[0]})"
        raise RunNotFoundError(str(run_dir), reason=reason) from error


def _plain(cfg: DictConfig) -> dict[str, Any]:
    """Return a config as plain Python, `hydra` left out, references as written."""
    values = OmegaConf.to_container(cfg)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "hydra"}


def _runs_below(root: Path, needs_policy: bool) -> Iterator[Path]:
    """Yield the runs, with a policy or all, below `root`; evaluations are none."""
    for folder, subfolders, files in os.walk(root):
        if "run.json" in files:
            subfolders.clear()
            path = Path(folder)
            if needs_policy and not (path / BEST).is_dir():
                continue
            if not (path / CONFIG_FILE).is_file():
                continue
            if not _load(path, CONFIG_FILE).job.get("loads_run"):
                yield path


def read_config(path: Path) -> DictConfig | ListConfig:
    """Read a yaml file, with today's names of classes that have moved since."""
    text = path.read_text(encoding="utf-8")
    now = _TARGET.sub(lambda found: found[1] + MOVED.get(found[2], found[2]), text)
    return OmegaConf.create(now)


def load_config(run_dir: Path) -> DictConfig:
    """Return the resolved config of a run, unchecked."""
    return _load(run_dir, CONFIG_FILE)


def _load(run_dir: Path, name: Path) -> DictConfig:
    """Read one of the yaml files that Hydra left in a run directory."""
    try:
        cfg = read_config(run_dir / name)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise RunNotFoundError(str(run_dir), reason=f"cannot read {name}") from error
    if not isinstance(cfg, DictConfig):
        raise RunNotFoundError(str(run_dir), reason=f"cannot read {name}")
    return cfg


def check_targets(cfg: DictConfig) -> None:
    """Refuse a config that would call anything but our classes and known libraries'.

    Raises:
        ConfigError: Naming the key.
    """
    for key, value in _targets(_plain(cfg), ""):
        known = _is_known_class(value, ("so101rl", "benchmarks"))
        if key != "job._target_" and not known:  # a job is looked at when it is called
            expected = "an existing class of so101rl, sb3, sb3_contrib or torch"
            raise ConfigError(key, got=value, expected=expected)


def _targets(node: Any, key: str) -> Iterator[tuple[str, Any]]:
    """Yield every `_target_` below a node, with its dotted key."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for name, value in items:
        path = f"{key}.{name}" if key else str(name)
        if name == "_target_":
            yield path, value
        elif isinstance(value, dict | list):
            yield from _targets(value, path)


def _check_foreign(node: dict[Any, Any] | list[Any], run: str) -> None:
    """Refuse a run whose config would call or ask for something foreign."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if key == "_target_" and not _is_known_class(value):
            raise RunNotFoundError(run, reason=f"its config would call {value}")
        if isinstance(value, str) and "${" in value and ":" in value:
            raise RunNotFoundError(run, reason=f"its config would look up {value}")
        if isinstance(value, dict | list):
            _check_foreign(value, run)


def _is_known_class(target: object, packages: Collection[str] = ("so101rl",)) -> bool:
    """Tell whether `target` is a class that is ours or a library's, by text alone."""
    if not isinstance(target, str):
        return False
    ours = _OURS.fullmatch(target)
    if ours is None or ours["package"] not in packages:
        return _LIBRARIES.fullmatch(target) is not None
    folder = PACKAGE if ours["package"] == "so101rl" else PACKAGE.parent / "benchmarks"
    file = folder.joinpath(*ours["module"].split(".")).with_suffix(".py")
    return file.is_file() and bool(
        re.search(rf"^class {ours['name']}\b", file.read_text("utf-8"), re.MULTILINE)
    )

"""`run=`: the config of a run, changed only by the keys that were typed."""

import contextlib
import fcntl
import os
import re
from collections.abc import Callable, Collection, Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException
from yaml import YAMLError

from so101rl.config.errors import RunNotFoundError
from so101rl.config.schema import CALL_KEYS, GROUPS
from so101rl.config.targets import check_saved
from so101rl.errors import So101Error
from so101rl.files import read_json

OUTPUT_ROOTS = ("outputs", "multirun")
RUN_FILE, LOCK_FILE = Path("run.json"), Path(".lock")
CONFIG_FILE = Path(".hydra") / "config.yaml"
HYDRA_FILE = Path(".hydra") / "hydra.yaml"
REFERENCES_FILE = Path(".hydra") / "references.yaml"
BEST = Path("checkpoints") / "best"  # the policy that jobs load
RESUMABLE = ("infrastructure", "stopped", "timeout")  # kinds, see runs/failures.py
_REFERENCE = re.compile(r"\$\{[\w.${}]+\}")
TRAIN = "train"


def find_run(
    run: str,
    *,
    latest: str = "ended",
    key: str = "run",
    jobs: Collection[str] = (TRAIN,),
) -> Path:
    """Return the run directory that `run=` names.

    Args:
        run: A directory, or `latest` for the newest run below `outputs/` and
            `multirun/` of the working directory.
        latest: Which runs that may be: a key of `LATEST`.
        key: The config key that names it, for messages.
        jobs: The jobs whose runs it may be.

    Raises:
        RunNotFoundError: If there is none.
    """
    if run == "latest":
        is_allowed, reason = LATEST[latest]
        for path in _newest_runs():
            info = read_json(path / RUN_FILE)
            if _job_of(info) in jobs and is_allowed(path, info):
                return path
        raise RunNotFoundError(run, reason=reason, key=key)
    path = Path(run)
    if not path.is_dir():
        raise RunNotFoundError(run, reason="there is no such directory", key=key)
    for name in (RUN_FILE, CONFIG_FILE):
        if not (path / name).is_file():
            reason = f"not a run directory (no {name} in it)"
            raise RunNotFoundError(run, reason=reason, key=key)
    job = _job_of(read_json(path / RUN_FILE))
    if job not in jobs:
        reason = f"a run of job={job}: expected one of job={' or '.join(jobs)}"
        raise RunNotFoundError(run, reason=reason, key=key)
    return path


def choices(run_dir: Path) -> dict[str, list[str]]:
    """Return the options (usually one) that the run chose in each of our groups.

    Groups within groups are included, such as `env/observation`.
    """
    if not (run_dir / HYDRA_FILE).is_file():
        return {}
    chosen = _load(run_dir, HYDRA_FILE).hydra.runtime.choices
    return {
        str(group): [names] if isinstance(names, str) else list(names)
        for group, names in chosen.items()
        if str(group).split("/")[0] in GROUPS and names
    }


def restore(
    cfg: DictConfig, run_dir: Path, *, keep: Collection[str], typed: Collection[str]
) -> None:
    """Replace the values of a freshly composed config by those of a run, in place.

    Groups to `keep`, such as `env/observation`, were chosen on the command line and
    stay as composed. Keys that refer to `typed` keys follow them.

    Raises:
        RunNotFoundError: If the run's config cannot be read by this version.
    """
    saved = OmegaConf.to_container(_load(run_dir, CONFIG_FILE))
    assert isinstance(saved, dict)
    values = {str(key): saved[key] for key in saved if key not in CALL_KEYS}
    if "leash" in (values.get("env") or {}):  # since 0.2 below env.control
        reason = "made by a version before 0.2; run it with that version, or train anew"
        raise RunNotFoundError(str(run_dir), reason=reason)
    check_saved(values, str(run_dir), cfg)
    inner = [
        group.partition("@")[0].replace("/", ".")
        for group in keep
        if "/" in group and not is_part_of(group, keep)
    ]
    composed = {path: OmegaConf.select(cfg, path) for path in inner}
    references_now = references(_plain(cfg))
    OmegaConf.set_struct(cfg.evaluation.tests, False)  # its keys are names
    for key, value in values.items():
        if key not in keep:
            _set(cfg, key, value, run_dir)
    for key, reference in _references_of(run_dir, references_now, cfg, typed).items():
        if key.partition(".")[0] not in {*CALL_KEYS, *keep}:
            _set(cfg, key, reference, run_dir)
    for path, node in composed.items():
        OmegaConf.update(cfg, path, node, merge=False)
    cfg.run = str(run_dir)
    with open_dict(cfg.hydra):
        # The job writes into the run, if anywhere: Hydra makes no directory of its own.
        cfg.hydra.run.dir = "."
        cfg.hydra.output_subdir = None


def is_part_of(group: str, chosen: Collection[str]) -> bool:
    """Tell whether a group is a piece of one that was chosen, which brings its own.

    Such as `randomization/arm@randomization.terms` of `randomization`.
    """
    return "@" in group and group.split("/")[0] in chosen


def references(node: Mapping[Any, Any], parent: str = "") -> dict[str, str]:
    """Find the keys of an unresolved config whose value refers to another key.

    Args:
        node: Config as plain Python.
        parent: Dotted key of `node`, with a dot at its end; empty for the root.

    Returns:
        `{"base_policy.act_scale": "${env.act_scale}", ...}`.
    """
    found: dict[str, str] = {}
    for name, value in node.items():
        if not re.fullmatch(r"[a-z]\w*", str(name)):
            continue  # above all `_target_`: a reference must not change what is called
        if isinstance(value, Mapping):
            found |= references(value, f"{parent}{name}.")
        elif isinstance(value, str) and _REFERENCE.fullmatch(value):
            found[f"{parent}{name}"] = value
    return found


def _references_of(
    run_dir: Path, now: dict[str, str], cfg: DictConfig, typed: Collection[str]
) -> dict[str, str]:
    """Return the run's references by key, which its resolved config no longer has.

    Of a run without a file of them, refuse typed keys that others refer to `now`.
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
        for other in typed:
            if key not in kept and refers_to(reference, other):
                reason = f"too old to say whether {key} follows {other}; type both"
                raise RunNotFoundError(str(run_dir), reason=reason)
    return {}


def refers_to(reference: str, key: str) -> bool:
    """Tell whether a reference is to a key, to one below it, or to one above it."""
    targets = [text.strip(".") for text in re.findall(r"[\w.]+", reference)]
    return any(
        f"{target}.".startswith(f"{key}.") or f"{key}.".startswith(f"{target}.")
        for target in targets
    )


def _set(cfg: DictConfig, key: str, value: Any, run_dir: Path) -> None:
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
    """Return a config as plain Python without `hydra`, references as written."""
    values = OmegaConf.to_container(cfg)
    assert isinstance(values, dict)
    return {str(key): value for key, value in values.items() if key != "hydra"}


def _newest_runs() -> Iterator[Path]:
    """Yield the runs, newest first, that have readable files."""
    started: dict[Path, int] = {}
    for folder, subfolders, files in chain.from_iterable(map(os.walk, OUTPUT_ROOTS)):
        config = folder / CONFIG_FILE
        if RUN_FILE.name in files:
            subfolders.clear()
            if config.is_file():
                started[Path(folder)] = config.stat().st_mtime_ns
    for path in sorted(started, key=started.__getitem__, reverse=True):
        with contextlib.suppress(So101Error):
            read_json(path / RUN_FILE)
            load_config(path)
            yield path


def _job_of(info: Mapping[str, Any]) -> str:
    """Return the job that made a run."""
    return info.get("groups", {}).get("job", TRAIN)


def _has_policy(path: Path, info: Mapping[str, Any]) -> bool:
    """Tell whether a run has ended, however it did, and has a best policy."""
    return (path / BEST).is_dir() and not _is_running(path, info)


def _can_be_resumed(path: Path, info: Mapping[str, Any]) -> bool:
    """Tell whether a run ended early, and not by an error that would occur again."""
    status, error = info.get("status"), info.get("error") or {}
    if status == "running":
        return not _is_running(path, info)
    return status in ("killed", "failed") and error.get("kind") in RESUMABLE


def _is_running(path: Path, info: Mapping[str, Any]) -> bool:
    """Tell whether a process still holds the lock of a run (`so101rl.runs.lock`)."""
    if info.get("status") != "running":
        return False
    try:
        with (path / LOCK_FILE).open() as handle:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


_PLACE = " and ".join(f"{root}/" for root in OUTPUT_ROOTS)
# What run=latest may be -> how to tell, and the message if no run is.
LATEST: dict[str, tuple[Callable[[Path, Mapping[str, Any]], bool], str]] = {
    "ended": (_has_policy, f"no run with {BEST} in {_PLACE} has ended yet"),
    "resumable": (_can_be_resumed, f"no run in {_PLACE} can be resumed"),
    "any": (lambda path, info: True, f"no run in {_PLACE} yet"),
}


def read_config(path: Path) -> DictConfig | ListConfig:
    """Read a yaml file."""
    return OmegaConf.create(path.read_text(encoding="utf-8"))


def load_config(run_dir: Path) -> DictConfig:
    """Return the resolved config of a run, unchecked."""
    return _load(run_dir, CONFIG_FILE)


def _load(run_dir: Path, name: Path) -> DictConfig:
    """Read one of the yaml files that Hydra wrote into a run directory."""
    reason = f"cannot read {name}"
    try:
        cfg = read_config(run_dir / name)
    except (OSError, ValueError, YAMLError, OmegaConfBaseException) as error:
        raise RunNotFoundError(str(run_dir), reason=reason) from error
    if not isinstance(cfg, DictConfig):
        raise RunNotFoundError(str(run_dir), reason=reason)
    return cfg

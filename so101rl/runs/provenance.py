"""Where a run comes from: code, versions, hardware, and a readable name."""

import contextlib
import hashlib
import os
import platform
import subprocess
import uuid
from collections.abc import Mapping
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from so101rl.files import PACKAGE, shipped
from so101rl.runs.differences import differences

SOURCE_ROOT = PACKAGE.parent
PACKAGES = str.split(
    "torch mujoco stable-baselines3 sb3-contrib gymnasium numpy scipy hydra-core "
    "omegaconf mlflow"
)
ADJECTIVES = str.split(
    "amber agile bold brave bright brisk calm clever cosy deft eager early fair firm "
    "gentle glad golden happy keen kind lively lucky mellow neat nimble patient quick "
    "quiet sharp steady sunny warm"
)
ANIMALS = str.split(
    "badger beaver bison crane dingo dove eagle egret falcon ferret finch fox gecko "
    "heron ibis jackal koala lemur lynx marten mole newt otter owl panda puffin raven "
    "robin seal stork tapir wren"
)


def versions() -> dict[str, str | None]:
    """The versions of Python and of the packages that results depend on."""
    found = {package: version_of(package) for package in PACKAGES}
    return {"python": platform.python_version(), **found}


def version_of(package: str) -> str | None:
    """The installed version of a package, found without importing it, or None."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def git_state(root: Path = SOURCE_ROOT) -> dict[str, Any] | None:
    """The commit of the checkout at `root`, and a hash of all that differs from it.

    Returns:
        `commit`, `dirty`, and `diff_sha256` over the tracked changes and the untracked
        files (None when clean). None if `root` is not the top folder of a checkout.
    """
    try:
        top, commit = _git(root, "rev-parse", "--show-toplevel", "HEAD").splitlines()
    except (OSError, subprocess.CalledProcessError, ValueError):
        return None  # no git, no repository, or no commit yet
    if Path(os.fsdecode(top)).resolve() != root.resolve():
        return None
    diff = _git(root, "diff", "--binary", "--no-ext-diff", "--no-textconv", "HEAD")
    untracked = _git(root, "ls-files", "-z", "--others", "--exclude-standard")
    digest = hashlib.sha256(diff)
    for name in untracked.split(b"\0")[:-1]:
        digest.update(name)
        with contextlib.suppress(OSError):  # gone meanwhile, or a nested checkout
            digest.update((root / os.fsdecode(name)).read_bytes())
    dirty = bool(diff or untracked)
    return {
        "commit": commit.decode(),
        "dirty": dirty,
        "diff_sha256": digest.hexdigest() if dirty else None,
    }


def code_sha256() -> str:
    """A hash over the package's Python files and the models in `assets`.

    It is the same in a checkout and in a wheel that was built from it.
    """
    digest = hashlib.sha256()
    files = PACKAGE.rglob("*.py")
    code = {f"so101rl/{path.relative_to(PACKAGE)}": path for path in files}
    for name, path in sorted((code | _models()).items()):
        digest.update(name.encode() + b"\0")
        digest.update(path.read_bytes())
    return digest.hexdigest()


def cpu_name() -> str:
    """The processor's model name."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or "unknown"


def installed() -> dict[str, str]:
    """Every installed package and its version."""
    found = {dist.metadata["Name"]: dist.version for dist in metadata.distributions()}
    return dict(sorted(found.items()))


def git_diff(root: Path = SOURCE_ROOT) -> str | None:
    """The changes of tracked files since the commit, as a patch; None outside git."""
    try:
        flags = ("--binary", "--no-ext-diff", "--no-textconv")
        return _git(root, "diff", *flags, "HEAD").decode(errors="replace")
    except (OSError, subprocess.CalledProcessError):
        return None


def file_hashes() -> dict[str, str]:
    """The sha256 of every model in `assets`."""
    return {
        name: hashlib.sha256(path.read_bytes()).hexdigest()
        for name, path in sorted(_models().items())
    }


def _models() -> dict[str, Path]:
    """The models in `assets` by their name in the repository."""
    assets = shipped("assets")
    return {f"assets/{one.relative_to(assets)}": one for one in assets.rglob("*.xml")}


def changes_since(info: Mapping[str, Any]) -> list[str]:
    """Versions and code that differ from those in the `run.json` of a run."""
    found = differences(info["versions"], versions())
    if info.get("code_sha256") != code_sha256():
        commit = (info["git"] or {}).get("commit")
        found.append(f"code: it was that of commit {commit or '(unknown)'}")
    return found


def first_info(
    command: str,
    groups: Mapping[str, Any],
    seed: int,
    seeds: Mapping[str, Any],
    started: str,
) -> dict[str, Any]:
    """The content of `run.json` when a run starts."""
    uid = uuid.uuid4().hex
    return {
        "status": "running",
        "name": full_name(groups, seed, uid),
        "uid": uid,
        "command": command,
        "groups": dict(groups),
        "seed": seed,
        "seeds": {"root": seed, **seeds},
        "git": git_state(),
        "code_sha256": code_sha256(),
        "versions": versions(),
        "cpu": cpu_name(),
        "cpu_count": os.cpu_count(),
        "started": started,
        "ended": None,
        "wall_clock_s": 0.0,
        "error": None,
    }


def record(info: Mapping[str, Any]) -> dict[str, Any]:
    """Everything needed to rebuild a run elsewhere, partly from its `run.json`."""
    keys = "command groups seed seeds init_from git code_sha256 cpu"
    dirty = (info["git"] or {}).get("dirty")
    return {
        **{key: info[key] for key in keys.split()},
        "config": ".hydra/config.yaml",
        "diff": git_diff() if dirty else None,
        "models_sha256": file_hashes(),
        "packages": installed(),
        "python": platform.python_version(),
        "system": platform.platform(),
    }


def full_name(groups: Mapping[str, Any], seed: int, uid: str) -> str:
    """A run's name, such as `jacobian-ppo-s3-calm-otter`.

    It begins with the job if that is not `train`.
    """
    job = [] if groups.get("job", "train") == "train" else [str(groups["job"])]
    family = [str(groups[key]) for key in ("base_policy", "algo") if key in groups]
    return "-".join([*job, *family, f"s{seed}", readable_name(uid)])


def readable_name(uid: str) -> str:
    """A short name such as `calm-otter`, chosen by the run's unique id."""
    pick = int(hashlib.sha256(uid.encode()).hexdigest(), 16)
    pick, animal = divmod(pick, len(ANIMALS))
    return f"{ADJECTIVES[pick % len(ADJECTIVES)]}-{ANIMALS[animal]}"


def _git(root: Path, *args: str) -> bytes:
    return subprocess.run(
        ["git", "-C", str(root), *args],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=True,
        env={**os.environ, "GIT_OPTIONAL_LOCKS": "0"},  # read only: touch no index
    ).stdout


def now() -> str:
    """The time now, as JSON files have it."""
    return stamp(datetime.now(UTC))


def stamp(when: datetime) -> str:
    """A time as ISO 8601 with milliseconds."""
    return when.isoformat(timespec="milliseconds")

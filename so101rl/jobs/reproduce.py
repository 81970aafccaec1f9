"""`job=reproduce`: run a finished run again, elsewhere, and compare byte for byte."""

import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from so101rl.errors import So101Error
from so101rl.files import read_json
from so101rl.policies.checkpoint import META
from so101rl.runs.metrics_log import METRICS
from so101rl.runs.provenance import changes_since, cpu_name
from so101rl.runs.run_dir import EPISODES, EVALUATION, RunDir
from so101rl.training.trainer import finish, prepare
from so101rl.training.warm_start import check_same, warm_start

FOLDER = Path("outputs") / "reproductions"


class ReproduceError(So101Error):
    """A run that cannot be reproduced, or was not."""


def reproduce(cfg: DictConfig) -> float:
    """Train `run=RUN_DIR` again from its own config and compare every number.

    Returns:
        1 if nothing differs.

    Raises:
        ReproduceError: the run never finished, or something differs.
    """
    if cfg.run is None:
        raise ReproduceError("job=reproduce needs run=RUN_DIR (or run=latest)")
    first = RunDir.open(cfg.run)
    if first.info["status"] != "finished":
        status = first.info["status"]
        raise ReproduceError(f"{first.path} is {status}; only finished runs compare")
    for change in surroundings(first):
        print(f"differs here: {change}", flush=True)
    cfg = cfg.copy()
    OmegaConf.update(cfg, "job", first.config().job, merge=False)
    cfg.run = None
    parts = prepare(cfg)
    source = warm_start(cfg, parts.learner.model)
    check_same(first.info, source)
    second = RunDir.create(
        _free(FOLDER, first.info["name"]),
        cfg=OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]),
        command=shlex.join(sys.argv),
        groups=first.info["groups"],
        seeds=first.info["seeds"],
        resume=parts.exactness,
        init_from=source,
    )
    for name in ("overrides.yaml", "hydra.yaml"):  # what was typed, and chosen
        typed = first.path / ".hydra" / name
        if typed.is_file():
            shutil.copy(typed, second.file(f".hydra/{name}"))
    finish(cfg, second, parts)
    found = list(differences(first.path, second.path))
    if found:
        raise ReproduceError(
            f"{second.path} is not {first.path}:\n  " + "\n  ".join(found)
        )
    print(f"identical: metrics, episodes, evaluation and policies of {first.path}")
    return 1.0


def surroundings(run: RunDir) -> list[str]:
    """What is different here from where a run was made."""
    before, now = run.info.get("cpu"), cpu_name()
    changes = changes_since(run.info)
    return changes if before == now else [*changes, f"cpu: {before} -> {now}"]


def differences(first: Path, second: Path) -> Iterator[str]:
    """What two run directories do not have in common, in words."""
    yield from _metrics(first, second)
    if (first / EPISODES).read_bytes() != (second / EPISODES).read_bytes():
        yield f"{EPISODES}: other episodes"
    if read_json(first / EVALUATION) != read_json(second / EVALUATION):
        yield f"{EVALUATION}: other results"
    for name in ("best", "final"):
        files = [
            read_json(path / "checkpoints" / name / META)["sha256"]
            for path in (first, second)
        ]
        if files[0] != files[1]:
            yield f"checkpoints/{name}: another policy"


def _metrics(first: Path, second: Path) -> Iterator[str]:
    """The first line of `metrics.jsonl` that differs."""
    lines = [(path / METRICS).read_text().splitlines() for path in (first, second)]
    for number, (one, two) in enumerate(zip(*lines, strict=False), start=1):
        if one != two:
            yield f"{METRICS} line {number}: {_first_key(one, two)}"
            return
    if len(lines[0]) != len(lines[1]):
        yield f"{METRICS}: {len(lines[0])} and {len(lines[1])} lines"


def _first_key(one: str, two: str) -> str:
    first, second = json.loads(one), json.loads(two)
    for key in sorted(first.keys() | second.keys()):
        if first.get(key) != second.get(key):
            step = first["step"]
            return f"step {step}, {key}: {first.get(key)} and {second.get(key)}"
    return "written otherwise"


def _free(folder: Path, name: str) -> Path:
    """The first of `name-1`, `name-2`, ... that is not there."""
    paths: Any = (folder / f"{name}-{number}" for number in count(1))
    return next(path for path in paths if not path.exists())

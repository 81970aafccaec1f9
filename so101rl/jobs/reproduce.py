"""`job=reproduce`: run a finished run again, elsewhere, and compare byte for byte."""

import json
import shlex
import shutil
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from so101rl.errors import So101Error
from so101rl.files import next_folder, read_json
from so101rl.policies.checkpoint import META
from so101rl.runs.differences import differences
from so101rl.runs.metrics_log import METRICS
from so101rl.runs.provenance import changes_since, cpu_name
from so101rl.runs.run_dir import EPISODES, EVALUATION, RunDir
from so101rl.training.trainer import Trainer
from so101rl.training.warm_start import check_same_source, warm_start

FOLDER = Path("outputs") / "reproductions"


class ReproduceError(So101Error):
    """A run cannot be reproduced, or its reproduction differs."""


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
    cpus = differences({"cpu": first.info.get("cpu")}, {"cpu": cpu_name()})
    for change in changes_since(first.info) + cpus:
        print(f"differs here: {change}", flush=True)
    cfg = cfg.copy()
    OmegaConf.update(cfg, "job", first.config().job, merge=False)
    cfg.run = None
    with closing(Trainer(cfg)) as trainer:
        before = first.info.get("base_policy")
        if before not in (None, trainer.identity):
            print(f"differs here: base policy {before} -> {trainer.identity}")
        source = warm_start(cfg, trainer.model, trainer.identity)
        check_same_source(first.info, source)
        second = RunDir.create(
            next_folder(FOLDER, f"{first.info['name']}-"),
            cfg=OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"]),
            command=shlex.join(sys.argv),
            groups=first.info["groups"],
            seeds=first.info["seeds"],
            resume=trainer.exactness,
            init_from=source,
            base_policy=trainer.identity,
        )
        for name in ("overrides.yaml", "hydra.yaml"):  # what was typed, and chosen
            typed = first.path / ".hydra" / name
            if typed.is_file():
                shutil.copy(typed, second.file(f".hydra/{name}"))
        trainer.run(second)
    found = list(compare_results(first.path, second.path))
    if found:
        raise ReproduceError(
            f"{second.path} is not {first.path}:\n  " + "\n  ".join(found)
        )
    print(f"identical: metrics, episodes, evaluation and policies of {first.path}")
    return 1.0


def compare_results(first: Path, second: Path) -> Iterator[str]:
    """Yield a line for each result in which two run directories differ."""
    yield from _compare_metrics(first, second)
    if (first / EPISODES).read_bytes() != (second / EPISODES).read_bytes():
        yield f"{EPISODES}: other episodes"
    if read_json(first / EVALUATION) != read_json(second / EVALUATION):
        yield f"{EVALUATION}: other results"
    for name in ("best", "final"):
        file = Path("checkpoints") / name / META
        if read_json(first / file)["sha256"] != read_json(second / file)["sha256"]:
            yield f"checkpoints/{name}: another policy"


def _compare_metrics(first: Path, second: Path) -> Iterator[str]:
    """Yield the first line of `metrics.jsonl` that differs, or other line counts."""
    lines = [(path / METRICS).read_text().splitlines() for path in (first, second)]
    for number, (one, two) in enumerate(zip(*lines, strict=False), start=1):
        if one != two:
            changes = differences(json.loads(one), json.loads(two))
            change = changes[0] if changes else "written differently"
            yield f"{METRICS} line {number}: step {json.loads(one)['step']}, {change}"
            return
    if len(lines[0]) != len(lines[1]):
        yield f"{METRICS}: {len(lines[0])} and {len(lines[1])} lines"

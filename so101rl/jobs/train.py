"""`job=train`: train the residual, then compare it with its base."""

import shlex
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from so101rl.runs.run_dir import RunDir
from so101rl.seeds import first_seeds
from so101rl.training.trainer import finish, prepare
from so101rl.training.warm_start import warm_start


def train(cfg: DictConfig) -> float:
    """Train and evaluate; everything goes to Hydra's output directory.

    Returns:
        The residual's success rate on the held-out episodes.
    """
    call = HydraConfig.get()
    # What cannot work is refused here, before there is a run.
    parts = prepare(cfg)
    source = warm_start(cfg, parts.learner.model)
    run = RunDir.create(
        Path(call.runtime.output_dir),
        cfg=cfg,
        command=shlex.join(sys.argv),
        groups=call.runtime.choices,
        seeds={f"{role}_first": first for role, first in first_seeds(cfg.seed).items()},
        resume=parts.exactness,
        init_from=source,
    )
    return finish(cfg, run, parts)

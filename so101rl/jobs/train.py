"""`job=train`: train the residual, then compare it with its base."""

import shlex
import sys
from contextlib import closing
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from so101rl.runs.run_dir import RunDir
from so101rl.seeds import first_seeds
from so101rl.training.trainer import Trainer
from so101rl.training.warm_start import warm_start


def train(cfg: DictConfig) -> float:
    """Train and evaluate; everything is written to Hydra's output directory.

    Returns:
        The residual's success rate on the held-out episodes.
    """
    runtime = HydraConfig.get().runtime
    # What cannot work is refused by these two, before there is a run directory.
    with closing(Trainer(cfg)) as trainer:
        source = warm_start(cfg, trainer.model, trainer.identity)
        first = first_seeds(cfg.seed)
        run = RunDir.create(
            Path(runtime.output_dir),
            cfg=cfg,
            command=shlex.join(sys.argv),
            groups=runtime.choices,
            seeds={f"{role}_first": seed for role, seed in first.items()},
            resume=trainer.exactness,
            init_from=source,
            base_policy=trainer.identity,
        )
        return trainer.run(run)

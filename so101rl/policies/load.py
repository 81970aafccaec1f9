"""Loading the policy of a run directory or a checkpoint."""

import warnings
from pathlib import Path

from omegaconf import DictConfig

from so101rl.build import build_algo
from so101rl.config.from_run import BEST
from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.envs.wrappers.sb3_vec_env import SpacesVecEnv
from so101rl.policies import checkpoint
from so101rl.policies.policy import ModelPolicy


def load_policy(cfg: DictConfig, env: ResidualEnv) -> tuple[ModelPolicy, int]:
    """Return the policy of `run=` or `checkpoint=`, and its env step.

    Args:
        cfg: composed config.
        env: environments of this config, which tell the policy's spaces.
    """
    if cfg.checkpoint is not None and not Path(cfg.checkpoint).is_dir():
        path = Path(cfg.checkpoint)
        model = checkpoint.load_zip(
            path,
            algo=cfg.algo._target_,
            trust=cfg.trust,
            observations=SpacesVecEnv(env).observation_space,
        )
        return ModelPolicy(model), model.num_timesteps
    path = Path(cfg.checkpoint or Path(cfg.run) / BEST)
    with warnings.catch_warnings():
        # The sizes of rollouts and batches do not matter without training.
        warnings.filterwarnings("ignore", "You have specified a mini-batch size")
        model = build_algo(cfg, SpacesVecEnv(env))
    step = checkpoint.load(model, path)
    return ModelPolicy(model), step

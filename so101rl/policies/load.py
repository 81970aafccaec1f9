"""Loading the policy of a run directory or a checkpoint."""

import warnings
from pathlib import Path

from omegaconf import DictConfig

from so101rl.build import build_algo, build_env
from so101rl.config.from_run import BEST
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.policies import checkpoint
from so101rl.policies.policy import ModelPolicy


def load_policy(cfg: DictConfig) -> tuple[ModelPolicy, int]:
    """Return the policy of `run=` or `checkpoint=`, and its env step."""
    env = build_env(cfg, 1)
    if cfg.checkpoint is not None and not Path(cfg.checkpoint).is_dir():
        path = Path(cfg.checkpoint)
        model = checkpoint.load_zip(
            path,
            algo=cfg.algo._target_,
            trust=cfg.trust,
            observations=env.single_observation_space.shape,
        )
        step = model.num_timesteps
    else:
        path = Path(cfg.checkpoint or Path(cfg.run) / BEST)
        with warnings.catch_warnings():
            # The sizes of rollouts and batches do not matter without training.
            warnings.filterwarnings("ignore", "You have specified a mini-batch size")
            model = build_algo(cfg, SB3VecEnv(env))
        step = checkpoint.load(model, path)
    env.close()
    return ModelPolicy(model), step

"""`job=train`: train the residual, then compare it with its base."""

import shlex
import sys
from pathlib import Path

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig
from stable_baselines3.common.base_class import BaseAlgorithm

from so101rl import checkpoint
from so101rl.build import build_algo, build_env
from so101rl.callbacks import (
    FollowAlpha,
    Log,
    SaveCheckpoints,
    SelectBest,
    ShowProgress,
)
from so101rl.evaluate import base_act, evaluate_policies, model_act
from so101rl.rundir import RunDir
from so101rl.seeds import episode_seeds
from so101rl.tracking import make_mirror
from so101rl.tracking.base import Mirror
from so101rl.vec_env import SB3VecEnv

NEVER = 2**62  # SB3 then leaves logging to our callbacks


def train(cfg: DictConfig) -> float:
    """Train and evaluate; everything goes to Hydra's output directory.

    Returns:
        The residual's success rate on the held-out episodes.
    """
    call = HydraConfig.get()
    run = RunDir.create(
        Path(call.runtime.output_dir),
        cfg=cfg,
        command=shlex.join(sys.argv),
        groups=call.runtime.choices,
    )
    mirror = make_mirror(cfg.tracking)
    with mirror.follow(run), run.lifecycle():
        print(f"run: {run.path}", flush=True)
        model, step = learn(cfg, run, mirror)
        policies = {"base": base_act, "residual": model_act(model)}
        success = evaluate_policies(cfg, run, policies, step=step)
    print(f"results: {run.path}")
    return success


def learn(cfg: DictConfig, run: RunDir, mirror: Mirror) -> tuple[BaseAlgorithm, int]:
    """Train a residual.

    Returns:
        Its best policy, judged by the `select` episodes, and that policy's env step.
    """
    seeds = {
        role: episode_seeds(cfg.seed, role, n)
        for role, n in (
            ("train", cfg.n_envs),
            ("select", cfg.evaluation.select_episodes),
        )
    }
    env = build_env(cfg, cfg.n_envs)
    judge = build_env(cfg, cfg.evaluation.select_episodes)
    vec_env = SB3VecEnv(env, seeds["train"])
    model = build_algo(cfg, vec_env)
    log = Log(run, mirror, env, vec_env.books, cfg.log_every)
    select = SelectBest(run, judge, seeds["select"], cfg.evaluation.every)
    folder = run.path / "checkpoints"
    save = SaveCheckpoints(folder, cfg.checkpoint_every, cfg.keep_checkpoints)
    show = ShowProgress(cfg.total_timesteps, log, select)
    callbacks = [FollowAlpha(env), log, save, select, show]
    try:
        model.learn(cfg.total_timesteps, callback=callbacks, log_interval=NEVER)
    except BaseException:
        # Whatever stopped it, Ctrl+C above all: what was learned is not lost.
        checkpoint.export_zip(model, run.path / "interrupted_model.zip")
        raise
    finally:
        show.stop()
    checkpoint.save(model, folder / "final", step=model.num_timesteps)
    checkpoint.export_zip(model, run.path / "final_model.zip")
    select.fire()
    step = checkpoint.load(model, folder / "best")
    env.close()
    judge.close()
    return model, step

"""Training from start to evaluation: environments, algorithm and callbacks."""

import contextlib
import json
from collections.abc import Mapping
from typing import Any

from omegaconf import DictConfig
from stable_baselines3.common.base_class import BaseAlgorithm

from so101rl.base_policies.base import close_policy
from so101rl.build import build_algo, build_envs, hardware_class
from so101rl.envs.task import describe
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.errors import ConfigError
from so101rl.evaluation.evaluate import check_graphics, evaluate_policies, held_out_size
from so101rl.files import to_json
from so101rl.policies import checkpoint
from so101rl.policies.policy import ModelPolicy, NoResidual, Policy
from so101rl.runs.run_dir import RunDir
from so101rl.seeds import episode_seeds
from so101rl.tracking import make_mirror
from so101rl.training.callbacks import (
    AlphaCallback,
    CheckpointCallback,
    EvalCallback,
    LogCallback,
    ProgressCallback,
)
from so101rl.training.learner_state import inexact_reason
from so101rl.training.nan_guard import NanGuard

NEVER = 2**62  # a log interval at which SB3 leaves logging to our callbacks


class Trainer:
    """Trains a residual and evaluates it.

    Whatever may refuse the config is built here, before there is a run directory.

    Attributes:
        model: the learning algorithm; after `learn`, with its best policy.
    """

    def __init__(self, cfg: DictConfig):
        self._cfg = cfg
        _check_simulated(cfg)
        sizes = (cfg.n_envs, cfg.evaluation.select_episodes, held_out_size(cfg))
        with contextlib.ExitStack() as stack:
            train, self._select_env, self._report_env = build_envs(cfg, sizes)
            stack.callback(close_policy, train.base_policy)  # last, when all is over
            for env in (train, self._select_env, self._report_env):
                stack.callback(env.close)
            seeds = episode_seeds(cfg.seed, "train", cfg.n_envs)
            self._vec_env = SB3VecEnv(train, seeds)
            self.model: BaseAlgorithm = build_algo(cfg, self._vec_env)
            _check_device(cfg, self.model)
            check_graphics(cfg, self._report_env)
            self._mirror = make_mirror(cfg.tracking)
            self._to_close = stack.pop_all()

    @property
    def exactness(self) -> str:
        """Whether resuming gives the same bytes, as `run.json` records it."""
        reason = inexact_reason(self.model)
        return f"approximate: {reason}" if reason else "exact"

    @property
    def identity(self) -> dict[str, Any]:
        """What tells the base policy from another, as `run.json` has it."""
        found = self._report_env.base_policy.identity()
        return json.loads(to_json(found))

    def close(self) -> None:
        """Close environments and base policy; safe to call twice."""
        self._to_close.close()

    def run(self, run: RunDir, *, start: Mapping[str, Any] | None = None) -> float:
        """Train to the end and evaluate base and residual on held-out episodes.

        Args:
            run: where everything is written.
            start: the training state of a checkpoint to continue from; None: step 0.

        Returns:
            The residual's success rate on the held-out episodes.
        """
        env = self._report_env
        with self._mirror.follow(run), run.lifecycle(), contextlib.closing(self):
            print(f"run: {run.path}", flush=True)
            run.write_task(describe(env.env))
            step = self.learn(run, start=start)
            policies: dict[str, Policy] = {
                "base": NoResidual(len(env.env.control.names)),
                "residual": ModelPolicy(self.model),
            }
            success = evaluate_policies(self._cfg, run, env, policies, step=step)
        print(f"results: {run.path}")
        return success

    def learn(self, run: RunDir, *, start: Mapping[str, Any] | None = None) -> int:
        """Train, then load the policy with the best score on the `select` episodes.

        Args:
            run: where everything is written.
            start: the training state of a checkpoint to continue from; None: step 0.

        Returns:
            The env step of that policy.
        """
        cfg, model, folder = self._cfg, self.model, run.checkpoints
        env = self._vec_env.env
        statistics = self._vec_env.episode_statistics
        log = LogCallback(run, env, statistics, cfg.log_every)
        evaluation = EvalCallback(
            run,
            self._select_env,
            episode_seeds(cfg.seed, "select", cfg.evaluation.select_episodes),
            cfg.evaluation.every,
            stop_at=cfg.evaluation.stop_at,
        )
        saving = CheckpointCallback(
            run,
            self._vec_env,
            {"log": log, "evaluation": evaluation},
            every=cfg.checkpoint_every,
            keep=cfg.keep_checkpoints,
            start=start,
        )
        progress = ProgressCallback(cfg.total_timesteps, log, evaluation)
        guard = NanGuard(run, self._vec_env, model)
        # `saving` restores the state of `evaluation`, which else would score step 0.
        callbacks = [guard, AlphaCallback(env), log, saving, evaluation, progress]
        try:
            with run.stop.deferred():
                model.learn(cfg.total_timesteps, callback=callbacks, log_interval=NEVER)
        except BaseException as error:
            divergence = guard.find_divergence(error)
            if divergence is not None:
                raise guard.dump(divergence) from error
            # Keep what was learned so far, above all after Ctrl+C.
            checkpoint.save(model, folder / "interrupted", step=model.num_timesteps)
            checkpoint.export_zip(model, run.path / "interrupted_model.zip")
            raise
        finally:
            progress.stop()
        checkpoint.save(model, folder / "final", step=model.num_timesteps)
        checkpoint.export_zip(model, run.path / "final_model.zip")
        evaluation.fire()
        return checkpoint.load(model, folder / "best")


def _check_simulated(cfg: DictConfig) -> None:
    """Refuse to train on an arm that is not simulated."""
    hardware = hardware_class(cfg)
    if not hardware.simulated:
        expected = "a simulated one to train with; job=evaluate takes a real arm"
        raise ConfigError("hardware", got=hardware.__name__, expected=expected)


def _check_device(cfg: DictConfig, model: BaseAlgorithm) -> None:
    """Refuse a device that torch does not see; Stable-Baselines3 takes another one."""
    device = str(cfg.algo.get("device", "auto")).partition(":")[0]
    if device not in ("auto", model.device.type):
        expected = "cpu: torch sees no such device here"
        raise ConfigError("algo.device", got=cfg.algo.device, expected=expected)

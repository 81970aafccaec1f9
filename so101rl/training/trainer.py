"""Training from start to evaluation: the parts, the learner and its callbacks."""

from collections.abc import Mapping
from typing import Any, NamedTuple

from omegaconf import DictConfig
from stable_baselines3.common.base_class import BaseAlgorithm

from so101rl.build import build_algo, build_env
from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.errors import ConfigError
from so101rl.evaluation.evaluate import evaluate_policies, evaluation_env
from so101rl.policies import checkpoint
from so101rl.policies.policy import ModelPolicy, NoResidual, Policy
from so101rl.runs.run_dir import RunDir
from so101rl.seeds import episode_seeds
from so101rl.tracking import Mirror, make_mirror
from so101rl.training.callbacks import (
    AlphaCallback,
    CheckpointCallback,
    EvalCallback,
    LogCallback,
    ProgressCallback,
)
from so101rl.training.learner_state import why_approximate
from so101rl.training.nan_guard import NanGuard

NEVER = 2**62  # SB3 then leaves logging to our callbacks


class Parts(NamedTuple):
    """What a training is made of, besides its run directory.

    Attributes:
        learner: what learns.
        held_out: what base and residual are compared on.
        mirror: where the run is mirrored to.
    """

    learner: "Trainer"
    held_out: ResidualEnv
    mirror: Mirror

    @property
    def exactness(self) -> str:
        """Whether a resumed run ends with the same bytes, as `run.json` says it."""
        reason = why_approximate(self.learner.model)
        return f"approximate: {reason}" if reason else "exact"


def prepare(cfg: DictConfig) -> Parts:
    """Build everything that may refuse the config, before there is a run."""
    return Parts(Trainer(cfg), evaluation_env(cfg), make_mirror(cfg.tracking))


def finish(
    cfg: DictConfig,
    run: RunDir,
    parts: Parts,
    *,
    start: Mapping[str, Any] | None = None,
) -> float:
    """Train to the end, from the beginning or a checkpoint, and evaluate.

    Args:
        cfg: the run's config.
        run: where everything goes.
        parts: see `prepare`.
        start: what the checkpoint to go on from holds; None: the beginning.

    Returns:
        The residual's success rate on the held-out episodes.
    """
    learner, held_out, mirror = parts
    with mirror.follow(run), run.lifecycle():
        print(f"run: {run.path}", flush=True)
        step = learner.learn(run, start=start)
        policies: dict[str, Policy] = {
            "base": NoResidual(),
            "residual": ModelPolicy(learner.model),
        }
        success = evaluate_policies(cfg, run, held_out, policies, step=step)
    print(f"results: {run.path}")
    return success


class Trainer:
    """Everything that a training needs besides the run directory it writes to.

    Attributes:
        model: the algorithm; after `learn`, with its best policy.
    """

    def __init__(self, cfg: DictConfig):
        self._cfg = cfg
        seeds = episode_seeds(cfg.seed, "train", cfg.n_envs)
        self._env = build_env(cfg, cfg.n_envs)
        self._judge = build_env(cfg, cfg.evaluation.select_episodes)
        self._vec_env = SB3VecEnv(self._env, seeds)
        self.model: BaseAlgorithm = build_algo(cfg, self._vec_env)
        wanted = str(cfg.algo.get("device", "auto")).partition(":")[0]
        if wanted not in ("auto", self.model.device.type):  # SB3 says nothing
            expected = "cpu: torch sees no such device here"
            raise ConfigError("algo.device", got=cfg.algo.device, expected=expected)

    def learn(self, run: RunDir, *, start: Mapping[str, Any] | None = None) -> int:
        """Train, and bring the policy back that the `select` episodes judged best.

        Args:
            run: where everything goes.
            start: what the checkpoint to go on from holds; None: the beginning.

        Returns:
            That policy's env step.
        """
        cfg, model, folder = self._cfg, self.model, run.checkpoints
        chosen = episode_seeds(cfg.seed, "select", cfg.evaluation.select_episodes)
        statistics = self._vec_env.episode_statistics
        log = LogCallback(run, self._env, statistics, cfg.log_every)
        select = EvalCallback(
            run,
            self._judge,
            chosen,
            cfg.evaluation.every,
            stop_at=cfg.evaluation.stop_at,
        )
        save = CheckpointCallback(
            run,
            self._vec_env,
            {"log": log, "select": select},
            every=cfg.checkpoint_every,
            keep=cfg.keep_checkpoints,
            start=start,
        )
        show = ProgressCallback(cfg.total_timesteps, log, select)
        # `save` goes before `select`: a resumed run has had its score of step 0.
        watch = NanGuard(run, self._vec_env)
        callbacks = [watch, AlphaCallback(self._env), log, save, select, show]
        try:
            with run.stop.deferred():
                model.learn(cfg.total_timesteps, callback=callbacks, log_interval=NEVER)
        except BaseException as error:
            cause = watch.cause(error)
            if cause is not None:
                raise watch.dumped(cause) from error
            # Whatever stopped it, Ctrl+C above all: what was learned is not lost.
            checkpoint.save(model, folder / "interrupted", step=model.num_timesteps)
            checkpoint.export_zip(model, run.path / "interrupted_model.zip")
            raise
        finally:
            show.stop()
        checkpoint.save(model, folder / "final", step=model.num_timesteps)
        checkpoint.export_zip(model, run.path / "final_model.zip")
        select.fire()
        self._env.close()
        self._judge.close()
        return checkpoint.load(model, folder / "best")

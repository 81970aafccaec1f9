"""Callbacks of a training: logging, checkpoints, scores, the progress bar."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
)
from stable_baselines3.common.callbacks import BaseCallback

from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.envs.wrappers.sb3_vec_env import EpisodeStatistics, SB3VecEnv
from so101rl.errors import DivergedError
from so101rl.evaluation.rollout import run_episodes
from so101rl.policies import checkpoint
from so101rl.policies.policy import ModelPolicy
from so101rl.runs.run_dir import RunDir
from so101rl.training import learner_state
from so101rl.training.nan_guard import MAY_BE_NAN


class EverySteps(BaseCallback):
    """Calls `fire` after every `every` env steps, summed over all environments."""

    def __init__(self, every: int):
        super().__init__()
        self._every, self._next = every, every

    def _on_step(self) -> bool:
        if self.num_timesteps >= self._next:
            self._next = (self.num_timesteps // self._every + 1) * self._every
            self.fire()
        return True

    def fire(self) -> None:
        """Run the periodic action."""
        raise NotImplementedError

    def state_dict(self) -> dict[str, Any]:
        """Return the state that the next calls depend on."""
        return {"next": self._next}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        self._next = state["next"]


class AlphaCallback(BaseCallback):
    """Updates alpha, the weight of the residual, by its schedule."""

    def __init__(self, env: ResidualEnv):
        super().__init__()
        self._env = env

    def _on_step(self) -> bool:
        self._env.progress(self.num_timesteps)
        return True


class LogCallback(EverySteps):
    """Writes a line of `metrics.jsonl` and one of `timings.jsonl`.

    Args:
        run: where the lines are written.
        env: the training's environments; their alpha is logged.
        statistics: statistics of the rollouts' steps and episodes.
        every: env steps between two lines.

    Attributes:
        latest: the last line, with `time/fps`.
    """

    def __init__(
        self, run: RunDir, env: ResidualEnv, statistics: EpisodeStatistics, every: int
    ):
        super().__init__(every)
        self._run, self._env, self._statistics = run, env, statistics
        self._last = (0, time.monotonic())
        self.latest: dict[str, float] = {}

    def fire(self) -> None:
        metrics = self._statistics.read() | self._training()
        metrics["residual/alpha"] = float(np.mean(self._env.alpha))
        step, now = self.num_timesteps, time.monotonic()
        fps = (step - self._last[0]) / max(now - self._last[1], 1e-9)
        self._last = step, now
        self._run.log(step, metrics, {"time/fps": fps})
        self.latest = metrics | {"time/fps": fps}

    def state_dict(self) -> dict[str, Any]:
        return {**super().state_dict(), "last": self._last[0]}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self._last = state["last"], time.monotonic()

    def _on_training_end(self) -> None:
        if self._last[0] < self.num_timesteps:
            self.fire()  # the steps after the last full interval

    def _training(self) -> dict[str, float]:
        """Return SB3's `train/*` values of the last update."""
        values = self.model.logger.name_to_value
        return {
            name: float(value)
            for name, value in values.items()
            if name.startswith("train/")
            and (name not in MAY_BE_NAN or np.isfinite(value))
        }


class CheckpointCallback(EverySteps):
    """Writes checkpoints with the whole training state, and keeps the last few.

    A checkpoint is written and restored at the start of a rollout; see `learner_state`.
    A requested stop waits for that point too.

    Args:
        run: where the checkpoints are written.
        vec_env: the training's environments.
        others: the other callbacks that have a state, by name.
        every: env steps between two checkpoints.
        keep: number of checkpoints that are kept.
        start: the training state to continue from; None: step 0.
    """

    def __init__(
        self,
        run: RunDir,
        vec_env: SB3VecEnv,
        others: Mapping[str, EverySteps],
        *,
        every: int,
        keep: int,
        start: Mapping[str, Any] | None,
    ):
        super().__init__(every)
        self._run, self._vec_env, self._keep = run, vec_env, keep
        self._stateful = {**others, "saving": self}
        self._start, self._due = start, False

    def fire(self) -> None:
        self._due = True

    def _on_rollout_start(self) -> None:
        if self._start is not None:
            self._restore(self._start)
            self._start = None
        elif self._due or self._run.stop.requested:
            self._due = False
            self._save()
        self._run.stop.now()

    def _save(self) -> None:
        step = self.model.num_timesteps
        training = {
            "learner": learner_state.capture(self.model),
            "vec_env": self._vec_env.state_dict(),
            "callbacks": {
                name: callback.state_dict() for name, callback in self._stateful.items()
            },
            "logs": self._run.log_size(),
        }
        path = self._run.checkpoints / f"step-{step}"
        checkpoint.save(self.model, path, step=step, training=training)
        for old in checkpoint.steps(self._run.checkpoints)[self._keep :]:
            checkpoint.remove(old)

    def _restore(self, state: Mapping[str, Any]) -> None:
        learner_state.restore(self.model, state["learner"])
        self._vec_env.load_state_dict(checkpoint.arrays(state["vec_env"]))
        for name, callback in self._stateful.items():
            callback.load_state_dict(state["callbacks"][name])


class EvalCallback(EverySteps):
    """Scores the policy on the `select` episodes and saves the best one.

    Args:
        run: where the scores and the best policy are written.
        env: a batch that is used only for scoring.
        seeds: the `select` episodes, used neither for training nor for the report.
        every: env steps between two scores.
        stop_at: success rate that ends the training; None for no limit.

    Attributes:
        best: success rate and mean reward of the best policy; None before step 0.
    """

    def __init__(
        self,
        run: RunDir,
        env: ResidualEnv,
        seeds: list[int],
        every: int,
        *,
        stop_at: float | None = None,
    ):
        super().__init__(every)
        self._run, self._env, self._seeds = run, env, seeds
        self._stop_at = stop_at
        self.best: tuple[float, float] | None = None
        self._scored_step: int | None = None

    def state_dict(self) -> dict[str, Any]:
        scores = {"best": self.best, "scored_step": self._scored_step}
        return super().state_dict() | scores

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        super().load_state_dict(state)
        self.best, self._scored_step = state["best"], state["scored_step"]

    def _on_rollout_start(self) -> None:
        if self._scored_step is None:
            self.fire()  # step 0; with residual.zero_init this is the base policy

    def _on_step(self) -> bool:
        super()._on_step()
        if self._stop_at is None or self.best is None:
            return True
        return self.best[0] < self._stop_at

    def fire(self) -> None:
        """Score the current policy, unless this step was scored already."""
        if self._scored_step == self.num_timesteps:
            return
        self._scored_step = self.num_timesteps
        self._env.progress(self.num_timesteps)
        try:
            episodes = run_episodes(self._env, ModelPolicy(self.model), self._seeds)
        except DivergedError as error:  # in the environments for scoring
            raise DivergedError(f"{error.point} (in scoring)", error.detail) from error
        success = float(np.mean([episode.is_success for episode in episodes]))
        reward = float(np.mean([episode.total_reward for episode in episodes]))
        self._run.log(
            self.num_timesteps,
            {"eval/success_rate": success, "eval/mean_reward": reward},
        )
        if self.best is None or (success, reward) > self.best:
            self.best = success, reward
            best = self._run.checkpoints / "best"
            checkpoint.save(self.model, best, step=self.num_timesteps)
            checkpoint.export_zip(self.model, self._run.path / "best_model.zip")


class ProgressCallback(BaseCallback):
    """Shows a progress bar with time left, speed and success.

    Args:
        total: env steps of the whole run.
        log: callback with the latest line, which is shown.
        evaluation: callback with the best score, which is shown.
    """

    def __init__(self, total: int, log: LogCallback, evaluation: EvalCallback):
        super().__init__()
        self._log, self._evaluation = log, evaluation
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("steps, left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[numbers]}"),
            refresh_per_second=2,
        )
        self._task = self._bar.add_task("", total=total, numbers="")

    def _on_training_start(self) -> None:
        self._bar.start()

    def _on_step(self) -> bool:
        self._bar.update(self._task, completed=self.num_timesteps)
        if self._log.latest:
            self._bar.update(self._task, numbers=self._numbers())
        return True

    def _on_training_end(self) -> None:
        self.stop()

    def stop(self) -> None:
        """Restore the terminal; safe to call twice."""
        self._bar.stop()

    def _numbers(self) -> str:
        latest = self._log.latest
        text = f"{latest['time/fps']:,.0f} steps/s"
        if "rollout/success_rate" in latest:
            text += f", success {latest['rollout/success_rate']:.0%}"
        if self._evaluation.best is not None:
            text += f", best {self._evaluation.best[0]:.0%}"
        return text

"""What `job=train` adds to bare `model.learn`: callbacks, metrics log, MLflow, the bar.

Idle overhead: scores and checkpoints, which are work of their own, are set beyond the
end of the run, and the score of step 0 is not timed.
"""

import contextlib
import os
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CallbackList

from benchmarks.measure import Effort, Result, Row, interleave, ratios
from so101rl.composition import compose
from so101rl.errors import So101Error
from so101rl.rundir import RunDir
from so101rl.tracking import make_mirror
from so101rl.train import Learner

STEPS = 65536
LIMIT = 1.02
BARE, CALLBACKS, MLFLOW = "bare model.learn", "with callbacks", "with MLflow too"


class DifferentWorkError(So101Error):
    """Two trainings that should do the same end in different policies."""


class Meter(CallbackList):
    """Callbacks, and how long they and the training took.

    Attributes:
        inside: time in callbacks at every step and log [s].
        seconds: from the first rollout to the end of the training [s].
        processor_seconds: the same, of all threads of this process.
    """

    inside = 0.0

    def on_training_start(self, *args: Any) -> None:
        super().on_training_start(*args)
        self._begin, self._processor = time.perf_counter(), time.process_time()

    def on_step(self) -> bool:
        begin = time.perf_counter()
        go_on = super().on_step()
        self.inside += time.perf_counter() - begin
        return go_on

    def on_training_end(self) -> None:
        super().on_training_end()
        self.seconds = time.perf_counter() - self._begin
        self.processor_seconds = time.process_time() - self._processor


class TimedPPO(PPO):
    """A PPO that times itself, whoever calls it, and keeps what it learned."""

    def learn(self, total_timesteps: int, callback: Any = None, **kwargs: Any) -> Any:
        meter = Meter(callback or [])
        super().learn(total_timesteps, callback=meter, **kwargs)
        # Not the meter itself: it knows the environment, which no zip takes.
        self.seconds, self.processor_seconds = meter.seconds, meter.processor_seconds
        self.share_inside = meter.inside / meter.seconds
        self.learned = [p.detach().clone() for p in self.policy.parameters()]
        return self


def measure(effort: Effort) -> Result:
    """Wall-clock time of the same training, bare and as the job does it."""
    with tempfile.TemporaryDirectory() as name, _terminal():
        cfg = _config(effort, Path(name))
        bench = _Bench(cfg, Path(name))
        cases = {
            BARE: bench.bare,
            CALLBACKS: partial(bench.job, mlflow=False),
            MLFLOW: partial(bench.job, mlflow=True),
        }
        bench.job(mlflow=True)  # creates the store, once
        values = interleave(cases, effort.repeats)
    job, bare, half = values[MLFLOW], values[BARE], values[CALLBACKS]
    # Processor times and shares without those of the training that made the store.
    used = {case: of[-effort.repeats :] for case, of in bench.processor.items()}
    rows = [Row(f"{STEPS} steps, {case}", "s", values[case]) for case in cases]
    rows += [
        Row(f"{MLFLOW} / bare", "x", ratios(job, bare), LIMIT, "<="),
        Row(f"{CALLBACKS} / bare", "x", ratios(half, bare)),
        Row("the same in processor time", "x", ratios(used[CALLBACKS], used[BARE])),
        Row("time inside callbacks", "of 1", bench.shares[-effort.repeats :]),
    ]
    return Result("overhead", "Training as the job does it, against bare", rows)


class _Bench:
    """Trains the same again and again.

    Attributes:
        processor: processor times of the training's process by case [s].
        shares: of the job's trainings, the part spent in callbacks.
    """

    def __init__(self, cfg: DictConfig, folder: Path):
        self._cfg, self._folder = cfg, folder
        self._learned: list[torch.Tensor] = []
        self.processor: dict[str, list[float]] = {}
        self.shares: list[float] = []

    def bare(self) -> float:
        model: Any = Learner(self._cfg).model
        model.learn(self._cfg.total_timesteps)
        return self._time(BARE, model)

    def job(self, *, mlflow: bool) -> float:
        learner = Learner(self._cfg)
        folder = self._folder / str(time.monotonic_ns())
        groups = {"env": "paper_push"}
        run = RunDir.create(folder, cfg=self._cfg, command="overhead", groups=groups)
        mirror = make_mirror(self._cfg.tracking if mlflow else NO_TRACKING)
        with mirror.follow(run), run.lifecycle():
            learner.learn(run)
        model: Any = learner.model
        if mlflow:
            self.shares.append(model.share_inside)
        return self._time(MLFLOW if mlflow else CALLBACKS, model)

    def _time(self, case: str, model: Any) -> float:
        self._learned = self._learned or model.learned
        pairs = zip(self._learned, model.learned, strict=True)
        if not all(torch.equal(ours, theirs) for ours, theirs in pairs):
            raise DifferentWorkError(f"{case}: it learned something else")
        self.processor.setdefault(case, []).append(model.processor_seconds)
        return model.seconds


NO_TRACKING = DictConfig({"trackers": {}})


def _config(effort: Effort, folder: Path) -> DictConfig:
    tiny = ["n_envs=4", "algo.n_steps=8", "algo.batch_size=16", "algo.n_epochs=1"]
    return compose(
        [
            "algo=ppo",
            "algo._target_=benchmarks.overhead.TimedPPO",
            f"total_timesteps={64 if effort.quick else STEPS}",
            f"evaluation.every={10 * STEPS}",
            f"checkpoint_every={10 * STEPS}",
            "evaluation.select_episodes=1",
            f"tracking.trackers.mlflow.uri=sqlite:///{folder / 'mlflow.db'}",
            *(tiny if effort.quick else []),
        ]
    )


@contextlib.contextmanager
def _terminal() -> Iterator[None]:
    """Let the bar draw as on a terminal, without anybody seeing it."""
    before = os.environ.get("TTY_COMPATIBLE")
    os.environ["TTY_COMPATIBLE"] = "1"
    try:
        with open(os.devnull, "w") as nowhere, contextlib.redirect_stdout(nowhere):
            yield
    finally:
        if before is None:
            del os.environ["TTY_COMPATIBLE"]
        else:
            os.environ["TTY_COMPATIBLE"] = before

"""Time that `job=train` adds to `model.learn`: callbacks, metrics log, MLflow, bar.

Scores and checkpoints are measured elsewhere: they are set beyond the end of the run,
and the score of step 0 is not timed. MLflow's start is timed separately, because it
happens once, whatever the length of the training.
"""

import contextlib
import os
import sqlite3
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from omegaconf import DictConfig
from stable_baselines3 import PPO
from stable_baselines3.common.callbacks import CallbackList

from benchmarks.measure import Effort, Result, Row, interleave, ratios
from so101rl.config.compose import compose
from so101rl.errors import So101Error
from so101rl.runs.run_dir import RunDir
from so101rl.tracking import make_mirror
from so101rl.tracking.base import Mirror
from so101rl.training.trainer import Trainer

STEPS = 65536
LIMIT = 2.0  # [%]
BARE, CALLBACKS = "bare model.learn", "with callbacks"
MLFLOW = "with callbacks, MLflow running"
TIMEOUT_S = 60.0  # for MLflow to start [s]
STARTED = "SELECT COUNT(*) FROM params JOIN tags USING (run_uuid) WHERE tags.value = ?"


class DifferentWorkError(So101Error):
    """Two trainings that should do the same end in different policies."""


class NoMlflowError(So101Error):
    """MLflow's process did not start."""


class Meter(CallbackList):
    """Callbacks that time themselves and the training.

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
        continues = super().on_step()
        self.inside += time.perf_counter() - begin
        return continues

    def on_training_end(self) -> None:
        super().on_training_end()
        self.seconds = time.perf_counter() - self._begin
        self.processor_seconds = time.process_time() - self._processor


class TimedPPO(PPO):
    """A PPO that times `learn` and keeps the learned parameters."""

    def learn(self, total_timesteps: int, callback: Any = None, **kwargs: Any) -> Any:
        meter = Meter(callback or [])
        super().learn(total_timesteps, callback=meter, **kwargs)
        # Not the meter itself: it holds the environment, which no zip can hold.
        self.seconds, self.processor_seconds = meter.seconds, meter.processor_seconds
        self.share_inside = meter.inside / meter.seconds
        self.learned = [p.detach().clone() for p in self.policy.parameters()]
        return self


def measure(effort: Effort) -> Result | str:
    """Wall-clock time of the same training, bare and by the job.

    Returns:
        The result, or the reason why nothing can be measured here.
    """
    if not Path("/proc/self/stat").exists():
        return "needs Linux: it reads /proc/*/stat"
    with tempfile.TemporaryDirectory() as name, _terminal():
        cfg = _config(effort, Path(name))
        _Bench(cfg, Path(name)).mlflow()  # creates the store, once
        bench = _Bench(cfg, Path(name))
        values = interleave(
            {BARE: bench.bare, CALLBACKS: bench.callbacks, MLFLOW: bench.mlflow},
            effort.repeats,
        )
    bare, used = values[BARE], bench.processor
    both = [a + b for a, b in zip(bench.inside, bench.beside, strict=True)]
    rows = [Row(f"{STEPS} steps, {case}", "s", values[case]) for case in values]
    rows += [
        Row(f"{MLFLOW} / bare", "x", ratios(values[MLFLOW], bare)),
        Row(f"{CALLBACKS} / bare", "x", ratios(values[CALLBACKS], bare)),
        Row("the same, processor time", "x", ratios(used[CALLBACKS], used[BARE])),
        Row("time inside callbacks", "%", bench.inside),
        Row("processor time of MLflow's process, running", "%", bench.beside),
        Row("callbacks and MLflow, of wall clock", "%", both, LIMIT, "<="),
        Row("MLflow's start, once, in its own process", "s", bench.start),
    ]
    return Result("overhead", "Training as the job does it, against bare", rows)


class _Bench:
    """Repeats one training in several ways.

    Attributes:
        processor: processor times of the training's process by case [s].
        inside: time spent in callbacks [% of the training].
        beside: processor time of MLflow's process meanwhile [% of the training].
        start: time until MLflow has started [s].
    """

    def __init__(self, cfg: DictConfig, folder: Path):
        self._cfg, self._folder = cfg, folder
        self._learned: list[torch.Tensor] = []
        self.processor: dict[str, list[float]] = {}
        self.inside: list[float] = []
        self.beside: list[float] = []
        self.start: list[float] = []

    def bare(self) -> float:
        model: Any = Trainer(self._cfg).model
        model.learn(self._cfg.total_timesteps)
        return self._time(BARE, model)

    def callbacks(self) -> float:
        trainer, run = Trainer(self._cfg), self._run()
        with run.lifecycle():
            trainer.learn(run)
        return self._time(CALLBACKS, trainer.model)

    def mlflow(self) -> float:
        trainer, run = Trainer(self._cfg), self._run()
        mirror = make_mirror(self._cfg.tracking)
        begin = time.perf_counter()
        with mirror.follow(run), run.lifecycle():
            self._wait_for_mlflow(run)
            ready, before = time.perf_counter(), _processor_seconds(mirror)
            trainer.learn(run)
            used = _processor_seconds(mirror) - before
        model: Any = trainer.model
        self.start.append(ready - begin)
        self.inside.append(100 * model.share_inside)
        self.beside.append(100 * used / model.seconds)
        return self._time(MLFLOW, model)

    def _run(self) -> RunDir:
        folder = self._folder / str(time.monotonic_ns())
        groups = {"env": "paper_push"}
        return RunDir.create(folder, cfg=self._cfg, command="overhead", groups=groups)

    def _wait_for_mlflow(self, run: RunDir) -> None:
        """Return when the run's parameters are stored, which ends MLflow's start."""
        store, end = self._folder / "mlflow.db", time.monotonic() + TIMEOUT_S
        with contextlib.closing(sqlite3.connect(store)) as db:
            while time.monotonic() < end:
                time.sleep(0.1)
                with contextlib.suppress(sqlite3.OperationalError):  # no tables yet
                    if db.execute(STARTED, (run.info["uid"],)).fetchone()[0]:
                        return
        raise NoMlflowError(f"MLflow's process did not start within {TIMEOUT_S:g} s")

    def _time(self, case: str, model: Any) -> float:
        self._learned = self._learned or model.learned
        pairs = zip(self._learned, model.learned, strict=True)
        if not all(torch.equal(ours, theirs) for ours, theirs in pairs):
            raise DifferentWorkError(f"{case}: the learned parameters differ")
        self.processor.setdefault(case, []).append(model.processor_seconds)
        return model.seconds


def _processor_seconds(mirror: Mirror) -> float:
    """Processor time of a mirror's processes so far [s]; Linux only."""
    ticks = 0
    for worker in mirror._workers:
        assert worker._process is not None
        stat = Path(f"/proc/{worker._process.pid}/stat").read_text()
        user, system = stat.rpartition(")")[2].split()[11:13]  # man 5 proc
        ticks += int(user) + int(system)
    return ticks / os.sysconf("SC_CLK_TCK")


def _config(effort: Effort, folder: Path) -> DictConfig:
    tiny = ["n_envs=4", "algo.n_steps=8", "algo.batch_size=16", "algo.n_epochs=1"]
    return compose(
        [
            "algo=ppo",
            *("packages=[benchmarks]", "algo._target_=benchmarks.overhead.TimedPPO"),
            f"total_timesteps={64 if effort.quick else STEPS}",
            f"evaluation.every={10 * STEPS}",
            f"checkpoint_every={10 * STEPS}",
            "evaluation.select_episodes=1",
            "evaluation.video=false",
            f"tracking.trackers.mlflow.uri=sqlite:///{folder / 'mlflow.db'}",
            *(tiny if effort.quick else []),
        ]
    )


@contextlib.contextmanager
def _terminal() -> Iterator[None]:
    """Let the bar draw as on a terminal, into nothing."""
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

"""The whole environment against bare physics on the same states."""

import time
from typing import Any

import numpy as np
from mujoco import batch
from omegaconf import DictConfig

from benchmarks.measure import Effort, Residuals, Result, Row, interleave, ratios
from so101rl.build import build_env
from so101rl.config.compose import compose
from so101rl.config.threads import n_threads
from so101rl.errors import So101Error
from so101rl.seeds import episode_seeds

WIDTHS = (1, 4, 16, 64, 256, 1024)
USUAL = 64
WARM_UP = 100  # control steps
STD = 0.5  # of the residuals
FLAT = 1.15  # most growth of the cost per env from 64 to 1024 envs


class ReplayError(So101Error):
    """A replay that ends in other states than the recording."""


class Window:
    """Control steps that run through the environment, then on bare physics.

    The environment's run records the input of the physics: the states at the beginning,
    the controls of each step, and the states and model fields of environments that
    reset themselves. The bare batch gets the same input and nothing else.

    Args:
        cfg: a composed config.
        n: number of environments.
        steps: control steps of the warm-up.
    """

    def __init__(self, cfg: DictConfig, n: int, steps: int):
        self.n, self._env = n, build_env(cfg, n)
        self._residuals = Residuals(n, STD)
        self._env.reset(seed=episode_seeds(0, "train", n))
        # Episodes end at different times from the beginning, as they do later on.
        limit = self._env.env.max_episode_steps
        self._env.env.elapsed[:] = np.random.default_rng(0).integers(0, limit, n)
        self._world = self._env.env.hardware
        self._batch: batch.Batch = self._world._batch
        self._bare = batch.Batch(self._world.model, n, n_threads(cfg.n_threads))
        self._ctrl = self._bare.bind("ctrl")
        self._fields = [*self._batch._expanded]
        self._step, self._world.step = self._world.step, self._record
        self._overhead = 0.0
        self.resets = self.steps = 0
        self.step_env(steps)

    def step_env(self, steps: int) -> float:
        """Step the environment; returns its seconds without those of recording."""
        self._log: list[np.ndarray] = []
        self._resets: list[tuple[int, np.ndarray, dict[str, np.ndarray]]] = []
        everyone = np.arange(self.n)
        self._start = self._snapshot(everyone)
        actions = [self._residuals() for _ in range(steps)]
        self._overhead, begin = 0.0, time.perf_counter()
        for step, action in enumerate(actions):
            _, _, terminated, truncated, _ = self._env.step(action)
            if terminated.any() or truncated.any():
                before = time.perf_counter()
                ids = np.flatnonzero(terminated | truncated)
                self._resets.append((step, ids, self._snapshot(ids)))
                self._overhead += time.perf_counter() - before
        seconds = time.perf_counter() - begin - self._overhead
        self.steps += steps * self.n
        self.resets += sum(len(ids) for _, ids, _ in self._resets)
        return seconds

    def step_bare(self) -> float:
        """Step the bare physics through the last window; returns its seconds."""
        self._restore(np.arange(self.n), self._start)
        resets = {step: (ids, kept) for step, ids, kept in self._resets}
        seconds = 0.0
        for step, ctrl in enumerate(self._log):
            begin = time.perf_counter()
            self._ctrl[:] = ctrl
            self._bare.step(nstep=self._substeps)
            seconds += time.perf_counter() - begin
            if step in resets:
                self._restore(*resets[step])
        if not np.array_equal(self._bare.state, self._batch.state):
            raise ReplayError(f"bare physics of {self.n} environments ended elsewhere")
        return seconds

    def _record(self, ctrl: np.ndarray, substeps: int, ids: np.ndarray | None) -> None:
        begin = time.perf_counter()
        self._log.append(ctrl.copy())
        self._substeps = substeps
        self._overhead += time.perf_counter() - begin
        self._step(ctrl, substeps, ids)

    def _snapshot(self, ids: np.ndarray) -> dict[str, np.ndarray]:
        kept = {name: self._batch.expand(name)[ids] for name in self._fields}
        return kept | {"state": self._batch.state[ids]}

    def _restore(self, ids: np.ndarray, kept: dict[str, np.ndarray]) -> None:
        for name in self._fields:
            self._bare.expand(name)[ids] = kept[name]
        if self._fields:
            self._bare.set_const(ids)
        self._bare.state[ids] = kept["state"]


def measure(effort: Effort) -> Result:
    """Speed over the batch width, with and without randomization."""
    windows = {}
    widths = (1, 4) if effort.quick else WIDTHS
    usual = widths[-1] if effort.quick else USUAL
    for name in ("none", "default"):
        cfg = compose([f"randomization={name}", "tracking=none"])
        for n in (usual,) if name == "none" else widths:
            windows[name, n] = Window(cfg, n, 3 if effort.quick else WARM_UP)
    cases: dict[Any, Any] = {}
    for key, window in windows.items():
        calls = _calls(window, effort.seconds)
        cases |= {(*key, kind): call for kind, call in calls.items()}
    values = interleave(cases, effort.repeats)
    rows = []
    for name, n in (("none", usual), ("default", usual)):
        env, bare = values[name, n, "env"], values[name, n, "bare"]
        what = f"{n} envs, randomization={name}"
        rows += [
            Row(f"environment, {what}", "env steps/s", env),
            Row(f"bare physics, {what}", "env steps/s", bare),
            Row(f"environment / bare physics, {what}", "x", ratios(env, bare), 0.85),
        ]
    curve = {
        kind: {n: values["default", n, kind] for n in widths}
        for kind in ("env", "bare")
    }
    cost = ratios(curve["env"][usual], curve["env"][widths[-1]])
    label = f"cost per env step, {widths[-1]} envs / {usual} envs"
    rows.append(Row(label, "x", cost, FLAT, "<="))
    resets = {
        f"{n} envs, {name}": 1000 * window.resets / window.steps
        for (name, n), window in windows.items()
    }
    extra = {"curve": curve, "resets_per_1000_env_steps": resets}
    return Result("stepping", "Environment against bare physics", rows, extra)


def _calls(window: Window, seconds: float) -> dict[str, Any]:
    """The two cases of a window; each returns env steps per second."""
    probe = 3
    pace = window.step_env(probe) / probe  # seconds per control step
    steps = max(2, round(seconds / pace))
    amount = steps * window.n
    return {
        "env": lambda: amount / window.step_env(steps),
        "bare": lambda: amount / window.step_bare(),
    }

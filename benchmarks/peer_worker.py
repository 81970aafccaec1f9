"""The half of `benchmarks/peer.py` that runs in the peer's own environment.

It needs `so101-nexus[mjbatch]` and not so101rl. It reads one request per line, a JSON
object, answers each with one line, and exits at end of file.
"""

import json
import os
import sys
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import gymnasium as gym
import mujoco
import numpy as np
import so101_nexus
import so101_nexus.mjbatch
import so101_nexus.mujoco
from gymnasium.vector import AsyncVectorEnv, AutoresetMode, VectorEnv
from mjbatch import Batch
from so101_nexus.config import PhysicsConfig, PickConfig

TASK = "PickLift-v1"
STATE = mujoco.mjtState.mjSTATE_INTEGRATION
OPTIONS = (  # of the model; XML holds their values at compilation
    "timestep",
    "impratio",
    "tolerance",
    "integrator",
    "cone",
    "solver",
    "iterations",
    "ls_iterations",
    "noslip_iterations",
)
WARM_UP = 100  # control steps
WINDOW = 50  # control steps that are replayed on bare physics


class Peer:
    """The cases that are measured, at one pair of rates.

    Args:
        widths: of the batches.
        processes: number of scalar environments in processes.
        threads: native threads of a batch.
        substeps: per control step.
        control_hz: control rate [Hz].
        limit: control steps per episode.
        std: of the random actions.
        seconds: length of one repeat of a case [s].
        folder: where models and windows for the other half are written.
        warm_up: control steps.
    """

    def __init__(
        self,
        *,
        widths: list[int],
        processes: int,
        threads: int,
        substeps: int,
        control_hz: int,
        limit: int,
        std: float,
        seconds: float,
        folder: str,
        warm_up: int = WARM_UP,
    ):
        self._folder, self._seconds, self._std = Path(folder), seconds, std
        self._threads, self._warm_up = threads, warm_up
        self._rng = np.random.default_rng(0)
        keys = {
            "config": _config(substeps, control_hz),
            "control_mode": "pd_joint_target_delta_pos",
            "max_episode_steps": limit,
        }
        self._limit = limit
        self.cases: dict[str, Callable[[], float]] = {}
        self._open: list[Any] = []
        # Processes first: a fork server needs a parent without native threads.
        scalar = partial(_scalar, keys)
        if processes:
            envs = AsyncVectorEnv(
                [scalar] * processes,
                context="forkserver",
                autoreset_mode=AutoresetMode.SAME_STEP,
            )
            self._add_vector(f"async {processes}", envs)
        self._add_scalar(scalar())
        self.memory: dict[int, float] = {}
        for width in widths:
            before = _resident()
            envs = gym.make_vec(
                f"MJBatch{TASK}",
                num_envs=width,
                num_threads=threads,
                autoreset_mode=AutoresetMode.SAME_STEP,
                **keys,
            )
            self._add_vector(f"mjbatch {width}", envs)
            self.memory[width] = (_resident() - before) / width
            self._add_bare(width, envs)

    def close(self) -> None:
        """Close the environments and their processes."""
        self.cases.clear()
        for env in self._open:
            env.close()
        self._open.clear()

    def _add_vector(self, name: str, envs: VectorEnv) -> None:
        self._open.append(envs)
        actions, n = self._actions(envs.num_envs), envs.num_envs
        envs.reset(seed=0)
        self._stagger(envs)

        def step() -> int:
            envs.step(actions())
            return n

        for _ in range(self._warm_up):
            step()
        self.cases[name] = partial(_rate, step, self._seconds)

    def _add_scalar(self, env: gym.Env) -> None:
        self._open.append(env)
        actions = self._actions(1)
        env.reset(seed=0)

        def step() -> int:
            _, _, terminated, truncated, _ = env.step(actions()[0])
            if terminated or truncated:
                env.reset()
            return 1

        for _ in range(self._warm_up):
            step()
        self.cases["scalar"] = partial(_rate, step, self._seconds)

    def _add_bare(self, width: int, envs: Any) -> None:
        """Record a window of control steps, and replay it without the environment."""
        tasks = [env.unwrapped for env in envs.envs]
        model = tasks[0].model
        for env in envs.envs:
            env.set_wrapper_attr("_elapsed_steps", 0)  # no end within the window
        start = _states(tasks)
        fields = {
            name: np.array([getattr(task.data, name) for task in tasks])
            for name in ("qpos", "qvel", "qacc_warmstart")
        }
        actions, log, first = self._actions(width), [], None
        for _ in range(WINDOW):
            _, _, terminated, truncated, _ = envs.step(actions())
            if terminated.any() or truncated.any():
                raise RuntimeError("an episode ended within the window")
            log.append([task.data.ctrl.copy() for task in tasks])
            end = np.array([task.data.qpos for task in tasks])
            first = end if first is None else first
        ctrls, substeps = np.array(log), tasks[0]._N_SUBSTEPS
        self._stagger(envs)
        batch = Batch(model, num_sims=width, num_threads=self._threads)
        state, ctrl, qpos = (batch.bind(name) for name in ("state", "ctrl", "qpos"))

        def replay() -> int:
            state[:] = start
            for values in ctrls:
                ctrl[:] = values
                batch.step(nstep=substeps)
            return width * WINDOW

        replay()
        if not np.array_equal(qpos, end):
            raise RuntimeError(f"bare physics of {width} environments ended elsewhere")
        self.cases[f"bare {width}"] = partial(_rate, replay, self._seconds)
        np.savez(
            self._folder / f"window-{width}.npz",
            ctrl=ctrls,
            first=first,
            end=end,
            **fields,
        )
        self._save_model(model)

    def _save_model(self, model: mujoco.MjModel) -> None:
        """Write the model as XML, because binary models are bound to a version."""
        path = self._folder / "model.xml"
        mujoco.mj_saveLastXML(str(path), model)
        # The path of the meshes is relative to a file that no longer exists.
        assets = Path(so101_nexus.get_so101_mujoco_model_dir()) / "assets"
        text = path.read_text().replace('meshdir="assets/"', f'meshdir="{assets}/"')
        path.write_text(text)
        options = {name: float(getattr(model.opt, name)) for name in OPTIONS}
        (self._folder / "options.json").write_text(json.dumps(options))

    def _stagger(self, envs: VectorEnv) -> None:
        """Let episodes end at different times from the start, as they do later."""
        elapsed = self._rng.integers(0, self._limit, envs.num_envs).tolist()
        if isinstance(envs, AsyncVectorEnv):
            envs.set_attr("_elapsed_steps", elapsed)
            return
        for env, steps in zip(envs.envs, elapsed, strict=True):
            env.set_wrapper_attr("_elapsed_steps", steps)

    def _actions(self, n: int) -> Callable[[], np.ndarray]:
        rng = np.random.default_rng(0)
        table = np.clip(self._std * rng.standard_normal((64, n, 6)), -1, 1)
        table, turn = table.astype(np.float32), [0]

        def draw() -> np.ndarray:
            turn[0] = (turn[0] + 1) % len(table)
            return table[turn[0]]

        return draw


def model_bytes() -> int:
    """Size of a model [bytes]; each environment has its own."""
    env = _scalar({"config": PickConfig(), "max_episode_steps": 400})
    size = mujoco.mj_sizeModel(env.unwrapped.model)
    env.close()
    return int(size)


def _config(substeps: int, control_hz: int) -> PickConfig:
    """The peer's own options; with `physics` only at other rates than its own."""
    if (substeps, control_hz) == (4, 50):
        return PickConfig()
    physics = PhysicsConfig(
        timestep_s=1 / (substeps * control_hz),
        control_period_s=1 / control_hz,
        integrator="implicitfast",
        tolerance=1e-8,
        noslip_iterations=3,
    )
    return PickConfig(physics=physics)


def _scalar(keys: dict[str, Any]) -> gym.Env:
    return gym.make(f"MuJoCo{TASK}", disable_env_checker=True, **keys)


def _states(tasks: list[Any]) -> np.ndarray:
    size = mujoco.mj_stateSize(tasks[0].model, STATE)
    states = np.empty((len(tasks), size))
    for row, task in zip(states, tasks, strict=True):
        mujoco.mj_getState(task.model, task.data, row, STATE)
    return states


def _rate(work: Callable[[], int], seconds: float) -> float:
    done, begin = 0, time.perf_counter()
    while time.perf_counter() - begin < seconds:
        done += work()
    return done / (time.perf_counter() - begin)


def _resident() -> float:
    """Resident memory of this process [bytes]; nan where there is no /proc."""
    path = Path("/proc/self/statm")
    if not path.exists():
        return float("nan")
    return int(path.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main() -> None:
    """Answer requests until end of file."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # output of libraries must not be read as an answer
    peer: Peer | None = None
    for line in sys.stdin:
        request = json.loads(line)
        answer: dict[str, Any] = {}
        if "open" in request:
            peer = Peer(**request["open"])
            answer = {"cases": list(peer.cases), "memory": peer.memory}
        elif "case" in request:
            assert peer is not None
            answer = {"value": peer.cases[request["case"]]()}
        elif "close" in request:
            assert peer is not None
            peer.close()
        else:
            names = ("so101-nexus", "mujoco", "mjbatch", "gymnasium", "numpy")
            found = {name: version(name) for name in names}
            answer = {"versions": found | {"python": sys.version.split()[0]}}
            answer |= {"model_bytes": model_bytes(), "task": TASK}
        print(json.dumps(answer), file=answers, flush=True)


if __name__ == "__main__":
    main()

"""Fixtures and helpers of all tests."""

import copy
import functools
import itertools
import os
import re
import shutil
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import NamedTuple

import pytest
import yaml
from omegaconf import DictConfig, OmegaConf

from so101rl import cli
from so101rl.config import targets
from so101rl.config.compose import compose
from so101rl.config.schema import GROUPS
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.runs.run_dir import RunDir

ROOT = Path(__file__).resolve().parents[1]

CONF = str(ROOT / "conf")
# The shortest training.
SHORT = [
    *("tracking=none", "n_envs=4", "n_threads=1", "total_timesteps=128"),
    *("log_every=32", "checkpoint_every=32", "env.max_episode_steps=20"),
    *("evaluation.n_episodes=3", "evaluation.select_episodes=2", "evaluation.every=64"),
    *("evaluation.video=false", "evaluation.figure=false"),
]
PPO_KEYS = ["algo.n_steps=8", "algo.batch_size=16", "algo.policy_kwargs.net_arch=[8]"]
OFF_POLICY = ["algo.learning_starts=16", "algo.gradient_steps=1",
              "algo.buffer_size=200", "algo.policy_kwargs.net_arch=[8]"]  # fmt: skip

# The smallest groups, for tests of the command line alone.
TINY = {
    "env/observation/markov": "parts: [qpos, goal]",
    "env/observation/paper25": "parts: [qpos]",
    "env/paper_push": "defaults: [observation: markov]\n"
    "_target_: so101rl.fake.Env\nact_scale: 0.05\nhorizon: 400\n"
    "name: push\nlimit: null\nsizes: [0.1, 0.2]",
    "env/pick_place": "_target_: so101rl.fake.Env\nact_scale: 0.05\nlift_height: 0.1",
    "base_policy/zero": "_target_: so101rl.fake.Zero",
    "base_policy/jacobian": "_target_: so101rl.fake.Jacobian\nkp_xyz: 1.0",
    "algo/ppo": "_target_: so101rl.fake.Ppo\ntotal_timesteps: 1000\n"
    "net: {layers: [64, 64]}",
    "algo/sac": "_target_: so101rl.fake.Sac\ntotal_timesteps: 500\ntau: 0.005",
    "randomization/default": "_target_: so101rl.fake.Terms",
    "hardware/sim": "_target_: so101rl.fake.Sim",
    "tracking/none": "trackers: {}",
    "tracking/mlflow": "_target_: so101rl.fake.Mlflow\nuri: sqlite:///mlflow.db",
    "experiment/guide": "# @package _global_\nresidual: {alpha: 0.5}",
    "job/train": "_target_: so101rl.fake.job",
    "job/evaluate": "_target_: so101rl.fake.job\nloads_run: true",
}


class Answer(NamedTuple):
    """Exit code, output, and the configs that the job got."""

    code: int
    out: str
    err: str
    cfgs: list


@functools.cache
def _chosen(*groups: str) -> DictConfig:
    return compose(groups)


def config_of(*typed: str) -> DictConfig:
    """Compose a config; values are set unchecked, so equal groups compose once."""
    if any(word.startswith(("+", "~")) for word in typed):
        return compose(typed)
    keys = [word.partition("=")[0] for word in typed]
    choices = {key for key in keys if key in GROUPS or "/" in key}
    chosen = [word for word, key in zip(typed, keys, strict=True) if key in choices]
    cfg = copy.deepcopy(_chosen(*chosen))
    for key, _, text in (word.partition("=") for word in typed):
        if key not in choices:
            OmegaConf.update(cfg, key, yaml.safe_load(text))
    return cfg


def make_env(*typed: str, n: int = 2, threads: int = 1):
    """Build a batch of `n` environments as the command line would."""
    from so101rl.build import build_env  # here, because it takes torch along

    env = build_env(config_of(f"n_threads={threads}", *typed), n)
    env.reset(seed=0)
    return env


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    """The real config root, help and jobs, with the groups of `TINY`."""
    folder = tmp_path / "conf"
    for name in ("job", "hydra", "sweep"):
        shutil.copytree(ROOT / "conf" / name, folder / name)
    shutil.copy(ROOT / "conf" / "config.yaml", folder)
    for name, text in TINY.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / f"{name}.yaml").write_text(text)
    return folder


@pytest.fixture
def job(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ModuleType:
    """A job that keeps the configs it gets in `cfgs`."""
    classes = re.findall(r"so101rl\.fake\.([A-Z]\w*)", str(TINY))
    (tmp_path / "package").mkdir()
    text = "".join(f"class {name}:\n" for name in classes)
    (tmp_path / "package/fake.py").write_text(text)
    monkeypatch.setattr(targets, "PACKAGE", tmp_path / "package")
    module = ModuleType("so101rl.fake")
    module.cfgs = []
    module.job = module.cfgs.append
    monkeypatch.setitem(sys.modules, "so101rl.fake", module)
    return module


def run_cli(*argv: str, conf: str | Path = CONF) -> int | None:
    """Run the program in this process; returns its exit code."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HYDRA_FULL_ERROR", "1")  # `main` sets it: undone afterwards
        patch.setattr(sys, "argv", ["main.py", "-cp", str(conf), *argv])
        try:
            return cli.main()
        except SystemExit as stop:
            return stop.code or 0


@pytest.fixture
def command(conf, job, tmp_path, monkeypatch, capsys) -> Callable[..., Answer]:
    """Run the program in this process, in an empty directory."""
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")

    def run(*argv: str) -> Answer:
        job.cfgs.clear()
        code = run_cli(*argv, conf=conf)
        return Answer(code, *capsys.readouterr(), list(job.cfgs))

    return run


@pytest.fixture
def run_main(tmp_path, monkeypatch, capsys):
    """Run a short training in this process: exit code, output, run directory."""
    monkeypatch.chdir(tmp_path)

    def run(*typed, name="run"):
        trains = not any("job=" in word for word in typed)
        code = run_cli(*SHORT, *[f"hydra.run.dir={name}"] * trains, *typed)
        return code, capsys.readouterr(), tmp_path / name

    return run


def finished_run(command, *typed):
    """Run the fake job and write what jobs look for in a finished run."""
    known = set(run_dirs())
    assert command(*typed).code == 0
    (new,) = set(run_dirs()) - known
    Path(new, "run.json").write_text('{"status": "finished"}')
    os.makedirs(f"{new}/checkpoints/best")
    return new


def run_dirs():
    return [folder for folder, names, _ in os.walk("outputs") if ".hydra" in names]


class Shot(BaseException):
    """Nothing catches it."""


@pytest.fixture
def shoot(monkeypatch, run_main):
    """Start a run and end it, as by SIGKILL, at a vector step of the training."""

    def start(point, *typed, name):
        step, numbers = SB3VecEnv.step_async, itertools.count(1)

        def counting(self, actions):
            if next(numbers) == point:
                raise Shot
            step(self, actions)

        with monkeypatch.context() as patch:
            patch.setattr(SB3VecEnv, "step_async", counting)
            # When a process is killed, the kernel frees its lock and nothing else.
            patch.setattr(RunDir, "finish", lambda self, *end: self._lock.free())
            with pytest.raises(Shot):
                run_main(*typed, name=name)
        assert RunDir.open(name).info["status"] == "running"

    return start

"""Export a policy to one file that needs nothing but torch."""

import hashlib
import os
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import torch
from gymnasium.spaces import Box
from omegaconf import DictConfig, OmegaConf

from so101rl.build import build_env
from so101rl.config.from_run import BEST
from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.errors import So101Error
from so101rl.files import to_json, write_atomic
from so101rl.policies import torchscript
from so101rl.policies.load import load_policy
from so101rl.policies.policy import ModelPolicy
from so101rl.runs.provenance import versions
from so101rl.runs.run_dir import RunDir
from so101rl.seeds import episode_seeds

FOLDER, SCRIPT, ABOUT = "export", "policy.ts", "policy.json"


class ExportError(So101Error):
    """A policy cannot be exported, or its file gives other actions."""


def export_policy(cfg: DictConfig) -> Path:
    """Write `export/policy.ts` and `policy.json`; return the path of the former.

    Raises:
        ExportError: there is no run, or the file's actions differ from the original's.
    """
    if cfg.run is None:
        raise ExportError("job=export needs run=RUN_DIR (or run=latest)")
    with closing(build_env(cfg, cfg.job.n_envs)) as env:
        return _export(cfg, env)


def _export(cfg: DictConfig, env: ResidualEnv) -> Path:
    if not isinstance(env.single_observation_space, Box):
        groups = ", ".join(env.single_observation_space)  # type: ignore[arg-type]
        raise ExportError(
            f"this policy reads several observations ({groups}); job=export writes "
            "policies of one vector, such as env/observation=markov"
        )
    policy, step = load_policy(cfg, env)
    env.progress(step)
    module = torchscript.compose(policy, env.alpha)
    content = torchscript.script(module)
    seeds = episode_seeds(cfg.seed, "report", cfg.job.n_envs)
    n, worst = compare(content, module, policy, env, seeds, cfg.job.observations)
    found = f"largest difference of an action {worst:.1e} on {n} observations"
    if not worst <= cfg.job.tolerance:
        raise ExportError(
            f"the exported policy is not the original: {found}, allowed is "
            f"{cfg.job.tolerance:.1e} (job.tolerance). Nothing was written."
        )
    print(f"checked: {found}")
    run = RunDir.open(cfg.run)
    path = run.file(f"{FOLDER}/{SCRIPT}")
    facts = {
        "file": SCRIPT,
        "sha256": hashlib.sha256(content).hexdigest(),
        "checked": {"observations": n, "largest_difference": worst},
        **interface(module, env),
        **origin(cfg, run, step),
    }
    write_atomic(path, content)
    write_atomic(path.with_name(ABOUT), to_json(facts))
    return path


def compare(
    content: bytes,
    module: torchscript.Composed,
    policy: ModelPolicy,
    env: ResidualEnv,
    seeds: Sequence[int],
    n: int,
) -> tuple[int, float]:
    """Compare the actions of file and original on the same observations.

    Args:
        content: the file's bytes.
        module: the module that the file was made from.
        policy: the original.
        env: the environments that give the observations.
        seeds: the first episode of every environment.
        n: smallest number of observations.

    Returns:
        The number of observations, and the largest difference between two actions.
    """
    file = torchscript.load(content)
    inputs = module.inputs(env.num_envs)
    policy.reset()
    obs, _ = env.reset(seed=list(seeds))
    starts, worst, compared = np.ones(env.num_envs), 0.0, 0
    while compared < n:
        now = {"obs": obs, "base_action": env.base_action, "starts": starts}
        for name in inputs.keys() & now:
            inputs[name] = torch.as_tensor(now[name], dtype=torch.float32)
        with torch.no_grad():
            found = file(*inputs.values())
        action, *memory = found if isinstance(found, tuple) else (found,)
        inputs |= dict(zip(module.outputs[1:], memory, strict=True))
        residual = policy.act(obs)
        wanted = np.clip(env.base_action + env.alpha * residual, -1.0, 1.0)
        # Python's max would ignore NaN.
        worst = float(np.maximum(worst, np.abs(action.numpy() - wanted).max()))
        obs, _, terminated, truncated, _ = env.step(residual)
        starts = terminated | truncated
        policy.reset(np.flatnonzero(starts))
        compared += len(obs)
    return compared, worst


def interface(module: torchscript.Composed, env: ResidualEnv) -> dict[str, Any]:
    """Return the part of `policy.json` about inputs and outputs."""
    one, two = module.inputs(1), module.inputs(2)
    task = env.env
    return {
        "inputs": {
            name: [
                "n" if a != b else a
                for a, b in zip(x.shape, two[name].shape, strict=True)
            ]
            for name, x in one.items()
        },
        "outputs": list(module.outputs),
        "observation": env.layout.parts(),
        "joints": list(task.robot.joints),
        "actions": list(task.control.names),
        "alpha": env.alpha.tolist(),
        "act_scale": task.act_scale,
        "control_hz": task.control_hz,
    }


def origin(cfg: DictConfig, run: RunDir, step: int) -> dict[str, Any]:
    """Return the part of `policy.json` about where the policy comes from."""
    return {
        "run": {key: run.info[key] for key in ("name", "uid", "groups", "git")},
        "checkpoint": os.path.relpath(cfg.checkpoint or run.path / BEST, run.path),
        "step": step,
        "base_policy": OmegaConf.to_container(cfg.base_policy, resolve=True),
        "control": OmegaConf.to_container(cfg.env.control, resolve=True),
        "versions": versions(),
    }

"""Evaluate policies on held-out episodes, as every training does at its end."""

import contextlib
from typing import Any

import mujoco
from omegaconf import DictConfig

from so101rl.build import build_env, hardware_class
from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.errors import ConfigError
from so101rl.evaluation.referee import Referee
from so101rl.evaluation.rollout import Episode, episode_rows, run_episodes
from so101rl.evaluation.videos import write_videos
from so101rl.figures.gallery import draw_all
from so101rl.policies.policy import Policy
from so101rl.rendering.renderer import SceneRenderer, drawable
from so101rl.runs.metrics import policy_scores, tested_as
from so101rl.runs.run_dir import RunDir
from so101rl.runs.trajectories import TRAJECTORIES, write_trajectories
from so101rl.seeds import episode_seeds

MAX_BATCH = 256  # episodes simulated at once


def evaluate_policies(
    cfg: DictConfig,
    run: RunDir,
    env: ResidualEnv,
    policies: dict[str, Policy],
    *,
    step: int,
    referee: Referee | None = None,
) -> float:
    """Run every policy on the same held-out episodes and write the results.

    Args:
        cfg: the run's config.
        run: where `evaluation.json`, `episodes.csv`, figures and videos are written; it
            has a `task.json` already.
        env: the environments; of any number, see `held_out_size`.
        policies: policies by name.
        step: env steps that the policies trained for; sets alpha if it is scheduled.
        referee: says which episodes are solved; None: the task.

    Returns:
        The last policy's success rate.
    """
    n = cfg.evaluation.n_episodes
    env.progress(step)
    seeds = episode_seeds(cfg.seed, cfg.evaluation.role, n)
    hz = env.env.control_hz
    played = {
        name: run_episodes(env, p, seeds, referee) for name, p in policies.items()
    }
    tested = _tested(cfg, env, policies, seeds, step)
    rows = {
        name: episode_rows(name, episodes, hz)
        for name, episodes in (played | tested).items()
    }
    scores = {
        name: policy_scores(own, root=cfg.seed, role=cfg.evaluation.role)
        for name, own in rows.items()
    }
    run.write_evaluation(
        {
            "policies": {name: scores[name] for name in played},
            "tests": {name: scores[name] for name in tested},
            "env": str(run.info["groups"].get("env", "")),
            "n_episodes": n,
            "policy_step": step,
            "alpha": env.alpha.tolist(),
            **_interventions(env),
        }
    )
    run.write_episodes(row for name in played for row in rows[name])
    if tested:
        run.write_tests(row for name in tested for row in rows[name])
    steps = {name: [e.trajectory for e in eps] for name, eps in played.items()}
    write_trajectories(run.file(TRAJECTORIES), steps)
    _print_scores(scores)
    if cfg.evaluation.figure:
        print("drawing figures ...", flush=True)
        draw_all(run)
    if cfg.evaluation.video and env.env.hardware.simulated:
        print("filming ...", flush=True)
        write_videos(run, env, played)
    return float(scores[list(policies)[-1]]["success_rate"])


def _interventions(env: ResidualEnv) -> dict[str, Any]:
    """Return how often the guard of a real arm changed a target, by kind."""
    guard: Any = env.env.hardware.arm
    if env.env.hardware.simulated:
        return {}
    return {"guard": dict(guard.interventions)}


def _tested(
    cfg: DictConfig,
    held_out: ResidualEnv,
    policies: dict[str, Policy],
    seeds: list[int],
    step: int,
) -> dict[str, list[Episode]]:
    """Run the same episodes in each of `evaluation.tests`; keys: `policy on test`."""
    played = {}
    for test, randomization in cfg.evaluation.tests.items():
        test_cfg = cfg.copy()
        test_cfg.randomization = randomization
        env = build_env(test_cfg, held_out.num_envs, beside=held_out)
        with contextlib.closing(env):
            env.progress(step)
            for name, policy in policies.items():
                played[tested_as(name, test)] = run_episodes(env, policy, seeds)
    return played


def _print_scores(scores: dict[str, dict[str, Any]]) -> None:
    """Print a line per policy: success rate with its interval, and failures."""
    width = max(map(len, scores))
    for name, score in scores.items():
        low, high = score["wilson_95"]
        failures = ", ".join(f"{k} {v}" for k, v in score["failures"].items()) or "none"
        print(
            f"{name:>{width}}: success {score['success_rate']:.1%} "
            f"[{low:.1%}, {high:.1%}] of {score['n_episodes']} episodes; "
            f"failures: {failures}",
            flush=True,
        )


def held_out_size(cfg: DictConfig) -> int:
    """Return how many environments play the held-out episodes at once."""
    most = hardware_class(cfg).max_n or MAX_BATCH
    return min(cfg.evaluation.n_episodes, MAX_BATCH, most)


def check_conditions(cfg: DictConfig) -> None:
    """Refuse `evaluation.tests` for an arm that is not simulated.

    Raises:
        ConfigError: a real arm cannot be given other conditions.
    """
    hardware = hardware_class(cfg)
    if cfg.evaluation.tests and not hardware.simulated:
        names = ", ".join(cfg.evaluation.tests)
        expected = f"none: {hardware.__name__} is not simulated"
        raise ConfigError("evaluation.tests", got=names, expected=expected)


def check_graphics(cfg: DictConfig, env: ResidualEnv) -> None:
    """Check that the videos that the config asks for can be drawn.

    Raises:
        NoGraphicsError: videos are enabled, but this machine cannot render.
    """
    if cfg.evaluation.video and env.env.hardware.simulated:
        drawable(env.env.hardware)
        # An empty scene also reveals a missing driver, and renders five times faster.
        empty = mujoco.MjModel.from_xml_string("<mujoco/>")
        with SceneRenderer(model=empty, width=16, height=16):
            pass

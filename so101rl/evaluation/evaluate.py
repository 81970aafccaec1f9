"""What every training ends with: policies on held-out episodes."""

from typing import Any

import mujoco
from omegaconf import DictConfig

from so101rl.build import build_env
from so101rl.envs.wrappers.residual import ResidualEnv
from so101rl.evaluation.rollout import Episode, episode_rows, run_episodes, summarize
from so101rl.evaluation.videos import write_videos
from so101rl.figures.gallery import draw_all
from so101rl.policies.policy import Policy
from so101rl.rendering.renderer import SceneRenderer, drawable
from so101rl.runs.metrics import tested_as
from so101rl.runs.run_dir import RunDir
from so101rl.runs.trajectories import TRAJECTORIES, write_trajectories
from so101rl.seeds import episode_seeds

LARGEST_BATCH = 256  # episodes simulated at once


def evaluate_policies(
    cfg: DictConfig,
    run: RunDir,
    env: ResidualEnv,
    policies: dict[str, Policy],
    *,
    step: int,
) -> float:
    """Run every policy on the same held-out episodes and write what came out.

    Args:
        cfg: the run's config.
        run: where `evaluation.json`, `episodes.csv`, figures and videos go.
        env: see `evaluation_env`; closed at the end.
        policies: residuals by policy name; all play the same episodes.
        step: env step that the policies stem from; a schedule of alpha stands there.

    Returns:
        The last policy's success rate.
    """
    n = cfg.evaluation.n_episodes
    env.progress(step)
    seeds = episode_seeds(cfg.seed, cfg.evaluation.role, n)
    hz = env.env.control_hz
    played = {name: run_episodes(env, p, seeds) for name, p in policies.items()}
    tested = _tested(cfg, policies, seeds, step)
    scores, test_scores = (
        {
            name: summarize(episodes, hz, cfg.seed, cfg.evaluation.role)
            for name, episodes in own.items()
        }
        for own in (played, tested)
    )
    run.write_evaluation(
        {
            "policies": scores,
            "tests": test_scores,
            "env": _choice(run),
            "n_episodes": n,
            "policy_step": step,
            "alpha": env.alpha.tolist(),
        }
    )
    run.write_episodes(
        [row for name, eps in played.items() for row in episode_rows(name, eps, hz)]
    )
    if tested:
        run.write_tests(
            [row for name, eps in tested.items() for row in episode_rows(name, eps, hz)]
        )
    steps = {name: [e.trajectory for e in eps] for name, eps in played.items()}
    write_trajectories(run.file(TRAJECTORIES), steps)
    print_scores(scores | test_scores)
    if cfg.evaluation.figure:
        print("drawing figures ...", flush=True)
        draw_all(run)
    if cfg.evaluation.video:
        print("filming ...", flush=True)
        write_videos(run, env, played)
    env.close()
    return float(scores[list(policies)[-1]]["success_rate"])


def _tested(
    cfg: DictConfig, policies: dict[str, Policy], seeds: list[int], step: int
) -> dict[str, list[Episode]]:
    """The same episodes under each of `evaluation.tests`, as `policy@test`."""
    played = {}
    for test, randomization in cfg.evaluation.tests.items():
        other = cfg.copy()
        other.randomization = randomization
        env = build_env(other, min(len(seeds), LARGEST_BATCH))
        env.progress(step)
        for name, policy in policies.items():
            played[tested_as(name, test)] = run_episodes(env, policy, seeds)
        env.close()
    return played


def _choice(run: RunDir) -> str:
    return str(run.info["groups"].get("env", ""))


def print_scores(scores: dict[str, dict[str, Any]]) -> None:
    """A line per policy: success with its interval, time, failures."""
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


def evaluation_env(cfg: DictConfig) -> ResidualEnv:
    """The batch for held-out episodes.

    Raises:
        NoGraphicsError: a video is wanted and nothing here can draw one. Better now
            than after the training.
    """
    env = build_env(cfg, min(cfg.evaluation.n_episodes, LARGEST_BATCH))
    if cfg.evaluation.video:
        drawable(env.env.hardware)
        # An empty world finds a missing library or driver, too, in a fifth of the time.
        empty = mujoco.MjModel.from_xml_string("<mujoco/>")
        with SceneRenderer(model=empty, width=16, height=16):
            pass
    return env

"""`job=evaluate`, and what every training ends with: policies on held-out episodes."""

import shlex
import sys
from itertools import count
from pathlib import Path
from typing import Any

import mujoco
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from so101rl.build import build_env
from so101rl.episodes import Episode, rows, run_episodes, summary
from so101rl.figures.gallery import draw_all
from so101rl.footage import film
from so101rl.policies import NoResidual, Policy, learned
from so101rl.render import SceneRenderer, drawable
from so101rl.residual import ResidualEnv
from so101rl.rundir import RunDir
from so101rl.scores import tested_as
from so101rl.seeds import episode_seeds
from so101rl.tracking import make_mirror
from so101rl.trajectories import TRAJECTORIES, write_trajectories

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
            name: summary(episodes, hz, cfg.seed, cfg.evaluation.role)
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
        [row for name, eps in played.items() for row in rows(name, eps, hz)]
    )
    if tested:
        run.write_tests(
            [row for name, eps in tested.items() for row in rows(name, eps, hz)]
        )
    steps = {name: [e.trajectory for e in eps] for name, eps in played.items()}
    write_trajectories(run.file(TRAJECTORIES), steps)
    print_scores(scores | test_scores)
    if cfg.evaluation.figure:
        print("drawing figures ...", flush=True)
        draw_all(run)
    if cfg.evaluation.video:
        print("filming ...", flush=True)
        film(run, env, played)
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


def evaluate(cfg: DictConfig) -> float:
    """`job=evaluate`: a run, a bare base policy, or a foreign SB3 zip."""
    policies: dict[str, Policy] = {"base": NoResidual()}
    step = 0
    call = HydraConfig.get()
    if cfg.run is not None or cfg.checkpoint is not None:
        policies["residual"], step = learned(cfg)
    path = Path(call.runtime.output_dir)
    if cfg.run is not None:
        path = _next_evaluation(Path(cfg.run))
    env = evaluation_env(cfg)
    mirror = make_mirror(cfg.tracking)
    run = RunDir.create(
        path, cfg=cfg, command=shlex.join(sys.argv), groups=call.runtime.choices
    )
    with mirror.follow(run), run.lifecycle():
        success = evaluate_policies(cfg, run, env, policies, step=step)
    print(f"results: {run.path}")
    return success


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


def _next_evaluation(run: Path) -> Path:
    """`evaluations/1`, `2`, ...: the run's own results are never overwritten."""
    for number in count(1):
        path = run / "evaluations" / str(number)
        try:
            path.mkdir(parents=True)
        except FileExistsError:
            continue
        return path
    raise AssertionError("there is always a next number")

"""Held-out episodes: running them, summing them up, and `job=evaluate`."""

import shlex
import sys
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import mujoco
import numpy as np
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig

from so101rl import checkpoint
from so101rl.build import build_algo, build_env
from so101rl.figures import figure_summary
from so101rl.render import SceneRenderer, drawable
from so101rl.residual import ResidualEnv
from so101rl.rundir import RunDir
from so101rl.seeds import episode_seeds
from so101rl.statistics import wilson
from so101rl.tracking import make_mirror
from so101rl.vec_env import SB3VecEnv
from so101rl.video import EpisodeClip, episode_video

Act = Callable[[np.ndarray], np.ndarray]
LARGEST_BATCH = 256  # episodes simulated at once
VIDEO_EVERY = 2  # control steps between two frames


@dataclass(kw_only=True)
class Episode:
    """What happened in one episode, and the states it went through."""

    seed: int
    is_success: bool
    total_reward: float
    length: int
    final_distance_m: float
    final_yaw_error_rad: float
    mean_residual_l2: float
    failure: str
    qpos: np.ndarray
    distance_m: np.ndarray


def run_episodes(env: ResidualEnv, act: Act, seeds: Sequence[int]) -> list[Episode]:
    """Run one episode per seed.

    Args:
        env: any batch; it is filled as often as needed.
        act: residuals (n, 6) for observations (n, d).
        seeds: the episodes.
    """
    found: list[Episode] = []
    for first in range(0, len(seeds), env.num_envs):
        batch = list(seeds[first : first + env.num_envs])
        # A last batch that is not full repeats an episode, which is then dropped.
        padded = batch + batch[:1] * (env.num_envs - len(batch))
        found += _run_batch(env, act, padded)[: len(batch)]
    return found


def _run_batch(env: ResidualEnv, act: Act, seeds: list[int]) -> list[Episode]:
    n, world = env.num_envs, drawable(env.env.hardware)
    env.env.autoreset = False  # a solved state stays to be seen
    obs, _ = env.reset(seed=seeds)
    episodes: list[Episode | None] = [None] * n
    total, size = np.zeros(n), np.zeros(n)
    track: dict[str, list[np.ndarray]] = {"qpos": [], "distance_m": []}
    while any(episode is None for episode in episodes):
        obs, reward, terminated, truncated, info = env.step(act(obs))
        track["qpos"].append(world.qpos.copy())
        track["distance_m"].append(info["distance_m"])
        total += reward
        size += info["residual_l2"]
        for i in np.flatnonzero(terminated | truncated):
            if episodes[i] is not None:
                continue
            length = int(info["episode_length"][i])
            episodes[i] = Episode(
                seed=seeds[i],
                is_success=bool(terminated[i]),
                total_reward=float(total[i]),
                length=length,
                final_distance_m=float(info["distance_m"][i]),
                final_yaw_error_rad=float(info["yaw_error_rad"][i]),
                mean_residual_l2=float(size[i] / length),
                failure=str(info["failure"][i]),
                **{name: np.array([row[i] for row in track[name]]) for name in track},
            )
    return [episode for episode in episodes if episode is not None]


def rows(policy: str, episodes: Sequence[Episode], hz: int) -> list[dict[str, Any]]:
    """The lines of `episodes.csv`."""
    return [
        {
            "policy": policy,
            "episode": number,
            "seed": episode.seed,
            "is_success": episode.is_success,
            "return": episode.total_reward,
            "length": episode.length,
            "final_distance_m": episode.final_distance_m,
            "final_yaw_error_rad": episode.final_yaw_error_rad,
            "time_to_success_s": episode.length / hz if episode.is_success else None,
            "mean_residual_l2": episode.mean_residual_l2,
            "failure": episode.failure,
        }
        for number, episode in enumerate(episodes)
    ]


def summary(episodes: Sequence[Episode], hz: int, root: int) -> dict[str, Any]:
    """One policy's entry in `evaluation.json`."""
    solved = [episode for episode in episodes if episode.is_success]
    failures = [episode.failure for episode in episodes if not episode.is_success]
    times = [episode.length / hz for episode in solved]

    def mean(name: str) -> float:
        return float(np.mean([getattr(episode, name) for episode in episodes]))

    return {
        "success_rate": len(solved) / len(episodes),
        "wilson_95": list(wilson(len(solved), len(episodes))),
        "n_episodes": len(episodes),
        "mean_return": mean("total_reward"),
        "mean_final_distance_m": mean("final_distance_m"),
        "mean_time_to_success_s": float(np.mean(times)) if times else None,
        "mean_residual_l2": mean("mean_residual_l2"),
        "failures": {name: failures.count(name) for name in sorted(set(failures))},
        "seeds": {
            "role": "report",
            "root": root,
            "first": episodes[0].seed,
            "n": len(episodes),
        },
    }


def evaluate_policies(
    cfg: DictConfig,
    run: RunDir,
    env: ResidualEnv,
    policies: dict[str, Act],
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
    seeds = episode_seeds(cfg.seed, "report", n)
    hz = env.env.control_hz
    played = {name: run_episodes(env, act, seeds) for name, act in policies.items()}
    scores = {
        name: summary(episodes, hz, cfg.seed) for name, episodes in played.items()
    }
    run.write_evaluation(
        {
            "policies": scores,
            "env": _choice(run),
            "n_episodes": n,
            "policy_step": step,
            "alpha": env.alpha.tolist(),
        }
    )
    run.write_episodes(
        [row for name, eps in played.items() for row in rows(name, eps, hz)]
    )
    print_scores(scores)
    last = list(policies)[-1]
    if cfg.evaluation.figure:
        figure_summary(run)
    if cfg.evaluation.video:
        video(run, env, last, played[last])
    env.close()
    return float(scores[last]["success_rate"])


def video(
    run: RunDir, env: ResidualEnv, policy: str, episodes: Sequence[Episode]
) -> None:
    """Write worst, median and best episode, one after the other."""
    ranked = sorted(
        episodes, key=lambda e: (e.is_success, -e.length, -e.final_distance_m)
    )
    chosen = {
        "worst": ranked[0],
        "median": ranked[len(ranked) // 2],
        "best": ranked[-1],
    }
    clips = [
        EpisodeClip(
            title=f"{policy}, {name}: {'success' if e.is_success else e.failure}",
            qpos=e.qpos,
            distance_m=e.distance_m,
            success=_solved_from(e),
        )
        for name, e in chosen.items()
    ]
    episode_video(
        run.file(f"videos/{policy}.mp4"),
        model=drawable(env.env.hardware).drawn_model,
        episodes=clips,
        fps=env.env.control_hz,
        every=VIDEO_EVERY,
    )


def _solved_from(episode: Episode) -> np.ndarray:
    """Success (T,) as drawn into the video: true in the last step of a solved one."""
    solved = np.zeros(len(episode.qpos), bool)
    solved[-1] = episode.is_success
    return solved


def _choice(run: RunDir) -> str:
    return str(run.info["groups"].get("env", ""))


def print_scores(scores: dict[str, dict[str, Any]]) -> None:
    """A line per policy: success with its interval, time, failures."""
    for name, score in scores.items():
        low, high = score["wilson_95"]
        failures = ", ".join(f"{k} {v}" for k, v in score["failures"].items()) or "none"
        print(
            f"{name:>9}: success {score['success_rate']:.1%} "
            f"[{low:.1%}, {high:.1%}] of {score['n_episodes']} episodes; "
            f"failures: {failures}",
            flush=True,
        )


def evaluate(cfg: DictConfig) -> float:
    """`job=evaluate`: a run, a bare base policy, or a foreign SB3 zip."""
    policies: dict[str, Act] = {"base": base_act}
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


def base_act(obs: np.ndarray) -> np.ndarray:
    """The base policy alone: no residual."""
    return np.zeros((len(obs), 6))


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


def model_act(model: Any) -> Act:
    """A model's deterministic residuals."""
    return lambda obs: model.predict(obs, deterministic=True)[0]


def learned(cfg: DictConfig) -> tuple[Act, int]:
    """The policy that `run=` or `checkpoint=` names, and the env step it stems from."""
    env = build_env(cfg, 1)
    if cfg.checkpoint is not None and not Path(cfg.checkpoint).is_dir():
        path = Path(cfg.checkpoint)
        model = checkpoint.load_zip(
            path,
            algo=cfg.algo._target_,
            trust=cfg.trust,
            observations=env.single_observation_space.shape,
        )
        step = model.num_timesteps
    else:
        path = Path(cfg.checkpoint or Path(cfg.run) / "checkpoints" / "best")
        with warnings.catch_warnings():
            # It will not train, so how its batches divide does not matter.
            warnings.filterwarnings("ignore", "You have specified a mini-batch size")
            model = build_algo(cfg, SB3VecEnv(env))
        step = checkpoint.load(model, path)
    env.close()
    return model_act(model), step


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

"""A run of the classic stack: SB3's PPO on scalar environments in processes.

Started by `race.py`. Task, base policy, start at the base, exploration and `select`
episodes are those of `python main.py evaluation.stop_at=0.98`. The scores are computed
by the package's batch, which is faster than scalar environments.
"""

import argparse
import json
import sys
import time
from copy import deepcopy
from functools import partial
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this folder is no part of the installed package

import numpy as np  # noqa: E402
import torch  # noqa: E402
from stable_baselines3 import PPO  # noqa: E402
from stable_baselines3.common.vec_env import SubprocVecEnv  # noqa: E402

from benchmarks.learners import CLASSIC, PROCESSES, monitored  # noqa: E402
from so101rl.algos.initialization import set_exploration, zero_last_layers  # noqa: E402
from so101rl.build import build_env  # noqa: E402
from so101rl.config.compose import compose  # noqa: E402
from so101rl.envs.wrappers.residual import ResidualEnv  # noqa: E402
from so101rl.evaluation.rollout import run_episodes  # noqa: E402
from so101rl.policies.policy import ModelPolicy  # noqa: E402
from so101rl.seeds import episode_seeds  # noqa: E402
from so101rl.training.callbacks import EverySteps  # noqa: E402


class Judge(EverySteps):
    """Scores the policy every `every` env steps and stops a good one.

    Args:
        env: a batch of its own.
        seeds: the `select` episodes.
        every: env steps between two scores.
        stop_at: success at which training ends, in [0, 1].
        deadline: when training ends at the latest, as `time.time` [s].
    """

    def __init__(
        self,
        env: ResidualEnv,
        seeds: list[int],
        *,
        every: int,
        stop_at: float,
        deadline: float,
    ):
        super().__init__(every)
        self._env, self._seeds = env, seeds
        self._stop_at, self._deadline = stop_at, deadline
        self.scores: list[dict[str, float]] = []
        self.best: dict[str, Any] = {}

    def _on_training_start(self) -> None:
        self.fire()  # as in the package

    def _on_step(self) -> bool:
        if time.time() > self._deadline:
            return False
        super()._on_step()
        return self.scores[-1]["success"] < self._stop_at

    def fire(self) -> None:
        """Score the current policy, and keep the best one."""
        success = solved(self._env, self.model, self._seeds)
        now = {"step": self.num_timesteps, "unix_s": time.time(), "success": success}
        if success > max((score["success"] for score in self.scores), default=-1):
            self.best = deepcopy(self.model.policy.state_dict())
        self.scores.append(now)


def solved(env: ResidualEnv, model: Any, seeds: list[int]) -> float:
    """Share of the episodes that the model's deterministic policy solves."""
    episodes = run_episodes(env, ModelPolicy(model), seeds)
    return float(np.mean([episode.is_success for episode in episodes]))


def main() -> None:
    """Train up to the wanted success, then play the held-out episodes."""
    options = _parser().parse_args()
    cfg = compose(["tracking=none", f"env={options.env}", f"seed={options.seed}"])
    torch.set_num_threads(cfg.torch_threads)
    env = SubprocVecEnv([partial(monitored, cfg)] * PROCESSES)
    model = PPO("MlpPolicy", env, device="cpu", seed=options.seed, **CLASSIC)
    zero_last_layers(model)
    set_exploration(model, cfg.residual.exploration_std)
    judge = Judge(
        build_env(cfg, cfg.evaluation.select_episodes),
        episode_seeds(cfg.seed, "select", cfg.evaluation.select_episodes),
        every=options.every,
        stop_at=options.stop_at,
        deadline=options.begun + options.cap,
    )
    model.learn(10**9, callback=judge, log_interval=10**9)
    env.close()
    model.policy.load_state_dict(judge.best)
    n = cfg.evaluation.n_episodes
    held_out = solved(build_env(cfg, n), model, episode_seeds(cfg.seed, "report", n))
    found = {"scores": judge.scores, "held_out": held_out}
    options.out.write_text(json.dumps(found))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--env", required=True)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--every", type=int, required=True, help="[env steps]")
    parser.add_argument("--stop-at", type=float, required=True)
    parser.add_argument("--cap", type=float, required=True, help="[s]")
    parser.add_argument("--begun", type=float, required=True, help="unix time [s]")
    parser.add_argument("--out", type=Path, required=True)
    return parser


if __name__ == "__main__":
    main()

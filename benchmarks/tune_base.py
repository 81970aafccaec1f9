"""Random search for the Jacobian's gains on `tune` episodes.

`python benchmarks/tune_base.py --settings 40` prints success, best last.
"""

import argparse
from collections import Counter

import numpy as np

from so101rl.build import build_env
from so101rl.config.compose import compose
from so101rl.evaluation.rollout import run_episodes
from so101rl.policies.policy import NoResidual
from so101rl.seeds import episode_seeds

EPISODES = 96
CHOICES = {
    "max_step": [0.006, 0.008, 0.01, 0.015, 0.02],
    "max_turn": [0.04, 0.08, 0.15, 0.3],
    "press": [1.5, 2.0, 3.0, 4.0, 6.0],
    "kp_press": [0.2, 0.3, 0.4],
    "kp_xyz": [0.15, 0.2, 0.3, 0.5],
    "kp_ori": [0.05, 0.1, 0.2, 0.3, 0.5],
    "pitch": [1.2, 1.35, 1.5],
    "yaw_tolerance": [0.01, 0.03],
}


def success(gains: dict[str, float]) -> tuple[float, dict[str, int]]:
    """Success rate, and the number of episodes per kind of end."""
    env = build_env(
        compose([f"base_policy.{name}={value}" for name, value in gains.items()]),
        EPISODES,
    )
    episodes = run_episodes(
        env, NoResidual(len(env.env.control.names)), episode_seeds(0, "tune", EPISODES)
    )
    ends = Counter(episode.failure for episode in episodes)
    return ends["none"] / EPISODES, dict(ends)


def main() -> None:
    """Try random settings and print them, best last."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--settings", type=int, default=40)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    tried = []
    for _ in range(args.settings):
        gains = {name: float(rng.choice(values)) for name, values in CHOICES.items()}
        tried.append((*success(gains), gains))
    for rate, ends, gains in sorted(tried, key=lambda item: item[0]):
        print(f"{rate:.3f}", gains, ends)


if __name__ == "__main__":
    main()

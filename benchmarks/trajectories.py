"""Compares the states of the rival with those of the package."""

import numpy as np

from benchmarks.rival import Rival
from so101rl.build import build_env
from so101rl.config.compose import compose
from so101rl.seeds import episode_seeds


def largest_difference(randomization: str, *, steps: int, seed: int = 0) -> dict:
    """Step both worlds with the same residuals from the same start.

    Args:
        randomization: option of the config group.
        steps: most control steps; the comparison ends with the first episode.
        seed: of the episode and of the residuals.

    Returns:
        Largest absolute differences of `qpos` (arm [rad], sheet [m] and quaternion),
        `observation` and `reward`, how many `steps` were compared, and whether both
        ended (`done`) at the same step for the same reason.
    """
    overrides = [f"randomization={randomization}", "tracking=none", "n_threads=1"]
    cfg = compose(overrides)
    ours, rival = build_env(cfg, 1), Rival(cfg)
    first = episode_seeds(seed, "train", 1)
    found = {"qpos": 0.0, "observation": 0.0, "reward": 0.0, "steps": 0, "done": True}
    found["observation"] = _difference(
        ours.reset(seed=first)[0], rival.reset(seed=first[0])[0]
    )
    rng = np.random.default_rng(seed)
    for step in range(steps):
        action = 0.5 * rng.standard_normal((1, 6))
        obs, reward, terminated, truncated, info = ours.step(action)
        theirs = rival.step(action[0])
        obs = info.get("final_obs", obs)
        done = bool(terminated[0]), bool(truncated[0])
        found["observation"] = max(found["observation"], _difference(obs, theirs[0]))
        found["reward"] = max(found["reward"], _difference(reward, theirs[1]))
        found["steps"], found["done"] = step + 1, done == theirs[2:4]
        if any(done) or not found["done"]:
            break
        found["qpos"] = max(
            found["qpos"], _difference(ours.env.hardware.qpos, rival.qpos)
        )
    return found


def _difference(ours: np.ndarray, theirs: np.ndarray | float) -> float:
    return float(np.abs(np.asarray(ours)[0] - theirs).max())

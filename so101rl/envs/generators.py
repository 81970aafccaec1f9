"""The random generators of a batch of environments."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from so101rl.errors import ConfigError


class Generators:
    """One generator per environment for what begins an episode, one for the noise.

    Args:
        n: number of environments.

    Attributes:
        envs: of each environment, so that no episode affects another.
        noise: of the measurement noise of all environments.
    """

    def __init__(self, n: int):
        self.envs = [np.random.default_rng(i) for i in range(n)]
        self.noise = np.random.default_rng(n)

    def seed(self, seed: int | Sequence[int]) -> None:
        """Start anew with one seed per environment, or with consecutive ones from one.

        Raises:
            ConfigError: the number of seeds is wrong.
        """
        n = len(self.envs)
        if isinstance(seed, int | np.integer):  # as Gymnasium's vector environments do
            seed = [int(seed) + i for i in range(n)]
        seeds = [int(s) for s in seed]
        if len(seeds) != n:
            raise ConfigError(
                "seed of reset",
                got=f"{len(seeds)} seeds",
                expected=f"one number or {n}",
            )
        self.envs = [np.random.default_rng(s) for s in seeds]
        # Spawned: otherwise the noise of a single environment repeats its other draws.
        root = np.random.SeedSequence(seeds)
        self.noise = np.random.default_rng(root.spawn(1)[0])

    def state_dict(self) -> dict[str, Any]:
        """Return the states of all generators."""
        return {
            "rngs": [rng.bit_generator.state for rng in self.envs],
            "noise_rng": self.noise.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` returned."""
        for rng, saved in zip(self.envs, state["rngs"], strict=True):
            rng.bit_generator.state = saved
        self.noise.bit_generator.state = state["noise_rng"]

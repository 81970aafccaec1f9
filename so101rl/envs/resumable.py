"""What an environment's next steps and episodes depend on, and how it is put back."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from so101rl.envs.noise import Noise
from so101rl.hardware.base import Hardware


class Resumable:
    """The half of `TaskEnv` that a resumed training needs."""

    hardware: Hardware
    obs: dict[str, np.ndarray]
    target_qpos: np.ndarray
    elapsed: np.ndarray
    true_pose: np.ndarray  # of the objects (n, 7), as last read
    _measured: np.ndarray  # joint angles (n, 6) [rad], as last read
    _ended: np.ndarray
    _starts: np.ndarray
    _noise: Noise
    _noise_rng: np.random.Generator
    _rngs: list[np.random.Generator]

    def memory(self) -> dict[str, np.ndarray]:
        """The arrays (n, ...) that the task remembers from step to step, live."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """All that the next steps and episodes depend on."""
        return {
            "hardware": self.hardware.state_dict(),
            "arrays": {name: value.copy() for name, value in self._arrays().items()},
            "obs": {name: value.copy() for name, value in self.obs.items()},
            "rngs": [rng.bit_generator.state for rng in self._rngs],
            "noise_rng": self._noise_rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` of an equal environment returned."""
        self.hardware.load_state_dict(state["hardware"])
        for name, value in self._arrays().items():
            value[:] = state["arrays"][name]
        self.obs = {name: value.copy() for name, value in state["obs"].items()}
        for rng, saved in zip(self._rngs, state["rngs"], strict=True):
            rng.bit_generator.state = saved
        self._noise_rng.bit_generator.state = state["noise_rng"]
        self._measured = self.hardware.arm.read()[0]
        self.true_pose = self.hardware.object.read()

    def _arrays(self) -> dict[str, np.ndarray]:
        """Everything (n, ...) that is remembered from step to step, live."""
        own = {
            "target_qpos": self.target_qpos,
            "elapsed": self.elapsed,
            "ended": self._ended,
            "starts": self._starts,
            "noise": self._noise.std,
        }
        return own | {f"task/{name}": value for name, value in self.memory().items()}

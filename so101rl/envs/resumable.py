"""Saving and restoring the state of a task environment."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from so101rl.envs.noise import Noise
from so101rl.hardware.base import Hardware


class Resumable:
    """The part of `TaskEnv` that saves and restores its state."""

    hardware: Hardware
    obs: dict[str, np.ndarray]
    target_qpos: np.ndarray
    elapsed: np.ndarray
    true_pose: np.ndarray  # last read poses of the objects (n, 7)
    _measured: np.ndarray  # last read joint angles (n, 6) [rad]
    _ended: np.ndarray
    _starts: np.ndarray
    _noise: Noise
    _noise_rng: np.random.Generator
    _rngs: list[np.random.Generator]

    def memory(self) -> dict[str, np.ndarray]:
        """Return the task's own state: arrays (n, ...) by name, not copied."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next steps and episodes depend on."""
        return {
            "hardware": self.hardware.state_dict(),
            "arrays": {name: value.copy() for name, value in self._arrays().items()},
            "obs": {name: value.copy() for name, value in self.obs.items()},
            "rngs": [rng.bit_generator.state for rng in self._rngs],
            "noise_rng": self._noise_rng.bit_generator.state,
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` of an environment with the same config returned."""
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
        """Return the state of environment and task: arrays (n, ...), not copied."""
        own = {
            "target_qpos": self.target_qpos,
            "elapsed": self.elapsed,
            "ended": self._ended,
            "starts": self._starts,
            "noise": self._noise.std,
        }
        return own | {f"task/{name}": value for name, value in self.memory().items()}

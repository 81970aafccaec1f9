"""Saving and restoring the state of a task environment."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from so101rl.control.base import Control
from so101rl.envs.generators import Generators
from so101rl.envs.observations import CAMERA, Obs
from so101rl.envs.sensors import Sensors
from so101rl.hardware.base import Hardware


class Resumable:
    """The part of `TaskEnv` that saves and restores its state."""

    hardware: Hardware
    control: Control
    sensors: Sensors
    obs: Obs
    target_qpos: np.ndarray
    elapsed: np.ndarray
    ended: np.ndarray
    _starts: np.ndarray
    generators: Generators

    def connect(self) -> None:
        """Connect to the hardware, once."""
        raise NotImplementedError

    def memory(self) -> dict[str, np.ndarray]:
        """Return the task's own state: arrays (n, ...) by name, not copied."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Return everything that the next steps and episodes depend on.

        Pictures and what follows from measured arrays are left out: a resumed run draws
        and computes them again.
        """
        measured = self.obs.measured
        return {
            "hardware": self.hardware.state_dict(),
            "control": self.control.state_dict(),
            "arrays": {name: value.copy() for name, value in self._arrays().items()},
            "obs": {
                n: v.copy() for n, v in measured.items() if not n.startswith(CAMERA)
            },
            "generators": self.generators.state_dict(),
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Restore what `state_dict` of an environment with the same config returned."""
        self.connect()
        self.hardware.load_state_dict(state["hardware"])
        self.control.load_state_dict(state["control"])
        for name, value in self._arrays().items():
            value[:] = state["arrays"][name]
        saved = {name: value.copy() for name, value in state["obs"].items()}
        self.obs = self.sensors.restored(saved)
        self.generators.load_state_dict(state["generators"])

    def _arrays(self) -> dict[str, np.ndarray]:
        """Return the state of environment and task: arrays (n, ...), not copied."""
        own = {
            "target_qpos": self.target_qpos,
            "elapsed": self.elapsed,
            "ended": self.ended,
            "starts": self._starts,
            "noise": self.sensors.noise.std,
        }
        return own | {f"task/{name}": value for name, value in self.memory().items()}

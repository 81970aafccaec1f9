"""Stops a training with NaN or infinity and dumps the steps before it."""

from collections import deque
from collections.abc import Iterable
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.callbacks import BaseCallback
from torch import Tensor
from torch.nn.utils import get_total_norm

from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.errors import DivergedError
from so101rl.rendering.renderer import Drawable
from so101rl.runs.run_dir import RunDir

DUMP_STEPS = 100  # the last vector steps, which a dump holds
MAY_BE_NAN = ("train/explained_variance",)  # undefined while all returns are equal


class NanGuard(BaseCallback):
    """Checks the learner before every rollout; environments check themselves.

    Args:
        run: where a dump is written.
        vec_env: the training's environments.
        model: the learner, which may diverge before the first callback.
    """

    def __init__(self, run: RunDir, vec_env: SB3VecEnv, model: BaseAlgorithm):
        super().__init__()
        self.model = model
        self._run, self._env = run, vec_env.env
        self._last: deque[dict[str, np.ndarray]] = deque(maxlen=DUMP_STEPS)

    def _on_step(self) -> bool:
        step = {
            "base_action": self._env.base_action.copy(),
            "residual": np.array(self.locals["actions"]),
            "reward": np.array(self.locals["rewards"]),
        }
        hardware = self._env.env.hardware
        if isinstance(hardware, Drawable):
            step["qpos"] = hardware.qpos.copy()
        self._last.append(step)
        return True

    def _on_rollout_start(self) -> None:
        self.check()

    def _on_training_end(self) -> None:
        self.check()

    def check(self) -> None:
        """Check losses, gradients and weights of the last update.

        Raises:
            DivergedError: one of them is not finite.
        """
        for name, value in self.model.logger.name_to_value.items():
            if name not in MAY_BE_NAN and not np.isfinite(value):
                raise DivergedError(name, str(value))
        weights = dict(self.model.policy.named_parameters())
        gradients = {n: w.grad for n, w in weights.items() if w.grad is not None}
        _check("the gradient", gradients)
        _check("the weights", {n: w.detach() for n, w in weights.items()})

    def find_divergence(self, error: BaseException) -> DivergedError | None:
        """Return what diverged, if that is why a training ended in `error`.

        NaN weights within an update raise torch's own errors, so the check is repeated.
        """
        if isinstance(error, DivergedError):
            return error
        try:
            self.check()
        except DivergedError as found:
            return found
        return None

    def dump(self, error: DivergedError) -> DivergedError:
        """Write the last steps to a file; return the error with the file's path."""
        step = self.model.num_timesteps
        arrays: dict[str, Any] = {}
        for name in self._last[-1] if self._last else ():
            arrays[name] = np.array([kept[name] for kept in self._last])
        hardware = self._env.env.hardware
        if isinstance(hardware, Drawable):
            arrays["model"] = np.frombuffer(hardware.drawn_xml().encode(), np.uint8)
        arrays["env"] = np.array(error.env or 0)
        arrays["hz"] = np.array(self._env.env.control_hz)
        path = self._run.file(f"dumps/step-{step}.npz")
        np.savez(path, allow_pickle=False, **arrays)
        return DivergedError(
            error.point,
            f"{error.detail}, after {step} env steps.\n"
            f"The steps before: python main.py job=view replay={path}",
            env=error.env,
        )


def _check(what: str, tensors: dict[str, Tensor]) -> None:
    """Raise a DivergedError that names the first tensor that is not finite."""
    if not tensors or _finite(tensors.values()):
        return
    bad = [name for name, tensor in tensors.items() if not _finite([tensor])]
    raise DivergedError(f"{what} of {bad[0] if bad else 'all'}", "NaN or infinity")


def _finite(tensors: Iterable[Tensor]) -> bool:
    return bool(torch.isfinite(get_total_norm(tensors)))

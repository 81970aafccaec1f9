"""Base action and residual in one torch module, and as a TorchScript file."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from so101rl.policies.policy import ModelPolicy

EXAMPLES = 3  # rows of the traced example; the file accepts any number


class Composed(torch.nn.Module):
    """The exported module: from observation and base action to action, for any n.

    Args:
        policy: a policy network of Stable-Baselines3 or sb3-contrib, not recurrent.
        alpha: authority of the residual (a,).
    """

    outputs: tuple[str, ...] = ("action",)
    alpha: Tensor

    def __init__(self, policy: Any, alpha: np.ndarray):
        super().__init__()
        self.policy = policy
        self.register_buffer("alpha", torch.as_tensor(alpha, dtype=torch.float32))

    def inputs(self, n: int) -> dict[str, Tensor]:
        """Return zeros for every input by name, in the order of `forward`."""
        size = self.policy.observation_space.shape[0]
        return {
            "obs": torch.zeros(n, size),
            "base_action": torch.zeros(n, len(self.alpha)),
        }

    def forward(self, obs: Tensor, base_action: Tensor) -> Tensor:
        """Return actions (n, a) for observations (n, d) and base actions (n, a)."""
        return self.blend(base_action, self.policy._predict(obs, deterministic=True))

    def blend(self, base_action: Tensor, residual: Tensor) -> Tensor:
        """Add base action and residual; clip both sum and residual to [-1, 1]."""
        total = base_action + self.alpha * residual.clamp(-1.0, 1.0)
        return total.clamp(-1.0, 1.0)


class ComposedRecurrent(Composed):
    """The same for a recurrent policy, whose states the caller keeps."""

    outputs = ("action", "hidden", "cell")

    def inputs(self, n: int) -> dict[str, Tensor]:
        """Return zeros as above, states, and `starts`: 1 where an episode begins."""
        layers, _, width = self.policy.lstm_hidden_state_shape
        states = {name: torch.zeros(layers, n, width) for name in self.outputs[1:]}
        return {**super().inputs(n), **states, "starts": torch.ones(n)}

    def forward(  # type: ignore[override]
        self,
        obs: Tensor,
        base_action: Tensor,
        hidden: Tensor,
        cell: Tensor,
        starts: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Return actions (n, a) and the states for the next call."""
        residual, (hidden, cell) = self.policy._predict(
            obs, (hidden, cell), starts, deterministic=True
        )
        return self.blend(base_action, residual), hidden, cell


def compose(policy: ModelPolicy, alpha: np.ndarray) -> Composed:
    """Join a policy and its authority alpha (a,) in a module that can be exported."""
    network = policy.model.policy.to("cpu")
    network.set_training_mode(False)
    network.requires_grad_(False)  # so that outputs convert to arrays
    recurrent = hasattr(network, "lstm_hidden_state_shape")
    return (ComposedRecurrent if recurrent else Composed)(network, alpha)


def script(composed: Composed) -> bytes:
    """Return the module as the bytes of a TorchScript file."""
    buffer = io.BytesIO()
    with torch.no_grad(), _quiet():
        examples = tuple(composed.inputs(EXAMPLES).values())
        traced = torch.jit.trace(composed, examples, check_trace=False)
        torch.jit.save(traced, buffer)
    return buffer.getvalue()


def load(content: bytes) -> torch.jit.ScriptModule:
    """Load what `script` returned, as any other program would."""
    with _quiet():
        return torch.jit.load(io.BytesIO(content), map_location="cpu")


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence two warnings of torch.

    It recommends torch.export, whose files only Python can read; and `export.compare`
    finds whatever tracing misses.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated")
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        yield

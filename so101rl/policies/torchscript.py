"""Base and residual as one torch module, and as the bytes of a TorchScript file."""

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor

from so101rl.policies.policy import ModelPolicy
from so101rl.robots import so101

EXAMPLES = 3  # rows that are traced; any number may be asked about later


class Composed(torch.nn.Module):
    """What is exported: observation and base action to action, for any n.

    Args:
        policy: of Stable-Baselines3 or sb3-contrib, without a memory.
        alpha: authority of the residual (6,).
    """

    outputs: tuple[str, ...] = ("action",)
    alpha: Tensor

    def __init__(self, policy: Any, alpha: np.ndarray):
        super().__init__()
        self.policy = policy
        self.register_buffer("alpha", torch.as_tensor(alpha, dtype=torch.float32))

    def inputs(self, n: int) -> dict[str, Tensor]:
        """Zeros in the place of every input, by name, in the order of `forward`."""
        size = self.policy.observation_space.shape[0]
        return {
            "obs": torch.zeros(n, size),
            "base_action": torch.zeros(n, so101.N_JOINTS),
        }

    def forward(self, obs: Tensor, base_action: Tensor) -> Tensor:
        """Actions (n, 6) for observations (n, d) and what the base proposes (n, 6)."""
        return self.blend(base_action, self.policy._predict(obs, deterministic=True))

    def blend(self, base_action: Tensor, residual: Tensor) -> Tensor:
        """Add up, within [-1, 1]; a Gaussian's mean may lie outside."""
        total = base_action + self.alpha * residual.clamp(-1.0, 1.0)
        return total.clamp(-1.0, 1.0)


class ComposedRecurrent(Composed):
    """The same with a memory, which the caller hands back with the next observation."""

    outputs = ("action", "hidden", "cell")

    def inputs(self, n: int) -> dict[str, Tensor]:
        """As those of `Composed`; `starts` is 1 where an episode begins, else 0."""
        layers, _, width = self.policy.lstm_hidden_state_shape
        memory = {name: torch.zeros(layers, n, width) for name in self.outputs[1:]}
        return {**super().inputs(n), **memory, "starts": torch.ones(n)}

    def forward(  # type: ignore[override]
        self,
        obs: Tensor,
        base_action: Tensor,
        hidden: Tensor,
        cell: Tensor,
        starts: Tensor,
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Actions (n, 6), and the memory for the next call."""
        residual, (hidden, cell) = self.policy._predict(
            obs, (hidden, cell), starts, deterministic=True
        )
        return self.blend(base_action, residual), hidden, cell


def compose(policy: ModelPolicy, alpha: np.ndarray) -> Composed:
    """A policy and its authority (6,), ready to be exported."""
    network = policy.model.policy.to("cpu")
    network.set_training_mode(False)
    network.requires_grad_(False)  # or what comes out could not be made an array
    recurrent = hasattr(network, "lstm_hidden_state_shape")
    return (ComposedRecurrent if recurrent else Composed)(network, alpha)


def script(composed: Composed) -> bytes:
    """The bytes of a TorchScript file."""
    buffer = io.BytesIO()
    with torch.no_grad(), _quiet():
        examples = tuple(composed.inputs(EXAMPLES).values())
        traced = torch.jit.trace(composed, examples, check_trace=False)
        torch.jit.save(traced, buffer)
    return buffer.getvalue()


def load(content: bytes) -> torch.jit.ScriptModule:
    """What `script` wrote, as any program would load it."""
    with _quiet():
        return torch.jit.load(io.BytesIO(content), map_location="cpu")


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep torch from warning of what is known.

    It would rather have torch.export, whose files only Python reads; and what a trace
    might not follow is found out by `compare`.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"`torch\.jit\.\w+` is deprecated")
        warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)
        yield

"""Small ReLU networks as few large products, with their gradients written down.

With two layers of 256 units and batches of 256, over a third of an update of
Stable-Baselines3 goes into what is no product, or into gradients that nobody uses. Here
all critics go through one batched product per layer, and only gradients that somebody
uses are computed. They are those of any multilayer perceptron (Rumelhart, Hinton and
Williams 1986); tests hold them against autograd.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import Tensor, nn

AT_ONCE = 64  # minibatches that one call draws from the replay buffer


class Layers:
    """Networks of one shape whose layers are multiplied together.

    The parameters of the torch modules become views into stacked tensors, so whoever
    reads, saves or optimizes the modules sees what is learned here, and the reverse.

    Args:
        layers: from input to output, the modules of each per network; several modules
            of one network stand side by side, their outputs joined.
    """

    def __init__(self, layers: Sequence[Sequence[Sequence[nn.Linear]]]):
        self._layers = layers
        self._weights: list[Tensor] = []  # (nets, out, in)
        self._biases: list[Tensor] = []  # (nets, 1, out)
        self._gradients: list[tuple[Tensor, Tensor]] = []  # of both, when they learn
        self._inputs: list[Tensor] = []  # (nets, batch, in) of the last call, per layer
        for layer in layers:
            weight = torch.stack([torch.cat([m.weight.data for m in n]) for n in layer])
            bias = torch.stack([torch.cat([m.bias.data for m in n]) for n in layer])
            self._weights.append(weight)
            self._biases.append(bias.unsqueeze(1))
            for module, w, b in _parts(layer, weight, bias):
                module.weight.data, module.bias.data = w, b

    @property
    def parameters(self) -> list[Tensor]:
        """Every stacked tensor."""
        return self._weights + self._biases

    def learn(self) -> "Layers":
        """Give the modules' parameters the gradients that `backward` writes."""
        for layer, weight, bias in zip(
            self._layers, self._weights, self._biases, strict=True
        ):
            by_weight, by_bias = torch.zeros_like(weight), torch.zeros_like(bias)
            self._gradients.append((by_weight, by_bias))
            for module, w, b in _parts(layer, by_weight, by_bias.squeeze(1)):
                module.weight.grad, module.bias.grad = w, b
        return self

    def __call__(self, x: Tensor, nets: int | None = None) -> Tensor:
        """Outputs (nets, batch, out) of the first `nets` networks; `x` (batch, in)."""
        x = x.expand(len(self._weights[0][:nets]), -1, -1)
        self._inputs = [x]
        for weight, bias in zip(self._weights[:-1], self._biases[:-1], strict=True):
            x = torch.baddbmm(bias[:nets], x, weight[:nets].mT).relu_()
            self._inputs.append(x)
        return torch.baddbmm(self._biases[-1][:nets], x, self._weights[-1][:nets].mT)

    def backward(self, gradient: Tensor) -> None:
        """Write the gradients of all parameters.

        Args:
            gradient: of the loss by the outputs of the last call (nets, batch, out). A
                shorter batch says that the loss depends on the first samples only.
        """
        for i in reversed(range(len(self._weights))):
            x = self._inputs[i][:, : gradient.shape[1]]
            by_weight, by_bias = self._gradients[i]
            torch.bmm(gradient.mT, x, out=by_weight)
            torch.sum(gradient, 1, keepdim=True, out=by_bias)
            if i > 0:
                gradient = _before_relu(_through(gradient, self._weights[i]), x)

    def input_gradient(self, gradient: Tensor, begin: int) -> Tensor:
        """Gradient by the inputs from number `begin` on, summed over networks.

        Args:
            gradient: of the loss by the outputs of the last call (nets, batch, out).
            begin: inputs before it are not asked for.

        Returns:
            (batch, in - begin).
        """
        nets = len(gradient)
        for i in reversed(range(1, len(self._weights))):
            gradient = _through(gradient, self._weights[i][:nets])
            gradient = _before_relu(gradient, self._inputs[i])
        # Products with a few columns are four times faster with the columns first.
        columns = self._weights[0][:nets, :, begin:].mT.contiguous()
        return torch.bmm(columns, gradient.mT).sum(0).mT


def critic_layers(critic: Any) -> Layers:
    """The Q networks of a critic of Stable-Baselines3, multiplied together."""
    nets = [linears(net) for net in critic.q_networks]
    return Layers([[[module] for module in layer] for layer in zip(*nets, strict=True)])


def linears(net: nn.Module) -> list[nn.Linear]:
    """The linear modules of a network, from input to output."""
    return [module for module in net.modules() if isinstance(module, nn.Linear)]


def suits(model: Any, actor: nn.Sequential, end: list[type[nn.Module]]) -> bool:
    """Whether a model's networks are what `Layers` can do: ReLU between linear layers.

    Args:
        model: SAC or TD3.
        actor: the actor's network.
        end: what should follow its last linear layer.
    """
    space, extractor = model.observation_space, model.actor.features_extractor
    return (
        isinstance(space, spaces.Box)
        and space.dtype == "float32"
        and len(space.shape) == 1
        and type(extractor) is FlattenExtractor
        and _is_relu_net(actor, end)
        and all(_is_relu_net(net, []) for net in model.critic.q_networks)
    )


def minibatches(
    model: Any, gradient_steps: int, batch_size: int
) -> Iterator[tuple[Tensor, Tensor, Tensor, Tensor, Tensor]]:
    """Minibatches for `gradient_steps` updates, many of them drawn by one call.

    Yields:
        observations (batch, o), actions (batch, a), next observations (batch, o),
        rewards (batch, 1), discounts of what follows (batch, 1), zero at an end.
    """
    buffer: ReplayBuffer = model.replay_buffer
    for begin in range(0, gradient_steps, AT_ONCE):
        n = min(AT_ONCE, gradient_steps - begin)
        data = buffer.sample(n * batch_size, env=model._vec_normalize_env)
        discount = model.gamma if data.discounts is None else data.discounts
        yield from zip(
            data.observations.split(batch_size),
            data.actions.split(batch_size),
            data.next_observations.split(batch_size),
            data.rewards.split(batch_size),
            ((1 - data.dones) * discount).split(batch_size),
            strict=True,
        )


def _parts(
    layer: Sequence[Sequence[nn.Linear]], weight: Tensor, bias: Tensor
) -> Iterator[tuple[nn.Linear, Tensor, Tensor]]:
    """Each module with its part of `weight` (nets, out, in) and `bias` (nets, out)."""
    for net, modules in enumerate(layer):
        sizes = [module.out_features for module in modules]
        yield from zip(
            modules, weight[net].split(sizes), bias[net].split(sizes), strict=True
        )


def _through(gradient: Tensor, weight: Tensor) -> Tensor:
    """Gradient (nets, batch, in) by a layer's inputs, from the one by its outputs."""
    if weight.shape[1] == 1:
        return gradient * weight  # a product in name only
    return torch.bmm(gradient, weight)


def _before_relu(gradient: Tensor, output: Tensor) -> Tensor:
    """Gradient by what went into a ReLU, from the one by its `output`, in place."""
    write = torch.ops.aten.threshold_backward.grad_input
    return write(gradient, output, 0, grad_input=gradient)


def _is_relu_net(net: nn.Sequential, end: list[type[nn.Module]]) -> bool:
    kinds = [type(module) for module in net]
    pairs = [nn.Linear, nn.ReLU] * kinds.count(nn.Linear)
    return len(pairs) > 0 and kinds == pairs[:-1] + end

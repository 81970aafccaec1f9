"""Small ReLU networks in few large matrix products, with gradients by hand.

With two layers of 256 units and batches of 256, over a third of an update of
Stable-Baselines3 is overhead around the matrix products, or gradients that are not
used. Here all critics share one batched product per layer, and only the gradients that
are used are computed. They are those of any multilayer perceptron (Rumelhart, Hinton
and Williams 1986); tests compare them with autograd.
"""

from collections.abc import Iterator, Sequence
from typing import Any

import torch
from gymnasium import spaces
from stable_baselines3.common.buffers import ReplayBuffer
from stable_baselines3.common.torch_layers import FlattenExtractor
from torch import Tensor, nn

BATCHES_PER_DRAW = 64  # minibatches drawn from the replay buffer by one call


class Layers:
    """Networks of one shape, evaluated together with one product per layer.

    The parameters of the torch modules become views into stacked tensors, so the
    modules and this class always share their values.

    Args:
        layers: from input to output; per layer, the modules of each network. Several
            modules of one network in one layer have their outputs concatenated.
    """

    def __init__(self, layers: Sequence[Sequence[Sequence[nn.Linear]]]):
        self._layers = layers
        self._weights: list[Tensor] = []  # (nets, out, in)
        self._biases: list[Tensor] = []  # (nets, 1, out)
        self._gradients: list[tuple[Tensor, Tensor]] = []  # of both, after `learn`
        self._inputs: list[Tensor] = []  # of the last call, per layer (nets, batch, in)
        for layer in layers:
            weight = torch.stack([torch.cat([m.weight.data for m in n]) for n in layer])
            bias = torch.stack([torch.cat([m.bias.data for m in n]) for n in layer])
            self._weights.append(weight)
            self._biases.append(bias.unsqueeze(1))
            for module, w, b in _parts(layer, weight, bias):
                module.weight.data, module.bias.data = w, b

    @property
    def parameters(self) -> list[Tensor]:
        """All stacked tensors."""
        return self._weights + self._biases

    def learn(self) -> "Layers":
        """Let `backward` write the modules' `grad`; return self."""
        for layer, weight, bias in zip(
            self._layers, self._weights, self._biases, strict=True
        ):
            by_weight, by_bias = torch.zeros_like(weight), torch.zeros_like(bias)
            self._gradients.append((by_weight, by_bias))
            for module, w, b in _parts(layer, by_weight, by_bias.squeeze(1)):
                module.weight.grad, module.bias.grad = w, b
        return self

    def __call__(self, x: Tensor, nets: int | None = None) -> Tensor:
        """Return outputs (nets, batch, out) of the first `nets` networks."""
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
                shorter batch means that the loss depends on the first samples only.
        """
        for i in reversed(range(len(self._weights))):
            x = self._inputs[i][:, : gradient.shape[1]]
            by_weight, by_bias = self._gradients[i]
            torch.bmm(gradient.mT, x, out=by_weight)
            torch.sum(gradient, 1, keepdim=True, out=by_bias)
            if i > 0:
                gradient = _backward_relu(
                    _backward_linear(gradient, self._weights[i]), x
                )

    def input_gradient(self, gradient: Tensor, begin: int) -> Tensor:
        """Return the gradient by the inputs from `begin` on, summed over networks.

        Args:
            gradient: of the loss by the outputs of the last call (nets, batch, out).
            begin: index of the first input that is needed.

        Returns:
            (batch, in - begin).
        """
        nets = len(gradient)
        for i in reversed(range(1, len(self._weights))):
            gradient = _backward_linear(gradient, self._weights[i][:nets])
            gradient = _backward_relu(gradient, self._inputs[i])
        # Products with a few columns are four times faster with the columns first.
        columns = self._weights[0][:nets, :, begin:].mT.contiguous()
        return torch.bmm(columns, gradient.mT).sum(0).mT


def critic_layers(critic: Any) -> Layers:
    """Stack the Q networks of a Stable-Baselines3 critic."""
    nets = [linears(net) for net in critic.q_networks]
    return Layers([[[module] for module in layer] for layer in zip(*nets, strict=True)])


def linears(net: nn.Module) -> list[nn.Linear]:
    """Return the linear modules of a network, from input to output."""
    return [module for module in net.modules() if isinstance(module, nn.Linear)]


def is_supported(model: Any, actor: nn.Sequential, end: list[type[nn.Module]]) -> bool:
    """Return whether `Layers` can evaluate a model: linear layers with ReLU between.

    Args:
        model: SAC or TD3.
        actor: the actor's network.
        end: types of the modules after its last linear layer.
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
    """Yield minibatches for `gradient_steps` updates, many drawn by one call.

    Yields:
        observations (batch, o), actions (batch, a), next observations (batch, o),
        rewards (batch, 1), discounts of the next value (batch, 1), zero at a terminal.
    """
    buffer: ReplayBuffer = model.replay_buffer
    for begin in range(0, gradient_steps, BATCHES_PER_DRAW):
        n = min(BATCHES_PER_DRAW, gradient_steps - begin)
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
    """Yield each module with its part of the stacked weight and bias."""
    for net, modules in enumerate(layer):
        sizes = [module.out_features for module in modules]
        yield from zip(
            modules, weight[net].split(sizes), bias[net].split(sizes), strict=True
        )


def _backward_linear(gradient: Tensor, weight: Tensor) -> Tensor:
    """Return the gradient by a layer's inputs (nets, batch, in) from its outputs'."""
    if weight.shape[1] == 1:
        return gradient * weight  # faster than a product with one row
    return torch.bmm(gradient, weight)


def _backward_relu(gradient: Tensor, output: Tensor) -> Tensor:
    """Return the gradient by a ReLU's input from its output's, in place."""
    write = torch.ops.aten.threshold_backward.grad_input
    return write(gradient, output, 0, grad_input=gradient)


def _is_relu_net(net: nn.Sequential, end: list[type[nn.Module]]) -> bool:
    kinds = [type(module) for module in net]
    pairs = [nn.Linear, nn.ReLU] * kinds.count(nn.Linear)
    return len(pairs) > 0 and kinds == pairs[:-1] + end

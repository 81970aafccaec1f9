"""Soft actor-critic with a faster update and the same mathematics."""

from typing import Any, NamedTuple

import numpy as np
import torch
from stable_baselines3 import SAC
from stable_baselines3.sac.policies import LOG_STD_MAX, LOG_STD_MIN
from torch import Tensor
from torch.optim import Adam

from so101rl.algos.layers import (
    Layers,
    critic_layers,
    is_supported,
    linears,
    minibatches,
)

LOG_SQRT_2_PI = 0.5 * float(np.log(2 * np.pi))
EPSILON = 1e-6  # in the logarithm of tanh's derivative, as Stable-Baselines3 has it


class FastSAC(SAC):
    """Stable-Baselines3's SAC with an update of our own.

    Everything else is inherited, files included: a zip of this class loads as
    `stable_baselines3.SAC`, and the reverse. Networks other than ReLU perceptrons over
    a vector of observations, and state-dependent exploration, use the stock update.
    """

    def _setup_model(self) -> None:
        super()._setup_model()
        if self.log_ent_coef is not None:  # fused: one kernel instead of a dozen calls
            rate = self.lr_schedule(1)
            self.ent_coef_optimizer = Adam([self.log_ent_coef], lr=rate, fused=True)

    def train(self, gradient_steps: int, batch_size: int = 64) -> None:
        """Update `gradient_steps` times on `batch_size` transitions each."""
        if self.use_sde or not is_supported(
            self, self.actor.latent_pi, [torch.nn.ReLU]
        ):
            return super().train(gradient_steps, batch_size)
        self.policy.set_training_mode(True)
        optimizers = [self.actor.optimizer, self.critic.optimizer]
        if self.ent_coef_optimizer is not None:
            optimizers.append(self.ent_coef_optimizer)
        self._update_learning_rate(optimizers)
        # `_Update` and `Layers` compute the gradients without autograd.
        with torch.no_grad():
            update = _Update(self)
            for step, batch in enumerate(minibatches(self, gradient_steps, batch_size)):
                update(*batch)
                if step % self.target_update_interval == 0:
                    update.update_targets()
        self._n_updates += gradient_steps
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        for name, values in update.log.items():
            self.logger.record(f"train/{name}", torch.stack(values).mean().item())


class _Actions(NamedTuple):
    """Actions drawn from the policy, and what their gradients need, (batch, a)."""

    action: Tensor
    log_prob: Tensor  # (batch,)
    noise: Tensor
    std: Tensor
    unclamped: Tensor  # whether log_std was within its limits
    slope: Tensor  # of tanh


class _Update:
    """One update of the entropy coefficient alpha, of the critics and of the actor.

    Haarnoja et al. 2018, Soft Actor-Critic Algorithms and Applications
    (arXiv:1812.05905), algorithm 1; equation numbers are those of the paper.
    """

    def __init__(self, model: FastSAC):
        self._model = model
        actor: Any = model.actor
        hidden = [[[module]] for module in linears(actor.latent_pi)]
        self._actor = Layers([*hidden, [[actor.mu, actor.log_std]]]).learn()
        self._critics = critic_layers(model.critic).learn()
        self._targets = critic_layers(model.critic_target)
        self.log: dict[str, list[Tensor]] = {}

    def __call__(
        self,
        observation: Tensor,
        action: Tensor,
        next_observation: Tensor,
        reward: Tensor,
        discount: Tensor,
    ) -> None:
        """Update on one minibatch; shapes as in `minibatches`."""
        now, then = self._sample(observation, next_observation)
        alpha = self._update_alpha(now.log_prob)
        # Soft value of the next state, eq. 3, with the smaller of the target critics.
        value = self._targets(torch.cat([next_observation, then.action], 1)).amin(0)
        value -= alpha * then.log_prob.unsqueeze(1)
        self._update_critics(observation, action, reward + discount * value)
        self._update_actor(observation, now, alpha)

    def update_targets(self) -> None:
        """Move the target critics towards the critics by the share tau."""
        targets, critics = self._targets.parameters, self._critics.parameters
        torch._foreach_lerp_(targets, critics, self._model.tau)

    def _sample(self, *observations: Tensor) -> list[_Actions]:
        """Draw actions for each batch of observations; eq. 8 and appendix C."""
        outputs = self._actor(torch.cat(observations))[0]
        mean, raw = outputs.chunk(2, 1)
        log_std = raw.clamp(LOG_STD_MIN, LOG_STD_MAX)
        std = log_std.exp()
        size = len(observations[0])
        noise = torch.cat([torch.randn_like(part) for part in mean.split(size)])
        action = torch.addcmul(mean, std, noise).tanh_()
        slope = 1 - action * action
        log_probs = log_std + 0.5 * noise * noise + LOG_SQRT_2_PI
        log_prob = -log_probs.add_((slope + EPSILON).log_()).sum(1)
        everything = (action, log_prob, noise, std, log_std == raw, slope)
        parts = zip(*(tensor.split(size) for tensor in everything), strict=True)
        return [_Actions(*part) for part in parts]

    def _update_alpha(self, log_prob: Tensor) -> Tensor:
        """Update alpha towards the target entropy, eq. 18; return its value before."""
        model, optimizer = self._model, self._model.ent_coef_optimizer
        if optimizer is None or model.log_ent_coef is None:
            self._record("ent_coef", model.ent_coef_tensor)
            return model.ent_coef_tensor
        alpha = model.log_ent_coef.exp()
        # The loss -log(alpha) * mean(...) is linear in log(alpha).
        gradient = -(log_prob + float(model.target_entropy)).mean().view(1)
        self._record("ent_coef", alpha)
        self._record("ent_coef_loss", model.log_ent_coef * gradient)
        model.log_ent_coef.grad = gradient
        optimizer.step()
        return alpha

    def _update_critics(
        self, observation: Tensor, action: Tensor, target: Tensor
    ) -> None:
        """Minimize half the mean squared Bellman error of every critic, eq. 5 and 6."""
        error = self._critics(torch.cat([observation, action], 1)) - target
        self._record("critic_loss", 0.5 * error.square().sum() / len(target))
        self._critics.backward(error / len(target))
        self._model.critic.optimizer.step()

    def _update_actor(
        self, observation: Tensor, drawn: _Actions, alpha: Tensor
    ) -> None:
        """Minimize mean(alpha log pi(a|s) - min Q(s, a)), eq. 9; gradient of eq. 10."""
        values = self._critics(torch.cat([observation, drawn.action], 1))
        value, least = values.min(0, keepdim=True)
        self._record("actor_loss", (alpha * drawn.log_prob - value.flatten()).mean())
        weight = alpha / len(observation)
        # By the action: through the smaller Q, and through log(1 - action^2 + epsilon).
        by_value = torch.zeros_like(values).scatter_(0, least, -1 / len(observation))
        gradient = self._critics.input_gradient(by_value, observation.shape[1])
        gradient = gradient + 2 * weight * drawn.action / (drawn.slope + EPSILON)
        # By mean and log(std), with action = tanh(mean + std * noise).
        by_mean = gradient * drawn.slope
        by_log_std = (by_mean * drawn.std * drawn.noise - weight) * drawn.unclamped
        self._actor.backward(torch.cat([by_mean, by_log_std], 1).unsqueeze(0))
        self._model.actor.optimizer.step()

    def _record(self, name: str, value: Tensor) -> None:
        self.log.setdefault(name, []).append(value)

"""Twin delayed DDPG with a faster update and the same mathematics."""

import torch
from stable_baselines3 import TD3
from torch import Tensor

from so101rl.algos.layers import (
    Layers,
    critic_layers,
    is_supported,
    linears,
    minibatches,
)


class FastTD3(TD3):
    """Stable-Baselines3's TD3 with an update of our own.

    Everything else is inherited, files included: a zip of this class loads as
    `stable_baselines3.TD3`, and vice versa. Networks other than ReLU perceptrons over
    a vector of observations use the stock update.
    """

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Update `gradient_steps` times on `batch_size` transitions each."""
        if not is_supported(self, self.actor.mu, [torch.nn.Tanh]):
            return super().train(gradient_steps, batch_size)
        self.policy.set_training_mode(True)
        self._update_learning_rate([self.actor.optimizer, self.critic.optimizer])
        # `_Update` and `Layers` compute the gradients without autograd.
        with torch.no_grad():
            update = _Update(self)
            for batch in minibatches(self, gradient_steps, batch_size):
                self._n_updates += 1
                update.critics(*batch)
                if self._n_updates % self.policy_delay == 0:
                    update.actor(batch[0])
                    update.update_targets()
        self.logger.record("train/n_updates", self._n_updates, exclude="tensorboard")
        if update.actor_losses:
            loss = torch.stack(update.actor_losses).mean().item()
            self.logger.record("train/actor_loss", loss)
        loss = torch.stack(update.critic_losses).mean().item()
        self.logger.record("train/critic_loss", loss)


class _Update:
    """Updates of the critics and, less often, of actor and targets.

    Fujimoto et al. 2018, Addressing Function Approximation Error in Actor-Critic
    Methods (arXiv:1802.09477), algorithm 1.
    """

    def __init__(self, model: FastTD3):
        self._model = model
        self._actor = _actor_layers(model.actor.mu).learn()
        self._target_actor = _actor_layers(model.actor_target.mu)
        self._critics = critic_layers(model.critic).learn()
        self._targets = critic_layers(model.critic_target)
        self.actor_losses: list[Tensor] = []
        self.critic_losses: list[Tensor] = []

    def critics(
        self,
        observation: Tensor,
        action: Tensor,
        next_observation: Tensor,
        reward: Tensor,
        discount: Tensor,
    ) -> None:
        """Minimize the mean squared Bellman error; shapes as in `minibatches`."""
        limit = self._model.target_noise_clip
        noise = torch.randn_like(action) * self._model.target_policy_noise
        next_action = self._target_actor(next_observation)[0].tanh_()
        next_action = (next_action + noise.clamp_(-limit, limit)).clamp_(-1, 1)
        value = self._targets(torch.cat([next_observation, next_action], 1)).amin(0)
        error = self._critics(torch.cat([observation, action], 1))
        error -= reward + discount * value
        self.critic_losses.append(error.square().sum() / len(value))
        self._critics.backward(error * (2 / len(value)))
        self._model.critic.optimizer.step()

    def actor(self, observation: Tensor) -> None:
        """Minimize the mean of -Q1(s, pi(s)), with the first critic alone."""
        action = self._actor(observation)[0].tanh_()
        value = self._critics(torch.cat([observation, action], 1), nets=1)
        self.actor_losses.append(-value.mean())
        by_value = torch.full_like(value, -1 / len(observation))
        gradient = self._critics.input_gradient(by_value, observation.shape[1])
        gradient = gradient * (1 - action * action)  # through the actor's tanh
        self._actor.backward(gradient.unsqueeze(0))
        self._model.actor.optimizer.step()

    def update_targets(self) -> None:
        """Move the target networks towards the learned ones by the share tau."""
        targets = self._targets.parameters + self._target_actor.parameters
        learned = self._critics.parameters + self._actor.parameters
        torch._foreach_lerp_(targets, learned, self._model.tau)


def _actor_layers(actor: torch.nn.Module) -> Layers:
    return Layers([[[module]] for module in linears(actor)])

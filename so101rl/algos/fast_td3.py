"""Twin delayed DDPG with the faster updates of `FastSAC`, same mathematics."""

import torch
from stable_baselines3 import TD3
from torch import Tensor

from so101rl.algos.layers import Layers, critic_layers, linears, minibatches, suits


class FastTD3(TD3):
    """Stable-Baselines3's TD3 with an update of our own.

    Everything else is inherited, its files included: a zip of this class loads as
    `stable_baselines3.TD3`, and the reverse. Networks other than ReLU perceptrons over
    a vector of observations get the stock update.
    """

    def train(self, gradient_steps: int, batch_size: int = 100) -> None:
        """Update `gradient_steps` times on `batch_size` transitions each."""
        if not suits(self, self.actor.mu, [torch.nn.Tanh]):
            return super().train(gradient_steps, batch_size)
        self.policy.set_training_mode(True)
        self._update_learning_rate([self.actor.optimizer, self.critic.optimizer])
        # The gradients are written down in `_Update` and `Layers`.
        with torch.no_grad():
            update = _Update(self)
            for batch in minibatches(self, gradient_steps, batch_size):
                self._n_updates += 1
                update.values(*batch)
                if self._n_updates % self.policy_delay == 0:
                    update.actions(batch[0])
                    update.move_targets()
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

    def values(
        self,
        observation: Tensor,
        action: Tensor,
        next_observation: Tensor,
        reward: Tensor,
        discount: Tensor,
    ) -> None:
        """Mean squared Bellman error of every critic; shapes as of `minibatches`."""
        limit = self._model.target_noise_clip
        noise = torch.randn_like(action) * self._model.target_policy_noise
        then = self._target_actor(next_observation)[0].tanh_()
        then = (then + noise.clamp_(-limit, limit)).clamp_(-1, 1)
        value = self._targets(torch.cat([next_observation, then], 1)).amin(0)
        error = self._critics(torch.cat([observation, action], 1))
        error -= reward + discount * value
        self.critic_losses.append(error.square().sum() / len(value))
        self._critics.backward(error * (2 / len(value)))
        self._model.critic.optimizer.step()

    def actions(self, observation: Tensor) -> None:
        """Follow the first critic: the loss is -mean(Q1(s, actor(s)))."""
        action = self._actor(observation)[0].tanh_()
        value = self._critics(torch.cat([observation, action], 1), nets=1)
        self.actor_losses.append(-value.mean())
        by_value = torch.full_like(value, -1 / len(observation))
        gradient = self._critics.input_gradient(by_value, observation.shape[1])
        gradient = gradient * (1 - action * action)  # through the actor's tanh
        self._actor.backward(gradient.unsqueeze(0))
        self._model.actor.optimizer.step()

    def move_targets(self) -> None:
        """Let target actor and target critics follow by the share tau."""
        for target, followed in (
            (self._targets, self._critics),
            (self._target_actor, self._actor),
        ):
            tau = self._model.tau
            torch._foreach_lerp_(target.parameters, followed.parameters, tau)


def _actor_layers(actor: torch.nn.Module) -> Layers:
    return Layers([[[module]] for module in linears(actor)])

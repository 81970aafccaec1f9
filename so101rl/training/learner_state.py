"""The state of a learner that its next steps depend on, as tensors and plain values.

The state is captured and restored only at the start of a rollout. At that point all of
it is in attributes of the Stable-Baselines3 model; within a rollout some of it is in
local variables.
"""

import random
from collections import deque
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from stable_baselines3.common.base_class import BaseAlgorithm
from stable_baselines3.common.buffers import BaseBuffer
from stable_baselines3.common.noise import NormalActionNoise

from so101rl.envs.observations import take
from so101rl.policies.checkpoint import arrays

COUNTERS = (
    "num_timesteps",
    "_episode_num",
    "_n_updates",
    "_current_progress_remaining",
)
LAST = ("_last_obs", "_last_episode_starts", "_last_original_obs")
EPISODES = ("ep_info_buffer", "ep_success_buffer")
REPLAY = (
    "observations",
    "next_observations",
    "actions",
    "rewards",
    "dones",
    "timeouts",
)


def capture(model: BaseAlgorithm) -> dict[str, Any]:
    """Return the learner's state, random generators included, at a rollout's start."""
    learner: Any = model
    _, variables = learner._get_torch_save_params()
    return {
        "parameters": model.get_parameters(),
        "variables": {name: getattr(model, name).detach() for name in variables},
        "counters": {name: getattr(model, name) for name in COUNTERS},
        "last": {name: getattr(model, name, None) for name in LAST},
        "episodes": {name: list(getattr(model, name) or ()) for name in EPISODES},
        "train": dict(model.logger.name_to_value),
        "lstm_states": _lstm_states(model),
        "replay": _replay(getattr(model, "replay_buffer", None)),
        "generators": _generators(model),
    }


def restore(model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
    """Restore what `capture` returned into a learner of the same config."""
    learner: Any = model
    model.set_parameters(state["parameters"], device=model.device)
    with torch.no_grad():
        for name, value in state["variables"].items():
            getattr(model, name).copy_(value)
        saved = state["lstm_states"]
        for tensor, value in zip(_lstm_states(model), saved, strict=True):
            tensor.copy_(value)
    for name, value in {**state["counters"], **arrays(state["last"])}.items():
        setattr(model, name, value)
    for name, values in state["episodes"].items():
        setattr(model, name, deque(values, maxlen=learner._stats_window_size))
    model.logger.name_to_value.update(state["train"])
    if state["replay"] is not None:
        buffer = learner.replay_buffer
        for name in REPLAY:
            _fill(getattr(buffer, name), arrays(state["replay"][name]))
        buffer.pos, buffer.full = state["replay"]["pos"], state["replay"]["full"]
    _restore_generators(model, arrays(state["generators"]))


def inexact_reason(model: BaseAlgorithm) -> str | None:
    """Return why a resumed training may differ from an uninterrupted one, if it may."""
    noise = getattr(model, "action_noise", None)
    noise = getattr(noise, "base_noise", noise)  # one copy per environment
    if model.device.type != "cpu":
        return f"the learner runs on {model.device.type}"
    if getattr(model, "use_sde", False):
        return "state-dependent exploration draws before a rollout starts"
    if noise is not None and not isinstance(noise, NormalActionNoise):
        return f"{type(noise).__name__} has a state that is not saved"
    if getattr(model, "optimize_memory_usage", False):
        return "the replay buffer keeps its observations only once"
    return None


def _lstm_states(model: BaseAlgorithm) -> list[torch.Tensor]:
    """Return a recurrent policy's states of the running episodes; else nothing.

    Hidden and cell states of the actor, then of the critic, each (layers, n, hidden).
    """
    states = getattr(model, "_last_lstm_states", ())
    return [tensor for state in states for tensor in state]


def _replay(buffer: Any) -> dict[str, Any] | None:
    """Return the transitions in a replay buffer; None for learners without one."""
    if not isinstance(buffer, BaseBuffer) or not hasattr(buffer, "next_observations"):
        return None
    filled = buffer.buffer_size if buffer.full else buffer.pos
    kept = slice(filled)
    arrays = {name: take(getattr(buffer, name), kept) for name in REPLAY}
    return {**arrays, "pos": buffer.pos, "full": buffer.full}


def _fill(array: Any, saved: Any) -> None:
    """Write saved rows into the first ones of an array, or of a dict of arrays."""
    if isinstance(array, dict):
        for name, own in array.items():
            _fill(own, saved[name])
    else:
        array[: len(saved)] = saved


def _generators(model: BaseAlgorithm) -> dict[str, Any]:
    version, numbers, gauss = random.getstate()
    return {
        "python": [version, list(numbers), gauss],
        "numpy": np.random.get_state(legacy=False),
        "torch": torch.get_rng_state(),
        "action_space": model.action_space.np_random.bit_generator.state,
    }


def _restore_generators(model: BaseAlgorithm, state: Mapping[str, Any]) -> None:
    version, numbers, gauss = state["python"]
    random.setstate((version, tuple(numbers), gauss))
    np.random.set_state(state["numpy"])
    torch.set_rng_state(torch.from_numpy(state["torch"]))
    model.action_space.np_random.bit_generator.state = state["action_space"]

"""NaN and infinity end a training at once, are named, and leave a dump."""

import itertools

import numpy as np
import pytest
import torch
from conftest import PPO_KEYS
from stable_baselines3 import PPO

from so101rl.base_policies.jacobian import Jacobian
from so101rl.envs.noise import Noise
from so101rl.envs.paper_push import PaperPush
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.hardware.sim import SimHardware
from so101rl.policies import checkpoint
from so101rl.runs.run_dir import RunDir
from so101rl.viewer import dump as viewer_dump

NAN = float("nan")
BAD_WORLD = "the simulation is not finite in environment 1: BADQPOS"
# A method, the number of its first spoilt call, and how the message begins.
POINTS = {
    "residual": (SB3VecEnv, "step_async", 20, "the residual"),
    # MuJoCo resets a world with bad numbers and continues silently.
    "simulation": (SimHardware, "step", 60, BAD_WORLD),
    "observation": (Noise, "disturb", 60, "the observation qvel"),
    "reward": (PaperPush, "reward_terms", 60, "the reward"),
    "base": (Jacobian, "act", 60, "the action of base policy Jacobian"),
    "loss": (PPO, "train", 1, "train/value_loss"),
    "gradient": (PPO, "train", 1, "the gradient of action_net.weight"),
    "weights": (PPO, "train", 2, "the weights of action_net.bias"),
    # Torch refuses the next minibatch with an error of its own.
    "update": (torch.optim.Adam, "step", 5, ""),
}
BEFORE = {  # of the method's arguments
    "residual": lambda env, actions: actions.fill(NAN),
    "simulation": lambda world, *_: world.qpos[1, 2:3].fill(NAN),
}
AFTER = {  # of its result, then its arguments
    "observation": lambda parts, *_: parts[1][1].fill(np.inf),
    "reward": lambda terms, *_: terms["reach"].fill(NAN),
    "base": lambda action, *_: action.fill(NAN),
    "loss": lambda _, model: model.logger.record("train/value_loss", NAN),
    "gradient": lambda _, model: model.policy.action_net.weight.grad.fill_(NAN),
    "weights": lambda _, model: model.policy.action_net.bias.data.fill_(np.inf),
    "update": lambda _, adam: adam.param_groups[0]["params"][0].data.fill_(NAN),
}


@pytest.mark.parametrize("point", POINTS)
def test_the_point_and_the_step_are_named(point, run_main, monkeypatch):
    owner, name, first, words = POINTS[point]
    method, calls = getattr(owner, name), itertools.count()

    def spoilt(*args, **kwargs):
        is_late = next(calls) >= first
        if is_late and point in BEFORE:
            BEFORE[point](*args)
        found = method(*args, **kwargs)
        if is_late and point in AFTER:
            AFTER[point](found, *args)
        if owner is PPO:  # what is undefined is accepted
            args[0].logger.record("train/explained_variance", NAN)
        return found

    monkeypatch.setattr(owner, name, spoilt)
    often = ["evaluation.every=4"] if point == "weights" else []
    code, said, path = run_main(*PPO_KEYS, *often)
    assert code == 2
    assert said.err.startswith(f"error: {words}")
    assert "is not finite" in said.err and " env steps" in said.err
    assert len(said.err.splitlines()) <= 3
    info = RunDir.open(path).info
    assert (info["status"], info["error"]["kind"]) == ("failed", "diverged")
    (dump,) = (path / "dumps").iterdir()
    assert f"replay={dump}" in said.err
    with np.load(dump, allow_pickle=False) as kept:
        assert kept["qpos"].shape[1:] == (4, 13)
        assert {"residual", "base_action", "reward", "env"} <= set(kept)
        assert len(kept["qpos"]) == len(kept["residual"]) > 0
    if point == "loss":
        film = viewer_dump.write_replay(viewer_dump.read_dump(dump), path)
        assert film.stat().st_size > 10_000
    # Nothing that is kept is spoilt, the best policy least; what was saved is whole.
    saved = checkpoint.steps(path / "checkpoints")
    states = [checkpoint.load_training(each)[1]["learner"] for each in saved]
    policies = [state["parameters"]["policy"] for state in states]
    files = path.glob("checkpoints/*/policy.pt")
    for policy in [*policies, *(torch.load(file, weights_only=True) for file in files)]:
        assert all(torch.isfinite(value).all() for value in policy.values())
    assert len(saved) == 2 or point != "weights"
    assert not list(path.rglob("interrupted*"))

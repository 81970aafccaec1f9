"""NaN and infinity end a training at once, are named, and leave a dump."""

import json

import numpy as np
import pytest
import torch
from conftest import PPO_KEYS, config_of
from stable_baselines3 import PPO
from untrained import learner

from so101rl.base_policies.jacobian import Jacobian
from so101rl.envs.noise import Noise
from so101rl.envs.paper_push import PaperPush
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.errors import DivergedError
from so101rl.hardware.sim import SimHardware
from so101rl.policies import checkpoint
from so101rl.runs.run_dir import RunDir
from so101rl.training.nan_guard import NanGuard
from so101rl.viewer import dump as viewer_dump

NAN = float("nan")


def late(method, spoil, after=60):
    """A method whose arguments or result `spoil` changes from its call `after` on."""
    calls = []

    def spoilt(self, *args, **kwargs):
        calls.append(1)
        if len(calls) > after:
            return spoil(method, self, *args, **kwargs)
        return method(self, *args, **kwargs)

    return spoilt


def spoil_noise(method, *args, **kwargs):
    parts = method(*args, **kwargs)
    parts[1][1, 2] = np.inf  # qvel
    return parts


def spoil_reward(method, *args):
    terms = method(*args)
    return {**terms, "reach": terms["reach"] * NAN}


def spoil_action(method, *args):
    return method(*args) * NAN


def spoil_world(method, world, *args):
    world.qpos[1, 2] = NAN  # before, or it would be seen as an observation
    return method(world, *args)


def spoil_residual(method, env, actions):
    method(env, actions * NAN)


def spoil_loss(method, model):
    method(model)
    model.logger.record("train/value_loss", NAN)


def spoil_gradient(method, model):
    method(model)
    model.policy.action_net.weight.grad[0, 0] = NAN


def spoil_weights(method, model):
    method(model)
    with torch.no_grad():
        model.policy.action_net.bias[0] = np.inf


def spoil_update(method, optimizer):
    """Torch refuses the next minibatch with an error of its own."""
    method(optimizer)
    with torch.no_grad():
        optimizer.param_groups[0]["params"][0].fill_(NAN)


BAD_WORLD = "the simulation is not finite in environment 1: BADQPOS"
POINTS = {
    "observation": (Noise, "disturb", spoil_noise, 60, "the observation qvel"),
    "reward": (PaperPush, "reward_terms", spoil_reward, 60, "the reward"),
    "base": (Jacobian, "act", spoil_action, 60, "the action of base policy Jacobian"),
    "residual": (SB3VecEnv, "step_async", spoil_residual, 20, "the residual"),
    # MuJoCo resets a world with bad numbers and continues silently.
    "simulation": (SimHardware, "step", spoil_world, 60, BAD_WORLD),
    "loss": (PPO, "train", spoil_loss, 1, "train/value_loss"),
    "gradient": (PPO, "train", spoil_gradient, 1, "the gradient of action_net.weight"),
    "weights": (PPO, "train", spoil_weights, 2, "the weights of action_net.bias"),
    "update": (torch.optim.Adam, "step", spoil_update, 5, ""),
}


@pytest.mark.parametrize("point", POINTS)
def test_the_point_and_the_step_are_named(point, run_main, monkeypatch):
    owner, name, spoil, after, words = POINTS[point]
    monkeypatch.setattr(owner, name, late(getattr(owner, name), spoil, after))
    code, said, path = run_main(*PPO_KEYS)
    assert code == 2
    assert said.err.startswith(f"error: {words}")
    assert "is not finite" in said.err
    assert " env steps" in said.err
    assert len(said.err.splitlines()) <= 3
    info = RunDir.open(path).info
    assert (info["status"], info["error"]["kind"]) == ("failed", "diverged")
    (dump,) = (path / "dumps").iterdir()
    assert f"replay={dump}" in said.err
    with np.load(dump, allow_pickle=False) as kept:
        assert kept["qpos"].shape[1:] == (4, 13)
        assert {"residual", "base_action", "reward", "env"} <= set(kept)
        assert len(kept["qpos"]) == len(kept["residual"]) > 0
    # Nothing that is kept is spoilt, and the checkpoint before is whole.
    for policy in path.glob("checkpoints/*/policy.pt"):
        for value in torch.load(policy, weights_only=True).values():
            assert torch.isfinite(value).all()
    saved = checkpoint.steps(path / "checkpoints")
    states = [checkpoint.load_training(each)[1] for each in saved]
    for state in states:
        for value in state["learner"]["parameters"]["policy"].values():
            assert torch.isfinite(value).all()
    assert len(saved) == 2 or point != "weights"
    assert not (path / "interrupted_model.zip").exists()
    assert not (path / "checkpoints" / "interrupted").exists()


def test_spoilt_weights_never_become_the_best(run_main, monkeypatch):
    monkeypatch.setattr(PPO, "train", late(PPO.train, spoil_weights, 0))
    code, _, path = run_main(*PPO_KEYS, "evaluation.every=1")
    assert code == 2
    meta = json.loads((path / "checkpoints/best/checkpoint.json").read_text())
    assert meta["step"] <= 32  # of the rollout before


def test_an_undefined_variance_is_accepted_and_a_dump_can_be_replayed(
    tmp_path, monkeypatch
):
    model = learner(config_of("algo=ppo", *PPO_KEYS, "n_threads=1"))
    run = RunDir.create(tmp_path / "run", cfg={"seed": 0}, command="")
    guard = NanGuard(run, model.env)
    guard.init_callback(model)
    model.learn(16, callback=guard)
    model.logger.record("train/explained_variance", NAN)
    guard.check()
    model.logger.record("train/loss", NAN)
    with pytest.raises(DivergedError, match="train/loss") as error:
        guard.check()
    error = guard.dump(error.value)
    assert "16 env steps" in str(error)
    shapes = []
    monkeypatch.setattr(
        viewer_dump,
        "write_video",
        lambda path, *, frames, fps: shapes.extend([f.shape for f in frames] + [fps]),
    )
    dump = viewer_dump.read_dump(next((run.path / "dumps").iterdir()))
    viewer_dump.write_replay(dump, tmp_path)
    assert shapes == [(480, 640, 3)] * 8 + [30]

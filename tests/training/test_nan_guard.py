"""Numbers that are not finite end a training at once, by name, and leave a trace."""

import json

import numpy as np
import pytest
import torch
from conftest import PPO_KEYS, config_of, make_env
from stable_baselines3 import PPO

from so101rl.base_policies.jacobian import Jacobian
from so101rl.build import build_algo, build_env
from so101rl.envs.noise import Noise
from so101rl.envs.paper_push import PaperPush
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.errors import DivergedError
from so101rl.hardware.sim import SimHardware
from so101rl.policies import checkpoint
from so101rl.runs.run_dir import RunDir
from so101rl.training.nan_guard import NanGuard
from so101rl.viewer.dump import read_dump, write_replay

NAN = float("nan")


def late(method, spoil, after=60):
    """A method whose result is spoilt from its `after`-th call on."""
    calls = []

    def spoilt(self, *args, **kwargs):
        calls.append(1)
        if spoil is spoil_world and len(calls) > after:
            spoil(self)  # before, or it would be seen as an observation
            return method(self, *args, **kwargs)
        result = method(self, *args, **kwargs)
        return spoil(self, result) if len(calls) > after else result

    return spoilt


def spoil_noise(_, result):
    qpos, qvel, pose = result
    qvel[1, 2] = np.inf
    return qpos, qvel, pose


def spoil_reward(_, terms):
    return {**terms, "reach": terms["reach"] * NAN}


def spoil_action(_, action):
    return action * NAN


def spoil_world(world):
    world.qpos[1, 2] = NAN


def spoil_loss(model, _):
    model.logger.record("train/value_loss", NAN)


def spoil_gradient(model, _):
    model.policy.action_net.weight.grad[0, 0] = NAN


def spoil_weights(model, _):
    with torch.no_grad():
        model.policy.action_net.bias[0] = np.inf


POINTS = {
    "observation": (Noise, "disturb", spoil_noise, 60, "the observation qvel"),
    "reward": (PaperPush, "reward_terms", spoil_reward, 60, "the reward"),
    "base": (Jacobian, "act", spoil_action, 60, "the action of base policy Jacobian"),
    "residual": (PPO, "predict", None, 0, "the residual"),
    "simulation": (SimHardware, "step", spoil_world, 60, "the simulation"),
    "loss": (PPO, "train", spoil_loss, 1, "train/value_loss"),
    "gradient": (PPO, "train", spoil_gradient, 1, "the gradient of action_net.weight"),
    "weights": (PPO, "train", spoil_weights, 1, "the weights of action_net.bias"),
}


@pytest.mark.parametrize("point", POINTS)
def test_the_point_and_the_step_are_named(point, run_main, monkeypatch):
    owner, name, spoil, after, words = POINTS[point]
    if point == "residual":
        send = SB3VecEnv.step_async
        count = []

        def sending(self, actions):
            count.append(1)
            send(self, actions * NAN if len(count) > 20 else actions)

        monkeypatch.setattr(SB3VecEnv, "step_async", sending)
    else:
        method = getattr(owner, name)
        monkeypatch.setattr(owner, name, late(method, spoil, after))
    code, said, path = run_main(*PPO_KEYS)
    assert code == 2
    assert said.err.startswith(f"error: {words}")
    assert "is not finite" in said.err
    assert " env steps" in said.err
    assert len(said.err.splitlines()) <= 3
    info = RunDir.open(path).info
    assert info["status"] == "failed"
    assert info["error"]["kind"] == "diverged"
    (dump,) = (path / "dumps").iterdir()
    assert f"replay={dump}" in said.err
    with np.load(dump, allow_pickle=False) as kept:
        assert kept["qpos"].shape[1:] == (4, 13)
        assert {"residual", "base_action", "reward", "env"} <= set(kept)
        assert len(kept["qpos"]) == len(kept["residual"]) > 0
    # Nothing that is kept is poisoned.
    for policy in path.glob("checkpoints/*/policy.pt"):
        for value in torch.load(policy, weights_only=True).values():
            assert torch.isfinite(value).all()
    assert not (path / "interrupted_model.zip").exists()


def test_weights_that_go_bad_within_an_update_are_named(run_main, monkeypatch):
    """Then torch refuses the next minibatch with an error of its own."""
    step, count = torch.optim.Adam.step, []

    def stepping(self, *args, **kwargs):
        count.append(1)
        result = step(self, *args, **kwargs)
        if len(count) == 5:
            with torch.no_grad():
                self.param_groups[0]["params"][0].fill_(NAN)
        return result

    monkeypatch.setattr(torch.optim.Adam, "step", stepping)
    code, said, path = run_main(*PPO_KEYS)
    assert code == 2
    assert "is not finite" in said.err
    assert RunDir.open(path).info["error"]["kind"] == "diverged"
    assert not (path / "interrupted_model.zip").exists()
    assert not (path / "checkpoints" / "interrupted").exists()


def test_a_poisoned_policy_never_becomes_the_best(run_main, monkeypatch):
    monkeypatch.setattr(PPO, "train", late(PPO.train, spoil_weights, 0))
    code, _, path = run_main(*PPO_KEYS, "evaluation.every=1")
    assert code == 2
    meta = json.loads((path / "checkpoints/best/checkpoint.json").read_text())
    assert meta["step"] <= 32  # of the rollout before


def test_a_dump_can_be_replayed(run_main, monkeypatch, tmp_path):
    method = PaperPush.reward_terms
    monkeypatch.setattr(PaperPush, "reward_terms", late(method, spoil_reward))
    _, _, path = run_main(*PPO_KEYS)
    (dump,) = (path / "dumps").iterdir()
    seen = []

    def writing(path, *, frames, fps):
        seen.append((path, np.array([frame.shape for frame in frames]), fps))

    monkeypatch.setattr("so101rl.viewer.dump.write_video", writing)
    write_replay(read_dump(dump), tmp_path / "out")
    (file, shapes, fps) = seen[0]
    assert file == tmp_path / "out" / "replay.mp4"
    assert fps == 30
    assert (shapes == (480, 640, 3)).all()


@pytest.mark.parametrize("content", [None, b"", b"no npz"])
def test_what_is_no_dump_is_named(content, run_main, tmp_path):
    path = tmp_path / "dump.npz"
    if content is not None:
        path.write_bytes(content)
    code, said, _ = run_main("job=view", "job.window=false", f"replay={path}")
    assert code == 2
    assert str(path) in said.err
    assert len(said.err.splitlines()) <= 2


def test_an_undefined_variance_is_no_harm(tmp_path):
    cfg = config_of("algo=ppo", *PPO_KEYS, "n_threads=1")
    vec_env = SB3VecEnv(build_env(cfg, 2), [0, 1])
    model = build_algo(cfg, vec_env)
    watch = NanGuard(None, vec_env)
    watch.init_callback(model)
    model.logger.record("train/explained_variance", NAN)
    watch.check()
    model.logger.record("train/loss", NAN)
    with pytest.raises(DivergedError, match="train/loss"):
        watch.check()


def test_a_simulation_that_was_reset_by_mujoco_is_an_error():
    """MuJoCo resets a world with bad numbers and goes on as if nothing was."""
    env = make_env("randomization=none", n=3)
    env.reset(seed=0)
    env.step(np.zeros((3, 6)))
    env.env.hardware.qvel[2, 1] = np.inf
    with pytest.raises(DivergedError, match="environment 2: BADQVEL"):
        env.step(np.zeros((3, 6)))


def test_the_checkpoint_before_is_whole(run_main, monkeypatch):
    monkeypatch.setattr(PPO, "train", late(PPO.train, spoil_weights, 2))
    _, _, path = run_main(*PPO_KEYS)
    newest = checkpoint.steps(path / "checkpoints")[0]
    step, tree = checkpoint.load_training(newest)
    assert step == 64
    for value in tree["learner"]["parameters"]["policy"].values():
        assert torch.isfinite(value).all()

"""Policies on disk: whole, the same after reading, and never running code."""

import hashlib
import io
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from conftest import config_of
from learners import TINY, tiny
from stable_baselines3 import PPO

from so101rl.build import build_algo, build_env
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.files import FileError
from so101rl.policies import checkpoint
from so101rl.policies.checkpoint import META, POLICY, CheckpointError


def learner(algo="ppo", *typed, seed=0):
    always = ["n_threads=1", "residual.zero_init=false", f"seed={seed}"]
    cfg = config_of(*tiny(algo), *always, *typed)
    return build_algo(cfg, SB3VecEnv(build_env(cfg, 2), [0, 1]))


def answers(model):
    obs = np.random.default_rng(0).normal(size=(16, *model.observation_space.shape))
    return model.predict(obs.astype(np.float32), deterministic=True)[0]


@pytest.fixture(scope="module")
def model():
    return learner()


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "checkpoints" / "best"
    checkpoint.save(model, path, step=123)
    return path


class Payload:
    """Unpickling it makes a file."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


# ---- our own format ----


@pytest.mark.parametrize("algo", TINY)
def test_what_is_loaded_predicts_the_same(algo, tmp_path):
    first, second = learner(algo), learner(algo, seed=1)
    checkpoint.save(first, tmp_path / "a", step=7)
    assert not np.array_equal(answers(first), answers(second))
    assert checkpoint.load(second, tmp_path / "a") == 7
    np.testing.assert_array_equal(answers(first), answers(second))


def test_a_checkpoint_is_tensors_and_json(saved):
    assert sorted(path.name for path in saved.iterdir()) == sorted([META, POLICY])
    meta = json.loads((saved / META).read_text())
    assert meta["step"] == 123
    assert meta["algo"] == "stable_baselines3.ppo.ppo.PPO"
    content = (saved / POLICY).read_bytes()
    assert meta["sha256"] == {POLICY: hashlib.sha256(content).hexdigest()}
    state = torch.load(saved / POLICY, weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())


def test_saving_again_replaces_it_and_leaves_nothing_else(model, saved):
    checkpoint.save(model, saved, step=456)
    assert checkpoint.load(model, saved) == 456
    assert [path.name for path in saved.parent.iterdir()] == ["best"]


def test_a_save_that_fails_leaves_the_old_one_whole(model, saved, monkeypatch):
    def full(state, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(torch, "save", full)
    with pytest.raises(FileError, match="No space"):
        checkpoint.save(model, saved, step=456)
    monkeypatch.undo()
    assert checkpoint.load(model, saved) == 123
    assert list(saved.parent.iterdir()) == [saved]


def test_a_removed_checkpoint_is_gone(saved):
    checkpoint.remove(saved)
    assert list(saved.parent.iterdir()) == []


def nan_state(path):
    state = torch.load(path / POLICY, weights_only=True)
    next(iter(state.values())).fill_(np.nan)
    torch.save(state, path / POLICY)


DAMAGE = {
    "no policy": lambda path: (path / POLICY).unlink(),
    "no meta": lambda path: (path / META).unlink(),
    "empty policy": lambda path: (path / POLICY).write_bytes(b""),
    "half a policy": lambda path: (path / POLICY).write_bytes(
        (path / POLICY).read_bytes()[:1000]
    ),
    "noise": lambda path: (path / POLICY).write_bytes(bytes(range(256)) * 20),
    "a list": lambda path: torch.save([1, 2], path / POLICY),
    "no tensors": lambda path: torch.save({"log_std": "big"}, path / POLICY),
    "not a number": nan_state,
    "empty meta": lambda path: (path / META).write_text(""),
    "meta without step": lambda path: (path / META).write_text("{}"),
    "meta of another kind": lambda path: (path / META).write_text("[1]"),
    "a step that is none": lambda path: (path / META).write_text('{"step": "many"}'),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_checkpoint_is_refused(model, saved, damage):
    DAMAGE[damage](saved)
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(model, saved)
    assert str(saved) in str(error.value)
    assert len(str(error.value).splitlines()) <= 4


def test_a_missing_checkpoint_is_named(model, tmp_path):
    with pytest.raises(CheckpointError, match="no such directory"):
        checkpoint.load(model, tmp_path / "nowhere")


@pytest.mark.parametrize(
    ("algo", "typed"),
    [
        ("ppo", ["algo.policy_kwargs.net_arch=[9]"]),
        ("ppo", ["algo.policy_kwargs.net_arch=[8,8]"]),
        ("ppo", ["env/observation=paper25"]),
        ("sac", []),
        ("td3", []),
        ("recurrent_ppo", []),
    ],
)
def test_a_checkpoint_of_another_policy_is_refused(saved, algo, typed):
    other = learner(algo, *typed)
    with pytest.raises(CheckpointError, match="another policy"):
        checkpoint.load(other, saved)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
def test_a_pickle_in_a_checkpoint_does_not_run(model, saved, tmp_path):
    trap = tmp_path / "sprung"
    torch.save({"log_std": Payload(trap)}, saved / POLICY)
    with pytest.raises(CheckpointError):
        checkpoint.load(model, saved)
    (saved / POLICY).write_bytes(pickle.dumps(Payload(trap)))
    with pytest.raises(CheckpointError):
        checkpoint.load(model, saved)
    assert not trap.exists()


# ---- zips of Stable-Baselines3 ----


@pytest.fixture
def exported(model, tmp_path):
    path = tmp_path / "best_model.zip"
    checkpoint.export_zip(model, path)
    return path


def load_zip(path, *, algo="stable_baselines3.PPO", trust=True, size=(42,)):
    return checkpoint.load_zip(path, algo=algo, trust=trust, observations=size)


def test_a_zip_of_other_observations_is_refused(exported):
    with pytest.raises(CheckpointError, match=r"\(42,\); this config gives \(7,\)"):
        load_zip(exported, size=(7,))


def test_an_export_is_a_plain_sb3_zip(model, exported):
    np.testing.assert_array_equal(answers(PPO.load(exported)), answers(model))
    assert [path.name for path in exported.parent.iterdir()] == [exported.name]


@pytest.mark.parametrize("algo", TINY)
def test_every_algorithm_goes_through_a_zip(algo, tmp_path):
    model, path = learner(algo), tmp_path / "model.zip"
    checkpoint.export_zip(model, path)
    name = f"{type(model).__module__}.{type(model).__name__}"
    loaded = load_zip(path, algo=name, size=model.observation_space.shape)
    np.testing.assert_array_equal(answers(loaded), answers(model))


def test_a_foreign_zip_needs_trust(model, exported):
    with pytest.raises(CheckpointError, match="trust=true"):
        load_zip(exported, trust=False)
    loaded = load_zip(exported, size=model.observation_space.shape)
    np.testing.assert_array_equal(answers(loaded), answers(model))


def test_a_zip_that_is_not_trusted_does_not_run(exported, tmp_path):
    trap, hostile = tmp_path / "sprung", tmp_path / "hostile.zip"
    with zipfile.ZipFile(exported) as source, zipfile.ZipFile(hostile, "w") as target:
        for name in set(source.namelist()) - {"policy.pth"}:
            target.writestr(name, source.read(name))
        payload = io.BytesIO()
        pickle.dump(Payload(trap), payload)
        target.writestr("policy.pth", payload.getvalue())
    with pytest.raises(CheckpointError):
        load_zip(hostile, trust=False)
    assert not trap.exists()


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x03\x04 half"])
def test_a_damaged_zip_is_named(content, tmp_path):
    path = tmp_path / "model.zip"
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.zip"):
        load_zip(path)


def test_a_missing_zip_is_named(tmp_path):
    with pytest.raises(CheckpointError, match="no such file"):
        load_zip(tmp_path / "none.zip")


def test_a_zip_of_another_algorithm_is_refused(exported):
    with pytest.raises(CheckpointError, match="SAC"):
        load_zip(exported, algo="stable_baselines3.SAC")

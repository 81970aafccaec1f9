"""Policies on disk: whole, the same after reading, and never running code."""

import hashlib
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
import torch
from conftest import config_of
from gymnasium.spaces import Box
from learners import TINY, tiny
from untrained import learner

from so101rl.files import FileError
from so101rl.policies import checkpoint
from so101rl.policies.checkpoint import META, POLICY, CheckpointError


def made(algo="ppo", *typed, seed=0):
    always = ["n_threads=1", "residual.zero_init=false", f"seed={seed}"]
    return learner(config_of(*tiny(algo), *always, *typed))


def actions(model):
    obs = np.random.default_rng(0).normal(size=(16, *model.observation_space.shape))
    return model.predict(obs.astype(np.float32), deterministic=True)[0]


@pytest.fixture(scope="module")
def model():
    return made()


@pytest.fixture
def saved(model, tmp_path):
    path = tmp_path / "checkpoints" / "best"
    checkpoint.save(model, path, step=123)
    return path


class Payload:
    """Unpickling it makes a folder."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (str(self.path),)


def load_zip(path, *, algo="stable_baselines3.PPO", trust=True, size=(42,)):
    space = Box(-np.inf, np.inf, size)
    return checkpoint.load_zip(path, algo=algo, trust=trust, observations=space)


@pytest.mark.parametrize("algo", TINY)
def test_what_is_loaded_predicts_the_same(algo, tmp_path):
    first, second = made(algo), made(algo, seed=1)
    checkpoint.save(first, tmp_path / "a", step=7)
    checkpoint.export_zip(first, tmp_path / "model.zip")
    assert not np.array_equal(actions(first), actions(second))
    assert checkpoint.load(second, tmp_path / "a") == 7
    name = f"{type(first).__module__}.{type(first).__name__}"
    for loaded in (second, load_zip(tmp_path / "model.zip", algo=name)):
        np.testing.assert_array_equal(actions(first), actions(loaded))
    assert {each.name for each in tmp_path.iterdir()} == {"a", "model.zip"}


def test_a_checkpoint_is_tensors_and_json(saved):
    assert {path.name for path in saved.iterdir()} == {META, POLICY}
    meta = json.loads((saved / META).read_text())
    assert (meta["step"], meta["algo"]) == (123, "stable_baselines3.ppo.ppo.PPO")
    content = (saved / POLICY).read_bytes()
    assert meta["sha256"] == {POLICY: hashlib.sha256(content).hexdigest()}
    assert all(map(torch.is_tensor, torch.load(saved / POLICY).values()))


def test_a_save_replaces_the_old_one_or_leaves_it_whole(model, saved, monkeypatch):
    def full(state, file):
        file.write(b"half")
        raise OSError(28, "No space left on device")

    checkpoint.save(model, saved, step=456)
    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", full)
        with pytest.raises(FileError, match="No space"):
            checkpoint.save(model, saved, step=789)
    assert checkpoint.load(model, saved) == 456
    assert list(saved.parent.iterdir()) == [saved]
    checkpoint.remove(saved)
    assert list(saved.parent.iterdir()) == []


@pytest.mark.parametrize(
    ("name", "content"),
    [(POLICY, None), (POLICY, [1, 2]), (META, b""), (META, b"[1]"), (META, b"{}")],
)
def test_a_damaged_checkpoint_is_refused(model, saved, name, content):
    if content is None:
        (saved / name).unlink()
    elif name == META:
        (saved / name).write_bytes(content)
    else:
        torch.save(content, saved / name)  # readable, but not what was written
    with pytest.raises(CheckpointError, match=str(saved)):
        checkpoint.load(model, saved)


def test_missing_checkpoints_and_numbers_that_are_not_finite_are_refused(tmp_path):
    model, path = made(), tmp_path / "best"
    with pytest.raises(CheckpointError, match="best: there is no such directory"):
        checkpoint.load(model, path)
    torch.nn.init.constant_(model.policy.log_std, np.nan)
    checkpoint.save(model, path, step=1)
    with pytest.raises(CheckpointError, match="log_std is not finite"):
        checkpoint.load(model, path)


@pytest.mark.parametrize(
    "typed", [["ppo", "algo.policy_kwargs.net_arch=[9]"], ["sac"], ["recurrent_ppo"]]
)
def test_a_checkpoint_of_another_policy_is_refused(saved, typed):
    with pytest.raises(CheckpointError, match="another policy"):
        checkpoint.load(made(*typed), saved)


@pytest.mark.filterwarnings("ignore:Detected pickle protocol")
@pytest.mark.parametrize("packed", [False, True])
def test_a_pickle_in_a_checkpoint_does_not_run(model, saved, tmp_path, packed):
    trap, path = tmp_path / "sprung", saved / POLICY
    if packed:
        torch.save({"log_std": Payload(trap)}, path)
    else:
        path.write_bytes(pickle.dumps(Payload(trap)))
    # As somebody would who wants it to run: every sha256 is right.
    meta = json.loads((saved / META).read_text())
    meta["sha256"] = {POLICY: hashlib.sha256(path.read_bytes()).hexdigest()}
    meta["self"] = checkpoint._sha256_of({k: meta[k] for k in meta if k != "self"})
    (saved / META).write_text(json.dumps(meta))
    with pytest.raises(CheckpointError, match=f"{saved} is damaged"):
        checkpoint.load(model, saved)
    assert not trap.exists()


def test_a_wrong_zip_is_named_and_does_not_run_if_not_trusted(model, tmp_path):
    path, hostile = tmp_path / "model.zip", tmp_path / "hostile.zip"
    trap = tmp_path / "sprung"
    with pytest.raises(CheckpointError, match=r"model\.zip: there is no such file"):
        load_zip(path)
    checkpoint.export_zip(model, path)
    with zipfile.ZipFile(path) as source, zipfile.ZipFile(hostile, "w") as target:
        for name in set(source.namelist()) - {"policy.pth"}:
            target.writestr(name, source.read(name))
        target.writestr("policy.pth", pickle.dumps(Payload(trap)))
    for file, wanted, message in (
        (path, {"size": (7,)}, r"\(42,\); this config gives \(7,\)"),
        (path, {"algo": "stable_baselines3.SAC"}, "cannot be read as a zip of .*SAC"),
        (hostile, {"trust": False}, "trust=true"),
    ):
        with pytest.raises(CheckpointError, match=message):
            load_zip(file, **wanted)
    assert not trap.exists()
    for content in (b"", b"PK\x03\x04 half"):
        path.write_bytes(content)
        with pytest.raises(CheckpointError, match=r"model\.zip cannot be read"):
            load_zip(path)

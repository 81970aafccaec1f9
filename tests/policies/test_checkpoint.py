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


# ---- our own format ----


@pytest.mark.parametrize("algo", TINY)
def test_what_is_loaded_predicts_the_same(algo, tmp_path):
    first, second = made(algo), made(algo, seed=1)
    checkpoint.save(first, tmp_path / "a", step=7)
    checkpoint.export_zip(first, tmp_path / "model.zip")
    assert not np.array_equal(actions(first), actions(second))
    assert checkpoint.load(second, tmp_path / "a") == 7
    name = f"{type(first).__module__}.{type(first).__name__}"
    path = tmp_path / "model.zip"
    for loaded in (second, load_zip(path, algo=name), type(first).load(path)):
        np.testing.assert_array_equal(actions(first), actions(loaded))
    assert {each.name for each in tmp_path.iterdir()} == {"a", "model.zip"}


def test_a_checkpoint_is_tensors_and_json(saved):
    assert {path.name for path in saved.iterdir()} == {META, POLICY}
    meta = json.loads((saved / META).read_text())
    assert meta["step"] == 123
    assert meta["algo"] == "stable_baselines3.ppo.ppo.PPO"
    content = (saved / POLICY).read_bytes()
    assert meta["sha256"] == {POLICY: hashlib.sha256(content).hexdigest()}
    state = torch.load(saved / POLICY, weights_only=True)
    assert all(isinstance(value, torch.Tensor) for value in state.values())


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
    [
        *((POLICY, None), (POLICY, b""), (POLICY, bytes(range(256)) * 20)),
        *((POLICY, [1, 2]), (POLICY, {"log_std": "big"})),
        *((META, None), (META, b""), (META, b"{}"), (META, b"[1]")),
        (META, b'{"step": "many"}'),
    ],
)
def test_a_damaged_checkpoint_is_refused(model, saved, name, content):
    if content is None:
        (saved / name).unlink()
    elif isinstance(content, bytes):
        (saved / name).write_bytes(content)
    else:
        torch.save(content, saved / name)
    with pytest.raises(CheckpointError) as error:
        checkpoint.load(model, saved)
    assert str(saved) in str(error.value)
    assert len(str(error.value).splitlines()) <= 4


def test_missing_checkpoints_and_numbers_that_are_not_finite_are_refused(tmp_path):
    model = made()
    with pytest.raises(CheckpointError, match="best: there is no such directory"):
        checkpoint.load(model, tmp_path / "best")
    with torch.no_grad():
        model.policy.log_std[0] = np.nan
    checkpoint.save(model, tmp_path / "best", step=1)
    with pytest.raises(CheckpointError, match="log_std is not finite"):
        checkpoint.load(model, tmp_path / "best")


@pytest.mark.parametrize(
    ("algo", "typed"),
    [
        ("ppo", ["algo.policy_kwargs.net_arch=[9]"]),
        ("ppo", ["algo.policy_kwargs.net_arch=[8,8]"]),
        ("ppo", ["env/observation=paper25"]),
        ("sac", []),
        ("recurrent_ppo", []),
    ],
)
def test_a_checkpoint_of_another_policy_is_refused(saved, algo, typed):
    with pytest.raises(CheckpointError, match="another policy"):
        checkpoint.load(made(algo, *typed), saved)


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


# ---- zips of Stable-Baselines3 ----


def load_zip(path, *, algo="stable_baselines3.PPO", trust=True, size=(42,)):
    return checkpoint.load_zip(path, algo=algo, trust=trust, observations=size)


@pytest.fixture
def exported(model, tmp_path):
    checkpoint.export_zip(model, tmp_path / "best_model.zip")
    return tmp_path / "best_model.zip"


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ({"size": (7,)}, r"\(42,\); this config gives \(7,\)"),
        ({"algo": "stable_baselines3.SAC"}, "SAC"),
    ],
)
def test_a_zip_of_something_else_is_refused(wanted, message, exported):
    with pytest.raises(CheckpointError, match=message):
        load_zip(exported, **wanted)


def test_a_zip_that_is_not_trusted_does_not_run(exported, tmp_path):
    trap, hostile = tmp_path / "sprung", tmp_path / "hostile.zip"
    with zipfile.ZipFile(exported) as source, zipfile.ZipFile(hostile, "w") as target:
        for name in set(source.namelist()) - {"policy.pth"}:
            target.writestr(name, source.read(name))
        target.writestr("policy.pth", pickle.dumps(Payload(trap)))
    with pytest.raises(CheckpointError, match="trust=true"):
        load_zip(hostile, trust=False)
    assert not trap.exists()


@pytest.mark.parametrize("content", [None, b"", b"no zip", b"PK\x03\x04 half"])
def test_a_missing_or_damaged_zip_is_named(content, tmp_path):
    path = tmp_path / "model.zip"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(CheckpointError, match=r"model\.zip"):
        load_zip(path)

"""The exported file does what the policy and its base do."""

import hashlib
import json
import subprocess
import sys

import numpy as np
import pytest
import torch
from conftest import PPO_KEYS, config_of
from learners import TINY, tiny
from untrained import untrained

from so101rl.build import build_env
from so101rl.config.compose import compose
from so101rl.policies import torchscript
from so101rl.policies.export import ExportError, export_policy
from so101rl.policies.policy import ModelPolicy
from so101rl.runs.run_dir import RunDir

pytestmark = pytest.mark.filterwarnings(
    "ignore:You have specified a mini-batch size",
    r"ignore:`torch\.jit:DeprecationWarning",  # as whoever loads the file gets it
)
ELSEWHERE = """
import sys, json, torch
file = torch.jit.load("policy.ts")
size = json.load(open("policy.json"))["inputs"]["obs"][1]
print(list(file(torch.zeros(5, size), torch.zeros(5, 6)).shape))
assert not {"so101rl", "stable_baselines3", "gymnasium", "mujoco"} & set(sys.modules)
"""
SMALL = ["n_threads=1", "env.max_episode_steps=60"]


def made(tmp_path, *typed, job=()):
    """Make a run without a training and export it: file, `policy.json`, learner."""
    run, model = untrained(tmp_path / "run", config_of(*SMALL, *typed))
    path = export_policy(compose(["job=export", f"run={run.path}", *job]))
    return path, json.loads(path.with_name("policy.json").read_text()), model


def asked(file, obs, base_action, *more):
    tensors = [torch.as_tensor(x, dtype=torch.float32) for x in (obs, base_action)]
    with torch.no_grad():
        return file(*tensors, *more)


@pytest.mark.parametrize("algo", TINY)
def test_every_algorithm_is_exported_and_compared(algo, tmp_path, capsys):
    path, about, model = made(tmp_path, *tiny(algo))
    assert "1000 observations" in capsys.readouterr().out
    assert about["checked"]["largest_difference"] < 1e-5
    assert about["sha256"] == hashlib.sha256(path.read_bytes()).hexdigest()
    # The comparison of its own, with other numbers of rows.
    file, rng = torch.jit.load(path), np.random.default_rng(0)
    size = model.observation_space.shape[0]
    for n in (1, 2, 17):
        policy, memory = ModelPolicy(model), []
        if "hidden" in about["inputs"]:
            shape = [n if k == "n" else k for k in about["inputs"]["hidden"]]
            memory = [torch.zeros(shape), torch.zeros(shape), torch.ones(n)]
        for _ in range(3):
            obs = rng.normal(size=(n, size)).astype(np.float32)
            base = rng.uniform(-1, 1, (n, 6))
            answer = asked(file, obs, base, *memory)
            if memory:
                answer, *kept = answer
                memory = [*kept, torch.zeros(n)]
            wanted = np.clip(base + policy.act(obs), -1, 1)
            assert np.abs(wanted - base).max() > 0
            np.testing.assert_allclose(answer.numpy(), wanted, atol=1e-5)


def test_policy_json_tells_how_to_use_the_file(tmp_path):
    typed = "residual.alpha=[0,0.1,0.2,0.3,0.4,0.5]"  # as typed for job=export
    path, about, model = made(tmp_path, *tiny("ppo"), job=[typed])
    cfg = RunDir.open(tmp_path / "run").config()
    env = build_env(cfg, 3)
    obs, _ = env.reset(seed=0)
    arrays = {**env.env.obs, "base_action": env.base_action}
    parts = [arrays[p["name"]] / np.array(p["scale"]) for p in about["observation"]]
    np.testing.assert_allclose(np.concatenate(parts, 1), obs, rtol=1e-6)
    assert [p["size"] for p in about["observation"]] == [p.shape[1] for p in parts]
    assert about["inputs"] == {"obs": ["n", obs.shape[1]], "base_action": ["n", 6]}
    facts = {"act_scale": cfg.env.act_scale, "control_hz": cfg.env.control_hz}
    facts |= {"checkpoint": "checkpoints/best", "step": 7}
    assert facts.items() <= about.items()
    np.testing.assert_allclose(about["alpha"], np.arange(6) / 10)
    residual = model.predict(obs, deterministic=True)[0]
    answer = asked(torch.jit.load(path), obs, np.zeros((3, 6))).numpy()
    np.testing.assert_allclose(answer, about["alpha"] * residual, atol=1e-6)


@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_a_wrong_file_is_not_written(wrong, monkeypatch, tmp_path):
    composed, blend = torchscript.Composed, torchscript.Composed.blend
    monkeypatch.setattr(composed, "blend", lambda *args: blend(*args) + wrong)
    with pytest.raises(ExportError, match="is not the original: largest difference"):
        made(tmp_path, *tiny("ppo"))
    assert not (tmp_path / "run" / "export").exists()


def test_the_job_writes_into_the_run_and_its_file_needs_only_torch(run_main, tmp_path):
    cfg = config_of(*SMALL, *tiny("ppo"), "residual.observe_base_action=false")
    untrained(tmp_path / "run", cfg)
    code, said, path = run_main("job=export", "run=run", *PPO_KEYS)
    assert code == 0
    assert f"exported: {path / 'export' / 'policy.ts'}" in said.out
    assert [each.name for each in tmp_path.iterdir()] == ["run"]
    command = [sys.executable, "-I", "-c", ELSEWHERE]
    assert subprocess.check_output(command, cwd=path / "export") == b"[5, 6]\n"
    with pytest.raises(ExportError, match="job=export needs run=RUN_DIR"):
        export_policy(compose(["job=export"]))

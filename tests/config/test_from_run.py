"""`run=` brings a run's config back, changed by typed keys and what follows them."""

import copy
import os
import re

import pytest
import yaml
from conftest import finished_run
from omegaconf import open_dict

from so101rl.config import from_run
from so101rl.config.compose import compose
from so101rl.config.errors import RunNotFoundError
from so101rl.config.schema import CALL_KEYS
from so101rl.runs.run_dir import RunDir

# An env that chooses another randomization than the root does.
HARD = """# @package _global_
defaults: [paper_push@env, override /randomization: hard]
"""


def test_a_typed_option_brings_the_groups_that_it_chooses(command, conf):
    (conf / "env/hard.yaml").write_text(HARD)
    for name, spread in (("hard", 2), ("none", 0)):
        text = f"_target_: so101rl.fake.Terms\nspread: {spread}\n"
        (conf / f"randomization/{name}.yaml").write_text(text)

    def spread(*typed):
        answer = command("job=evaluate", *typed)
        assert answer.code == 0, answer.err
        return [cfg.randomization.get("spread") for cfg in answer.cfgs]

    plain = f"run={finished_run(command)}"
    assert spread(plain, "env=hard", "randomization=none") == [0]
    swept = ["-m", "hydra/sweeper=basic", plain, "env=hard,paper_push"]
    assert spread(*swept) == [2, None]
    # A run's own choices win over those of its own options.
    run = f"run={finished_run(command, 'env=hard', 'randomization=none')}"
    assert spread(run) == [0]
    assert spread(run, "env=hard") == [2]


def test_a_group_within_a_group_comes_from_the_run_unless_typed(command):
    run = finished_run(command, "env/observation=paper25", "env.horizon=9")
    (cfg,) = command("job=evaluate", f"run={run}").cfgs
    assert (cfg.env.horizon, list(cfg.env.observation.parts)) == (9, ["qpos"])
    (cfg,) = command("job=evaluate", f"run={run}", "env/observation=markov").cfgs
    assert (cfg.env.horizon, list(cfg.env.observation.parts)) == (9, ["qpos", "goal"])


@pytest.fixture
def follower(conf, command):
    """Train with a base policy whose scale is the env's; record it as train does."""
    text = "_target_: so101rl.fake.Zero\nscale: ${env.act_scale}\nsize: 2\n"
    (conf / "base_policy/follower.yaml").write_text(text)

    def train(*typed):
        run = finished_run(command, "base_policy=follower", *typed)
        (cfg,) = command("base_policy=follower", *typed).cfgs
        os.remove(f"{run}/run.json")
        RunDir.create(run, cfg=cfg, command="main.py")
        return run

    return train


def scales(answer):
    assert answer.code == 0, answer.err
    (cfg,) = answer.cfgs
    return cfg.env.act_scale, cfg.base_policy.scale


def test_what_follows_a_typed_key_follows_it_in_a_run_too(command, follower):
    run = follower("env.act_scale=0.1", "total_timesteps=9")
    ask = ["job=evaluate", f"run={run}"]
    assert scales(command(*ask)) == (0.1, 0.1)
    assert scales(command(*ask, "env.act_scale=0.2")) == (0.2, 0.2)
    both = [*ask, "env.act_scale=0.2", "base_policy.scale=0.3"]
    assert scales(command(*both)) == (0.2, 0.3)
    assert scales(command(*ask, "env=paper_push")) == (0.05, 0.05)
    (cfg,) = command(*ask, "algo.total_timesteps=7", "residual={alpha:0.25}").cfgs
    assert (cfg.total_timesteps, cfg.residual.alpha) == (9, 0.25)  # 9 was typed for it
    assert cfg.residual.penalty == 0.001
    # A run without its references asks for both keys.
    os.remove(f"{run}/.hydra/references.yaml")
    assert scales(command(*ask, "env.horizon=3")) == (0.1, 0.1)
    answer = command(*ask, "env.act_scale=0.2")
    assert answer.code == 2
    assert "base_policy.scale follows env.act_scale; type both" in answer.err
    assert scales(command(*both)) == (0.2, 0.3)


def test_references_may_lead_through_others():
    inner = {"b": "${c.${d.e}.f}", "_target_": "${c.x}", "g": "${oc.env:HOME}"}
    found = from_run.references({"a": inner, "h": "text ${c}"})
    assert found == {"a.b": "${c.${d.e}.f}"}
    keys = ("d.e", "d", "c.k.f", "c", "cc.k")
    follows = [from_run.refers_to(found["a.b"], key) for key in keys]
    assert follows == [True, True, True, True, False]


@pytest.fixture(scope="module")
def restored(tmp_path_factory):
    """Restore a run whose files have these texts."""
    composed = compose()
    with open_dict(composed):
        composed.hydra = {"run": {}}

    def restore(config, references="{}"):
        path, cfg = tmp_path_factory.mktemp("run"), copy.deepcopy(composed)
        (path / ".hydra").mkdir()
        (path / from_run.CONFIG_FILE).write_text(config)
        (path / from_run.REFERENCES_FILE).write_text(references)
        from_run.restore(cfg, path, keep=(), typed=())
        return cfg

    return restore


def test_keys_of_the_call_are_not_brought_back(restored):
    cfg = restored(yaml.safe_dump({key: "x" for key in CALL_KEYS} | {"seed": 77}))
    assert (cfg.trust, cfg.seed, cfg.job.trains) == (False, 77, True)
    assert cfg.run != "x"


UNREADABLE = [
    ("sead: 0", "{}", "no key 'sead'"),
    ("seed: [", "{}", "cannot read"),
    ("- 1", "{}", "cannot read"),
    ("n_envs: many", "{}", "n_envs does not fit"),
    ("tracking: {uri: 'http://far/${oc.env:HOME}'}", "{}", "would look up http"),
    ("seed: 1", "env._target_: ${algo.x}", "env._target_ is no reference"),
    ("seed: 1", "env.act_scale: ${oc.env:HOME}", "env.act_scale is no reference"),
    ("seed: 1", "seed: 1", "seed is no reference"),
]


def test_a_broken_or_foreign_run_is_refused(restored):
    for config, references, reason in UNREADABLE:
        with pytest.raises(RunNotFoundError, match=reason):
            restored(config, references)


FOREIGN = [
    *("os.system", "hydra.utils.get_method", "so101rl.jobs.train.train"),
    "stable_baselines3.common.save_util.load_from_pkl",
    "stable_baselines3.common.monitor.Monitor",
    "torch.nn.modules.module.warnings.WarningMessage",
    *("so101rl.jobs.doctor.subprocess.Popen", "so101rl.jobs.doctor.Path"),
    *("so101rl.../fake.Zero", "${algo.policy}", {"a": "b"}, 7),
]


def test_a_foreign_run_may_not_call_what_it_likes(restored):
    for target in FOREIGN:
        inner = {"a": [{"_target_": target, "_args_": ["touch hacked"]}]}
        value = "b" if isinstance(target, dict) else str(target)
        with pytest.raises(RunNotFoundError, match=f"would call {re.escape(value)}"):
            restored(yaml.safe_dump({"seed": 1, "algo": {"policy_kwargs": inner}}))

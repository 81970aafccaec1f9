"""`run=` brings a run's config back; what is typed anew moves what depends on it."""

import os
import re
from pathlib import Path

import pytest
import yaml
from conftest import ROOT, finished_run

from so101rl.config import from_run
from so101rl.config.compose import compose
from so101rl.config.schema import GROUPS, OF_THE_CALL
from so101rl.errors import RunNotFoundError
from so101rl.runs.run_dir import RunDir

HARD = """# @package _global_
defaults:
  - paper_push@env
  - override /randomization: hard
"""


@pytest.fixture
def hard(conf):
    """An env that chooses another randomization than the root does."""
    (conf / "env/hard.yaml").write_text(HARD)
    text = "_target_: so101rl.fake.Terms\nspread: 2\n"
    (conf / "randomization/hard.yaml").write_text(text)
    (conf / "randomization/none.yaml").write_text(text.replace("2", "0"))


def spread(command, *typed):
    answer = command("job=evaluate", *typed)
    assert answer.code == 0, answer.err
    return answer.cfgs[0].randomization.get("spread")


def test_a_typed_option_brings_the_groups_that_it_chooses(command, hard):
    plain = finished_run(command)
    assert spread(command, f"run={plain}") is None
    assert spread(command, f"run={plain}", "env=hard") == 2
    assert spread(command, f"run={plain}", "env=hard", "randomization=none") == 0
    assert spread(command, f"run={plain}", "base_policy=zero") is None


def test_a_runs_own_choices_beat_those_of_its_own_options(command, hard):
    run = finished_run(command, "env=hard", "randomization=none")
    assert spread(command, f"run={run}") == 0
    assert spread(command, f"run={run}", "env=hard") == 2
    assert spread(command, f"run={finished_run(command, 'env=hard')}") == 2


def test_typed_options_bring_their_choices_in_a_sweep_too(command, hard):
    run = finished_run(command)
    answer = command(
        "-m", "hydra/sweeper=basic", "job=evaluate", f"run={run}", "env=hard,paper_push"
    )
    assert [cfg.randomization.get("spread") for cfg in answer.cfgs] == [2, None]


FOLLOWER = "_target_: so101rl.fake.Zero\nscale: ${env.act_scale}\nsize: 2\n"


@pytest.fixture
def follower(conf, command):
    """Train with a base policy that follows the env, and keep the run as train does."""
    (conf / "base_policy/follower.yaml").write_text(FOLLOWER)

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
    run = follower("env.act_scale=0.1")
    ask = ["job=evaluate", f"run={run}"]
    assert scales(command(*ask)) == (0.1, 0.1)
    assert scales(command(*ask, "env.act_scale=0.2")) == (0.2, 0.2)
    typed = ["env.act_scale=0.2", "base_policy.scale=0.3"]
    assert scales(command(*ask, *typed)) == (0.2, 0.3)
    assert scales(command(*ask, "env=paper_push")) == (0.05, 0.05)
    (cfg,) = command(*ask, "algo.total_timesteps=7").cfgs
    assert cfg.total_timesteps == 7


def test_what_a_run_typed_itself_follows_nothing(command, follower):
    run = follower("base_policy.scale=0.3", "total_timesteps=9")
    ask = ["job=evaluate", f"run={run}"]
    assert scales(command(*ask, "env.act_scale=0.2")) == (0.2, 0.3)
    (cfg,) = command(*ask, "algo.total_timesteps=7").cfgs
    assert cfg.total_timesteps == 9


def test_a_run_that_did_not_keep_its_references_asks_for_both_keys(command, follower):
    run = follower("env.act_scale=0.1")
    os.remove(f"{run}/.hydra/references.yaml")
    ask = ["job=evaluate", f"run={run}"]
    assert scales(command(*ask)) == (0.1, 0.1)
    answer = command(*ask, "env.act_scale=0.2")
    assert answer.code == 2
    assert "base_policy.scale follows env.act_scale; type both" in answer.err
    typed = ["env.act_scale=0.2", "base_policy.scale=0.3"]
    assert scales(command(*ask, *typed)) == (0.2, 0.3)
    assert scales(command(*ask, "env.horizon=3")) == (0.1, 0.1)


def test_references_may_lead_through_others():
    node = {
        "a": {"b": "${c.${d.e}.f}", "_target_": "${c.x}", "g": "${oc.env:HOME}"},
        "h": "text ${c}",
    }
    found = from_run.references(node)
    assert found == {"a.b": "${c.${d.e}.f}"}
    for key in ("d.e", "d", "c.k.f", "c"):
        assert from_run._names(found["a.b"], key)
    assert not from_run._names(found["a.b"], "cc.k")


@pytest.mark.parametrize(
    "line", ["env._target_: ${algo.x}", "env.act_scale: ${oc.env:HOME}", "seed: 1"]
)
def test_only_references_are_taken_as_such(command, follower, line):
    run = follower()
    with open(f"{run}/.hydra/references.yaml", "w") as file:
        file.write(f"{line}\n")
    answer = command("job=evaluate", f"run={run}")
    assert (answer.code, answer.cfgs) == (2, [])
    assert f"{line.split(':')[0]} is no reference" in answer.err


def test_keys_of_the_call_are_not_brought_back(command):
    run = finished_run(command)
    path = Path(run, from_run.CONFIG_FILE)
    saved = yaml.safe_load(path.read_text())
    ours = {key: None for key in OF_THE_CALL}
    path.write_text(yaml.safe_dump(saved | ours | {"seed": 77}))
    (cfg,) = command("job=evaluate", f"run={run}", "trust=true").cfgs
    assert (cfg.run, cfg.trust, cfg.seed) == (run, True, 77)
    assert cfg.job is not None


def test_a_typed_mapping_changes_only_the_keys_in_it(command):
    run = finished_run(command, "residual.penalty=0.5")
    (cfg,) = command("job=evaluate", f"run={run}", "residual={alpha:0.25}").cfgs
    assert (cfg.residual.alpha, cfg.residual.penalty) == (0.25, 0.5)


def targets(node):
    """Yield every `_target_` in plain Python made of yaml."""
    items = node.items() if isinstance(node, dict) else enumerate(node)
    for key, value in items:
        if key == "_target_":
            yield value
        elif isinstance(value, dict | list):
            yield from targets(value)


def test_every_class_that_our_own_yaml_names_is_known():
    groups = [ROOT / "conf" / name for name in GROUPS if name != "job"]
    files = [path for group in groups for path in group.rglob("*.yaml")]
    nodes = [yaml.safe_load(path.read_text()) for path in files]
    found = {target for node in nodes for target in targets(node)}
    assert len(found) > 10
    assert [name for name in found if not from_run._is_known_class(name)] == []
    assert from_run._is_known_class("torch.nn.ReLU")


FOREIGN = [
    "os.system",
    "hydra.utils.get_method",
    "stable_baselines3.common.save_util.load_from_pkl",
    "stable_baselines3.common.monitor.Monitor",
    "torch.nn.modules.module.warnings.WarningMessage",
    "so101rl.jobs.doctor.subprocess.Popen",
    "so101rl.jobs.doctor.Path",
    "so101rl.jobs.train.train",
    "so101rl.../fake.Zero",
    "so101rl",
    "${algo.policy}",
    7,
]


@pytest.mark.parametrize("target", FOREIGN)
def test_a_foreign_run_may_not_call_what_it_likes(target, tmp_path):
    (tmp_path / ".hydra").mkdir()
    inner = {"a": [{"_target_": target, "_args_": ["touch hacked"]}]}
    text = yaml.safe_dump({"seed": 1, "algo": {"policy_kwargs": inner}})
    (tmp_path / ".hydra/config.yaml").write_text(text)
    with pytest.raises(RunNotFoundError, match=f"would call {re.escape(str(target))}"):
        from_run.restore(compose(), tmp_path, keep=(), typed=())


def test_a_foreign_run_may_not_ask_for_our_environment(tmp_path):
    (tmp_path / ".hydra").mkdir()
    text = "tracking: {uri: 'http://far/${oc.env:HOME}'}\n"
    (tmp_path / ".hydra/config.yaml").write_text(text)
    with pytest.raises(RunNotFoundError, match="would look up http"):
        from_run.restore(compose(), tmp_path, keep=(), typed=())

"""A part in a package outside of the repository: docs/examples/outside."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import gymnasium as gym
import pytest
from conftest import PPO_KEYS, ROOT, SHORT

import so101rl
from so101rl.config.compose import compose
from so101rl.config.targets import is_known_class
from so101rl.errors import So101Error

CHOICES = ["base_policy=reach", "env=paper_push_short"]
PACKAGES = "packages=[my_pkg]"


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    """The example as a user has it, below the working directory of a program."""
    home = tmp_path_factory.mktemp("outside") / "it's"
    shutil.copytree(ROOT / "docs/examples/outside", home)
    return home


@pytest.fixture
def search(home, monkeypatch):
    """The word that adds the folder of yaml files; Python finds the package."""
    monkeypatch.chdir(home)
    monkeypatch.syspath_prepend(home)
    yield "hydra.searchpath=['file://" + str(home / "conf").replace("'", "\\'") + "']"
    for name in ("my_pkg", "my_pkg.reach"):
        sys.modules.pop(name, None)


@pytest.fixture(scope="module")
def sweep(home):
    """A sweep of two, one of them with the base policy from outside."""
    where = "hydra.searchpath=['file://" + str(home / "conf").replace("'", "\\'") + "']"
    words = [*SHORT, *PPO_KEYS, PACKAGES, where, CHOICES[1], "hydra.sweep.dir=sweep"]
    words = [word for word in words if not word.startswith("env.")]
    command = [sys.executable, "-m", "so101rl", *words, "-m", "base_policy=reach,zero"]
    env = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=home, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    return home / "sweep"


def test_runs_are_made_with_a_package_and_call_it_only_if_it_is_typed_again(
    sweep, search
):
    infos = [json.loads((sweep / name / "run.json").read_text()) for name in "01"]
    assert [info["groups"]["base_policy"] for info in infos] == ["reach", "zero"]
    assert {info["status"] for info in infos} == {"finished"}
    assert infos[0]["command"].startswith("so101rl -cp ")
    run = str(sweep / "0")
    assert "my_pkg" in Path(run, ".hydra/config.yaml").read_text()
    for load in (so101rl.load, lambda run: compose(["job=evaluate", f'run="{run}"'])):
        with pytest.raises(So101Error, match=r"allow it with packages=\[my_pkg\]"):
            load(run)
    assert "my_pkg.reach" not in sys.modules
    policy = so101rl.load(run, packages=["my_pkg"])
    assert type(policy.make_env().base_policy).__module__ == "my_pkg.reach"


def test_options_from_outside_compose_are_offered_and_made_by_gymnasium(search):
    cfg = compose([search, PACKAGES, *CHOICES])
    assert (cfg.base_policy.gain, cfg.env.max_episode_steps) == (2.0, 100)
    with pytest.raises(So101Error, match=r"Did you mean base_policy=reach\?"):
        compose([search, "base_policy=rech"])
    with pytest.raises(So101Error, match=r"^hydra\.searchpath=/nowhere: expected a"):
        compose(["hydra.searchpath=[file:///nowhere]"])
    overrides = [search, PACKAGES, *CHOICES]
    env = gym.make("so101rl/PaperPush-v0", overrides=overrides)
    assert env.reset(seed=0)[0] in env.observation_space


def test_without_packages_nothing_foreign_is_imported_and_no_class_by_detour(search):
    expected = r"my_pkg.reach.Reach: expected a .*torch, or packages=\[my_pkg\]\.$"
    with pytest.raises(So101Error, match=expected):
        compose([search, *CHOICES])
    with pytest.raises(So101Error, match="expected packages that Python finds"):
        compose(["packages=[no_such]"])
    assert not {"my_pkg", "my_pkg.reach"} & set(sys.modules)
    for target, known in {
        "my_pkg.reach.Reach": True,
        "my_pkg.reach.BasePolicy": False,  # not defined there
        "my_pkg.reach.np.ndarray": False,
        "my_pkg.Reach": False,
        "gymnasium.spaces.Box": False,  # not named in packages
        "torch.nn.ReLU": True,
    }.items():
        assert is_known_class(target, ["my_pkg"]) == known, target

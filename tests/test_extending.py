"""The examples of docs/extending.md, in a copy of the repository."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import OFF_POLICY, PPO_KEYS, ROOT, SHORT
from test_layers import ORDER, imported_modules

EXAMPLES = sorted(path.parent for path in ROOT.glob("docs/examples/*/conf"))
EXAMPLES.remove(ROOT / "docs/examples/outside")  # tests/test_outside.py
MODULES = [path for example in EXAMPLES for path in example.glob("so101rl/**/*.py")]
OPTIONS = {
    path.parent.name: path.stem
    for example in EXAMPLES
    for path in example.glob("conf/*/*.yaml")
}
CHOICES = {group: f"{group}={option}" for group, option in OPTIONS.items()}
PARTS = [CHOICES[group] for group in ("base_policy", "randomization", "hardware")]
TRAININGS = {
    "env": [CHOICES["env"], *PPO_KEYS],
    "parts": [*PARTS, *PPO_KEYS],
    "off_policy": [CHOICES["env"], "algo=sac", *OFF_POLICY],
    "together": list(CHOICES.values()),
}
PROGRAM = """
import json, sys
import numpy as np
from so101rl import cli
from so101rl.build import build_env
from so101rl.config.compose import compose

commands, options = json.loads(sys.argv[1])
for argv in commands:
    sys.argv = argv
    assert cli.main() == 0, argv

env, other = (build_env(compose(options), 2) for _ in range(2))
env.reset(seed=1)
residuals = np.random.default_rng(0).uniform(-1, 1, (2, 30, 2, 6))
for residual in residuals[0]:
    env.step(residual)
other.load_state_dict(env.state_dict())
seen = [[env.step(residual)[:4] for residual in residuals[1]] for env in (env, other)]
for one, two in zip(*seen):
    for value, again in zip(one, two):
        np.testing.assert_array_equal(value, again)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the repository with all examples, and a run of each training.

    All in one process, which also checks that task and base policy continue exactly
    from their saved state.
    """
    folder = tmp_path_factory.mktemp("repository")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("so101rl", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "assets").symlink_to(ROOT / "assets")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for example in EXAMPLES:
        for file in filter(Path.is_file, example.rglob("*")):
            place = folder / file.relative_to(example)
            assert not place.exists(), "an example adds files and changes none"
            assert place.parent.is_dir(), "and makes no folder"
            shutil.copy(file, place)
    commands = []
    for name, words in TRAININGS.items():
        keys = [word for word in SHORT if word.partition("=")[0] not in str(words)]
        where = f"hydra.run.dir={folder}/runs/{name}"
        commands.append(["main.py", "-cp", f"{folder}/conf", *keys, where, *words])
    options = [*TRAININGS["together"], "env.max_episode_steps=20", "n_threads=1"]
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, json.dumps([commands, options])],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return folder


def test_examples_train_are_evaluated_and_tracked(tree):
    for name in TRAININGS:
        assert (tree / "runs" / name / "evaluation.json").is_file()
        assert (tree / "runs" / name / "best_model.zip").is_file()
    lines = (tree / "outputs/results.csv").read_text().splitlines()
    assert f"{tree / 'runs/together'}, finished, residual/n_episodes, 3.0" in lines


@pytest.mark.parametrize("path", MODULES, ids=lambda path: path.stem)
def test_an_example_imports_what_may_be_imported(path):
    room = path.parent.name
    for module in imported_modules(path):
        assert module.split(".")[0] not in ORDER[ORDER.index(room) + 1 :]

"""The examples of docs/extending.md: each is put into a copy of the repository."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import OFF_POLICY, PPO_KEYS, ROOT, SHORT

EXAMPLES = sorted(path for path in (ROOT / "docs/examples").iterdir() if path.is_dir())
OPTIONS = {
    path.parent.name: path.stem
    for example in EXAMPLES
    for path in example.glob("conf/*/*.yaml")
}
# What is trained, with nothing but the option typed, and all of them together.
TRAININGS = {
    **{group: [f"{group}={option}", *PPO_KEYS] for group, option in OPTIONS.items()},
    "algo": [f"algo={OPTIONS['algo']}"],
    "off_policy": [f"env={OPTIONS['env']}", "algo=sac", *OFF_POLICY],
    "together": [f"{group}={option}" for group, option in OPTIONS.items()],
}
PROGRAM = """
import json, sys
import numpy as np
import main
from so101rl.build import build_env
from so101rl.cli import guarded
from so101rl.config.compose import compose

commands, options = json.loads(sys.argv[1])
for argv in commands:
    sys.argv = argv
    assert guarded(main.main) == 0, argv

env, other = (build_env(compose(options), 2) for _ in range(2))
env.reset(seed=1)
residuals = np.random.default_rng(0).uniform(-1, 1, (2, 30, 2, 6))
for residual in residuals[0]:
    env.step(residual)
other.load_state_dict(env.state_dict())
said = [[env.step(residual)[:4] for residual in residuals[1]] for env in (env, other)]
for one, two in zip(*said):
    for value, again in zip(one, two):
        np.testing.assert_array_equal(value, again)
"""


@pytest.fixture(scope="module")
def tree(tmp_path_factory) -> Path:
    """A copy of the repository with all examples in it."""
    folder = tmp_path_factory.mktemp("repository")
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("so101rl", "conf", "tests"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "assets").symlink_to(ROOT / "assets")
    for name in ("main.py", "pyproject.toml"):
        shutil.copy(ROOT / name, folder)
    for example in EXAMPLES:
        for file in filter(Path.is_file, example.rglob("*")):
            place = folder / file.relative_to(example)
            assert not place.exists(), "an example changes no file, it adds some"
            assert place.parent.is_dir(), "and makes no folder"
            shutil.copy(file, place)
    return folder


def python(tree: Path, *words: str) -> str:
    """Run Python where the copy is what `import so101rl` finds."""
    done = subprocess.run(
        [sys.executable, *words],
        cwd=tree,
        env=os.environ | {"PYTHONPATH": str(tree)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def trained(tree) -> Path:
    """Where every training of `TRAININGS` left a run, made by one process.

    It also checks that task and base policy go on exactly from what they remember.
    """
    commands = []
    for name, words in TRAININGS.items():
        keys = [word for word in SHORT if word.partition("=")[0] not in str(words)]
        place = f"hydra.run.dir={tree}/runs/{name}"
        commands.append(["main.py", "-cp", f"{tree}/conf", *keys, place, *words])
    options = [*TRAININGS["together"], "env.max_episode_steps=20", "n_threads=1"]
    python(tree, "-c", PROGRAM, json.dumps([commands, options]))
    return tree / "runs"


@pytest.mark.parametrize("name", TRAININGS)
def test_an_example_trains_and_is_evaluated(trained, name):
    assert (trained / name / "evaluation.json").is_file()
    assert (trained / name / "best_model.zip").is_file()


def test_the_example_of_a_tracker_has_told_the_results(trained, tree):
    told = (tree / "outputs/results.csv").read_text().splitlines()
    place = str(trained / "together")
    assert f"{place}, finished, residual/n_episodes, 3.0" in told


def test_examples_pass_the_checks_of_new_parts(tree):
    """Those that ask every yaml and every module the same."""
    names = [f"[{name}" for name in OPTIONS.values()]
    files = [path.stem for path in (tree / "so101rl").rglob("*.py")]
    added = {path.stem for example in EXAMPLES for path in example.rglob("*.py")}
    assert added <= set(files)
    wanted = " or ".join([*names, *(f"/{name}.py" for name in added)])
    said = python(
        tree,
        *("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist"),
        *("tests/test_conf.py", "tests/test_layers.py", "-k", wanted),
    )
    passed = int(said.splitlines()[-1].split()[0])
    assert passed >= len(OPTIONS) + len(added), said

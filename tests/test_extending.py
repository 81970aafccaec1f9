"""The examples of docs/extending.md, in a copy of the repository."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from conftest import OFF_POLICY, PPO_KEYS, ROOT, SHORT
from finished import outcome
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
TRAININGS = {
    "env": [
        CHOICES["env"],
        *PPO_KEYS,
        "evaluation.figure=true",
        "evaluation.video=true",
    ],
    "off_policy": [CHOICES["env"], "algo=sac", *OFF_POLICY],
    "together": list(CHOICES.values()),
}
# What all jobs make of the first run: no word of the task that the package brings.
JOBS = ["explain", "friction", "export", "view job.window=false",
        "evaluate", "report runs=[RUN] out=RUN/report"]  # fmt: skip
FOREIGN = re.compile(r"sheet|square|\btape|yaw|paper", re.I)
TEXTS = (".csv", ".json", ".jsonl", ".md", ".html", ".tex")
PROGRAM = """
import json, sys
from pathlib import Path
import numpy as np
from finished import interrupted
from so101rl import cli
from so101rl.build import build_env
from so101rl.config.compose import compose

trainings, whole, killed, jobs, options = json.loads(sys.argv[1])
for argv in [*trainings, *jobs]:
    if argv is jobs[0]:
        interrupted(Path(whole), Path(killed), 96)
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


def test_examples_train_are_evaluated_tracked_and_go_on_exactly(tmp_path):
    folder = tmp_path / "repository"
    ignored = shutil.ignore_patterns("__pycache__")
    for name in ("so101rl", "conf"):
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    (folder / "assets").symlink_to(ROOT / "assets")
    shutil.copy(ROOT / "pyproject.toml", folder)
    for example in EXAMPLES:
        for file in filter(Path.is_file, example.rglob("*")):
            place = folder / file.relative_to(example)
            assert place.parent.is_dir() and not place.exists(), "only adds files"
            shutil.copy(file, place)
    start = ["main.py", "-cp", f"{folder}/conf"]
    trainings = []
    for name, words in TRAININGS.items():
        keys = [word for word in SHORT if word.partition("=")[0] not in str(words)]
        where = f"hydra.run.dir={folder}/runs/{name}"
        trainings.append([*start, *keys, where, *words])
    run, killed = folder / "runs/env", folder / "runs/killed"
    jobs = [[*start, "job=resume", f"run={killed}"]]
    for job in JOBS:
        typed = f"job={job}".replace("RUN", str(run)).split()
        reads = [] if "report" in job else [f"run={run}"]
        jobs.append([*start, *reads, *typed])
    options = [*TRAININGS["together"], "env.max_episode_steps=20", "n_threads=1"]
    given = json.dumps([trainings, str(run), str(killed), jobs, options])
    words = [sys.executable, "-c", PROGRAM, given]
    env = os.environ | {"PYTHONPATH": f"{folder}:{ROOT / 'tests'}"}
    done = subprocess.run(words, cwd=folder, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    for name in TRAININGS:
        assert (folder / "runs" / name / "evaluation.json").is_file()
        assert (folder / "runs" / name / "best_model.zip").is_file()
    assert outcome(killed) == outcome(run)
    made = [path for path in run.rglob("*") if path.suffix in TEXTS]
    assert len(made) > 10
    for path in made:
        pictures = re.compile(r"base64,[^\"]*")
        assert not FOREIGN.search(pictures.sub("", path.read_text())), path
    printed = done.stdout.replace(str(folder), "")
    assert not FOREIGN.search(printed), FOREIGN.findall(printed)
    assert "median distance to the spot" in printed
    lines = (folder / "outputs/results.csv").read_text().splitlines()
    assert f"{folder / 'runs/together'}, finished, residual/n_episodes, 3.0" in lines


def test_examples_import_what_may_be_imported():
    for path in MODULES:
        above = ORDER[ORDER.index(path.parent.name) + 1 :]
        assert not {name.split(".")[0] for name in imported_modules(path)} & set(above)

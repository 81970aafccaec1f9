"""Run directories without a training."""

from so101rl.runs.episodes_csv import COLUMNS
from so101rl.runs.run_dir import RunDir
from so101rl.statistics import wilson

CONFIG = {"seed": 3, "env": {"dt": 0.5}, "twice": "${env.dt}"}
GROUPS = {"env": "paper_push", "base_policy": "jacobian", "algo": "ppo"}


def create(path, **changes):
    values = {"cfg": CONFIG, "command": "main.py seed=3", "groups": GROUPS}
    return RunDir.create(path, **{**values, **changes})


def episode(**changes):
    return {**dict.fromkeys(COLUMNS, 0), **changes}


def scores(solved, n=100, **failures):
    rate, interval = solved / n, list(wilson(solved, n))
    return {
        "success_rate": rate,
        "wilson_95": interval,
        "n_episodes": n,
        "failures": failures,
    }

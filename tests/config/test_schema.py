import pytest
from conftest import config_of

from so101rl.config import schema
from so101rl.errors import ConfigError

RAMP = {"start": 0, "end": 1, "steps": 9}
WRONG_RAMPS = [RAMP | {"steps": 0}, RAMP | {"end": 2}, RAMP | {"x": 1}]
ALLOWED = {
    "residual.alpha": [0, 0.5, [0, 0, 0.5, 1, 1, 1], RAMP],
    "evaluation.stop_at": [None, 1, 0.95],
    "seed": [0, 2**32 - 1],
}
REFUSED = {
    "residual.alpha": [-0.1, 1.5, True, None, "x", [0, 2], [True], [[1]], *WRONG_RAMPS],
    "evaluation.stop_at": [0, 1.5],
    "seed": [-1, 2**32],
    "n_envs": [0, 65537],
    "residual.penalty": [-1],
    "algo.learning_rate": [0],
    "algo.n_epochs": [0],
    "algo.gamma": [-3, 1.5],
    "evaluation.tests": [{"A": {}}],
    "prune": ["failed"],
    "run": ["somewhere"],
}


def validate(key, value):
    cfg = config_of()
    node, _, name = key.rpartition(".")
    (cfg[node] if node else cfg)[name] = value
    schema.validate(cfg)


def test_values_within_bounds_pass_and_others_are_refused_by_name():
    for key, values in ALLOWED.items():
        for value in values:
            validate(key, value)
    for key, values in REFUSED.items():
        for value in values:
            with pytest.raises(ConfigError, match=f"^{key}="):
                validate(key, value)

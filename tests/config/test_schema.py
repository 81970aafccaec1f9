import pytest
from conftest import config_of

from so101rl.config import schema
from so101rl.errors import ConfigError

RAMP = {"start": 0, "end": 1, "steps": 9}
ALLOWED = [
    ("residual.alpha", [0, 0.5, [0, 0, 0.5, 1, 1, 1], RAMP]),
    ("evaluation.stop_at", [None, 1, 0.95]),
    ("seed", [0, 2**32 - 1]),
]
REFUSED = [
    ("residual.alpha", [-0.1, 1.5, True, None, "x", [0, 2], RAMP | {"steps": 0}]),
    ("residual.alpha", [RAMP | {"end": 2}, RAMP | {"x": 1}, [True], [[1]]]),
    ("evaluation.stop_at", [0, 1.5, -0.5]),
    ("seed", [-1, 2**32]),
    ("n_envs", [0, 65537]),
    ("residual.penalty", [-1]),
    ("algo.learning_rate", [0, -1]),
    ("algo.n_epochs", [0]),
    ("algo.batch_size", [-5]),
    ("algo.gamma", [-3, 1.5]),
    ("evaluation.tests", [{"A": {}}]),
    ("prune", ["failed"]),
    ("run", ["somewhere"]),
]


def validate(key, value):
    cfg = config_of()
    node, _, name = key.rpartition(".")
    (cfg[node] if node else cfg)[name] = value
    schema.validate(cfg)


@pytest.mark.parametrize(("key", "values"), [*ALLOWED, *REFUSED])
def test_values_within_bounds_pass_and_others_are_refused_by_name(key, values):
    for value in values:
        if (key, values) in ALLOWED:
            validate(key, value)
        else:
            with pytest.raises(ConfigError, match=f"^{key}="):
                validate(key, value)

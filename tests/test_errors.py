import pytest

from so101rl.config import errors
from so101rl.errors import ConfigError

KEYS = ["residual.alpha", "env", "env.act_scale", "base_policy", "n_envs", "seed"]
KEYS += ["terms.mass.low", "terms.grip.low"]
MEANT = [
    ("residual.alfa", "residual.alpha"),
    ("act_scal", "env.act_scale"),
    ("base_polcy", "base_policy"),
    ("algo.act_scale", "env.act_scale"),
    ("alpha", "residual.alpha"),
    ("terms.grp.low", "terms.grip.low"),
    ("output_dir", "hydra.run.dir"),
    ("xyzzy", None),
]


@pytest.mark.parametrize(("typed", "meant"), MEANT)
def test_nearest_key_finds_what_was_meant(typed, meant):
    assert errors.nearest_key(typed, KEYS) == meant


def test_messages_name_key_value_and_what_exists():
    error = ConfigError("n_envs", got="0", expected="a number >= 1")
    assert (str(error), error.key) == ("n_envs='0': expected a number >= 1.", "n_envs")
    error = errors.UnknownOptionError("algo", got="pppo", options=["sac", "ppo"])
    guess = "algo=pppo: there is no such option. Did you mean algo=ppo?"
    assert str(error).splitlines() == [guess, "options of algo: ppo, sac"]
    error = errors.UnknownKeyError(
        "env.act", parent="env", keys=KEYS, siblings=["b", "a"], source="file: "
    )
    assert str(error).startswith("file: env.act: there is no such key. Did you mean")
    assert str(error).endswith("keys of env: a, b")


def test_a_wild_guess_is_not_made():
    assert errors.nearest("quaternion", ["ppo", "sac"]) is None
    assert errors.did_you_mean(None) == ""

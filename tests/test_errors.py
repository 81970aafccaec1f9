import pytest

from so101rl import errors


@pytest.mark.parametrize(
    ("typed", "meant"),
    [
        ("residual.alfa", "residual.alpha"),
        ("env.act_scal", "env.act_scale"),
        ("act_scale", "env.act_scale"),
        ("act_scal", "env.act_scale"),
        ("base_polcy", "base_policy"),
        ("n_env", "n_envs"),
        ("algo.act_scale", "env.act_scale"),
        ("alpha", "residual.alpha"),
        ("terms.grp.low", "terms.grip.low"),
        ("xyzzy", None),
    ],
)
def test_nearest_key_finds_what_was_meant(typed, meant):
    keys = ["residual.alpha", "env", "env.act_scale", "base_policy", "n_envs", "seed"]
    keys += ["terms.mass.low", "terms.grip.low"]
    assert errors.nearest_key(typed, keys) == meant


def test_config_error_names_key_value_and_what_is_right():
    error = errors.ConfigError("n_envs", got=0, expected="a number >= 1")
    assert str(error) == "n_envs=0: expected a number >= 1."
    assert error.key == "n_envs"


def test_unknown_option_lists_the_options():
    error = errors.UnknownOptionError("algo", got="pppo", options=["sac", "ppo"])
    assert str(error).splitlines() == [
        "algo=pppo: there is no such option. Did you mean algo=ppo?",
        "options of algo: ppo, sac",
    ]


def test_unknown_key_lists_the_siblings():
    error = errors.UnknownKeyError(
        "residual.alfa",
        parent="residual",
        keys=["residual.alpha", "residual.penalty"],
        siblings=["penalty", "alpha"],
    )
    assert "Did you mean residual.alpha?" in str(error)
    assert "keys of residual: alpha, penalty" in str(error)


def test_a_wild_guess_is_not_made():
    assert errors.nearest("quaternion", ["ppo", "sac"]) is None
    assert errors.did_you_mean(None) == ""

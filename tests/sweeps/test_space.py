"""Hydra's grammar of values to try, and what is typed for the values of a trial."""

import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf
from optuna.distributions import CategoricalDistribution as LIST
from optuna.distributions import FloatDistribution as FLOAT
from optuna.distributions import IntDistribution as INT

from so101rl.config.compose import compose
from so101rl.sweeps.job import SweepError, every_combination
from so101rl.sweeps.search.space import grid, preset, space, words


def parse(*lines):
    return OverridesParser.create().parse_overrides(list(lines))


GRAMMAR = {
    "interval(0.1,2)": FLOAT(0.1, 2.0),
    "int(interval(1,5))": INT(1, 5),
    "tag(log,interval(1e-4,1e-1))": FLOAT(1e-4, 0.1, log=True),
    "tag(log,int(interval(1,64)))": INT(1, 64, log=True),
    "range(0,10,3)": INT(0, 9, step=3),
    "range(10,0,-3)": INT(1, 10, step=3),
    "range(0,0.3,0.1)": LIST(["0.0", "0.1", "0.2"]),
    "choice(1,0.5,true)": LIST(["1", "0.5", "True"]),
    "null,latest": LIST(["null", "latest"]),
    "choice([8],[8,8])": LIST(["[8]", "[8,8]"]),
    "choice('a b',\"c\")": LIST(["a\\ b", "c"]),
}
WRONG = """
1 interval(2,1) interval(1,1) interval(0,inf) interval(nan,1) choice(1,2,1) range(5,0)
tag(log,interval(0,1)) tag(lgo,interval(1,2)) tag(log,choice(1,2)) range(0,1e9)
shuffle(1,2,3)
"""


def test_the_grammar_of_a_search_is_hydras_and_values_are_typed_as_meant():
    for text, wanted in GRAMMAR.items():
        assert space(parse(f"key={text}")) == {"key": wanted}
    params = {"a": 1e-05, "b": 1.0, "n": 3, "c": "'a b'", "d": "[8,8]", "e": "null"}
    found = [item.value() for item in parse(*words(params))]
    assert list(map(repr, found)) == ["1e-05", "1.0", "3", "'a b'", "[8, 8]", "None"]
    pairs = [
        (one["a"], one["b"]) for one in grid(space(parse("a=1,2", "b=range(0,6,2)")))
    ]
    assert sorted(pairs) == [(a, b) for a in "12" for b in (0, 2, 4)]


@pytest.mark.parametrize("text", WRONG.split())
def test_what_cannot_be_searched_is_refused(text):
    with pytest.raises(SweepError) as error:
        space(parse(f"some.key={text}"))
    assert text in str(error.value) and "\n" not in str(error.value)


def test_neither_a_grid_nor_a_sweep_has_too_many_values_or_no_list():
    with pytest.raises(SweepError, match="x: expected a list"):
        grid(space(parse("a=1,2", "x=interval(0,1)")))
    with pytest.raises(SweepError, match="more than"):
        grid(space(parse(*(f"k{n}=range(0,100)" for n in range(3)))))
    for lines in (["seed=range(0,1000000000)"], ["a=range(0,1000)", "b=range(1,1000)"]):
        with pytest.raises(SweepError, match="more than 100,000"):
            every_combination(parse(*lines), "x")


def test_a_preset_sets_what_typing_would():
    params = {
        "algo": "sac",
        "env/observation": "paper25",
        "residual.alpha": 0.5,
        "residual.penalty": "1e-3",  # listed values stay the text that was typed
        "algo.policy_kwargs.net_arch": "[8,16]",
    }
    text = preset(params, "Trial 1 of tiny: 0.8")
    assert text.startswith("# @package _global_\n# Trial 1 of tiny: 0.8\n")
    found = OmegaConf.to_container(OmegaConf.create(text))
    chosen = [{"override /algo": "sac"}, {"override /env/observation": "paper25"}]
    assert found.pop("defaults") == chosen
    cfg = compose([f"{key}={value}" for key, value in params.items()])
    own = OmegaConf.masked_copy(cfg, [*found])
    assert own == OmegaConf.merge(own, found)
    assert found["residual"] == {"alpha": 0.5, "penalty": 0.001}

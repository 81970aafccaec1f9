"""A training that begins with another run's best policy."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import PPO_KEYS, config_of
from finished import finished_run, interrupted, outcome
from learners import TINY, tiny
from untrained import learner, untrained

from so101rl.errors import So101Error
from so101rl.runs.run_dir import RunDir
from so101rl.training.warm_start import check_same_source, warm_start

pytestmark = pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
SMALL = ["n_threads=1", "algo.policy_kwargs.net_arch=[8]"]


def residuals(model):
    obs = np.random.default_rng(0).normal(size=(9, *model.observation_space.shape))
    return model.predict(obs, deterministic=True)[0]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A run without a training, whose best policy is none that starts."""
    return untrained(tmp_path_factory.mktemp("source"), config_of(*SMALL))[0]


@pytest.mark.parametrize("algo", TINY)
def test_it_begins_with_exactly_that_policy(algo, tmp_path, capsys):
    cfg = config_of(*tiny(algo), "n_threads=1", "residual.exploration_std=null")
    run, before = untrained(tmp_path, cfg)
    model = learner(cfg)
    assert not residuals(model).any()  # zero_init, which must not undo the rest
    cfg.init_from = str(run.path)
    found = warm_start(cfg, model)
    np.testing.assert_array_equal(residuals(model), residuals(before))
    tensors = model.policy.state_dict()
    for name, tensor in before.policy.state_dict().items():
        assert torch.equal(tensor, tensors[name]), name
    assert (found["uid"], found["step"]) == (run.info["uid"], 7)
    said = capsys.readouterr().out
    assert f"init_from {run.path}: all {len(tensors)} tensors" in said
    assert "differs" not in said
    assert ("replay buffer" in said) == ("buffer_size" in cfg.algo)
    if algo == "sac":  # the config may set the exploration anew
        cfg.residual.exploration_std = 0.2
        warm_start(cfg, model)
        std = model.policy.actor.log_std.bias.exp()
        torch.testing.assert_close(std, torch.full((6,), 0.2))


def test_what_differs_is_printed(source, capsys):
    cfg = config_of(*SMALL, "base_policy=zero", "randomization=hard")
    cfg.residual = config_of(*SMALL).residual
    cfg.residual.alpha = 0.5
    cfg.init_from = str(source.path)
    warm_start(cfg, learner(cfg))
    said = capsys.readouterr().out
    assert "differs: residual.alpha: 1.0 -> 0.5\n" in said
    assert " keys, Jacobian -> Zero\n" in said
    assert "differs: randomization: " in said
    assert "env." not in said


REFUSED = [
    ("algo=trpo", "stable_baselines3.PPO learned its policy, sb3_contrib.TRPO"),
    ("algo.policy_kwargs.net_arch=[8,9]", "type algo.policy_kwargs.net_arch=[8]"),
    ("+algo.policy_kwargs.ortho_init=false", "absent -> False; leave it out"),
    ("env/observation=paper25", " -> 1.0\n  and 4 more"),
    ("base_policy=zero", "had env/observation=markov residual.observe_base"),
    ("another order of the observations", "order: "),
]


@pytest.mark.parametrize(("typed", "message"), REFUSED)
def test_what_does_not_fit_is_refused(typed, message, source):
    cfg = config_of(*SMALL, *[typed] * ("=" in typed))
    if "=" not in typed:
        cfg.env.observation = dict(reversed(cfg.env.observation.items()))
    cfg.init_from = str(source.path)
    model = learner(cfg)
    before = residuals(model)
    with pytest.raises(So101Error, match=f"^init_from={source.path}") as error:
        warm_start(cfg, model)
    assert message in str(error.value)
    assert len(str(error.value).splitlines()) <= 6
    np.testing.assert_array_equal(residuals(model), before)


def test_a_run_says_where_it_comes_from_and_only_its_first_step_needs_that(
    run_main, tmp_path
):
    first = shutil.copytree(finished_run(), tmp_path / "outputs" / "first")
    typed = [*PPO_KEYS, "env=paper_push_hard", "keep_checkpoints=9"]
    code, _, whole = run_main(*typed, "init_from=latest", name="whole")
    assert code == 0
    run, info = RunDir.open(whole), RunDir.open(first).info
    assert run.config().init_from == str(first)
    found = run.info["init_from"]
    assert (found["name"], found["uid"]) == (info["name"], info["uid"])
    assert json.loads((whole / "provenance.json").read_text())["init_from"] == found

    moved = shutil.move(first, tmp_path / "moved")
    early, late = (interrupted(whole, tmp_path / f"at-{n}", n) for n in (0, 96))
    assert run_main("job=resume", f"run={late}")[0] == 0
    assert outcome(late) == outcome(whole)
    assert run_main("job=evaluate", f"run={whole}")[0] == 0
    for job, path in (("resume", early), ("reproduce", whole)):
        for source, message in (
            (first, f"init_from={first}: there is no such"),
            (whole, f"init_from={whole}: the policy is not the one that this run"),
            ("null", "init_from"),
        ):
            typed = (f"job={job}", f"run={path}", f"init_from={source}")
            code, said, _ = run_main(*typed)
            assert code == 2
            assert message in said.err
        code, said, _ = run_main(f"job={job}", f"run={path}", f"init_from={moved}")
        assert code == 0, said.err
    assert outcome(early) == outcome(whole)


def test_no_source_is_another_source():
    one = {"path": "there", "sha256": "ab" * 32}
    with pytest.raises(So101Error, match=r"init_from=null: .*256 abababababab -> none"):
        check_same_source({"init_from": one}, None)
    with pytest.raises(So101Error, match=r"init_from=there: .*none -> abababababab"):
        check_same_source({}, one)
    check_same_source({}, None)  # of an earlier version

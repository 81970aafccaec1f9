"""A training that begins with another run's best policy."""

import json
import shutil

import numpy as np
import pytest
import torch
from conftest import PPO_KEYS, config_of
from interrupting import outcome
from learners import TINY, tiny
from untrained import learner, untrained

from so101rl.algos.initialization import set_exploration
from so101rl.errors import So101Error
from so101rl.runs.run_dir import RunDir
from so101rl.training.warm_start import check_same_source, warm_start

pytestmark = pytest.mark.filterwarnings("ignore:You have specified a mini-batch size")
SMALL = ["n_threads=1", "algo.policy_kwargs.net_arch=[8]"]


@pytest.fixture
def source(tmp_path):
    """Make a run, without a training, whose best policy is none that starts."""
    return lambda cfg: untrained(tmp_path / "source", cfg)


def residuals(model):
    obs = np.random.default_rng(0).normal(size=(9, *model.observation_space.shape))
    return model.predict(obs, deterministic=True)[0]


@pytest.mark.parametrize("algo", TINY)
def test_it_begins_with_exactly_that_policy(algo, source, capsys):
    cfg = config_of(*tiny(algo), "n_threads=1")
    run, before = source(cfg)
    model = learner(cfg)
    assert not residuals(model).any()  # zero_init, which must not undo the rest
    cfg.init_from = str(run.path)
    found = warm_start(cfg, model)
    np.testing.assert_array_equal(residuals(model), residuals(before))
    theirs = before.policy.state_dict()
    set_exploration(before, 0.5)
    for name, tensor in model.policy.state_dict().items():
        assert torch.equal(tensor, theirs[name]), name
    assert found["uid"] == run.info["uid"]
    assert found["step"] == 7
    said = capsys.readouterr().out
    assert f"init_from {run.path}: all {len(theirs)} tensors" in said
    assert ("replay buffer" in said) == ("buffer_size" in cfg.algo)
    assert "differs" not in said


@pytest.mark.parametrize(("std", "kept"), [(None, True), (0.2, False)])
def test_how_far_it_explores_is_the_config_s_to_say(std, kept, source):
    cfg = config_of(*tiny("sac"), "n_threads=1")
    run, before = source(cfg)
    cfg.residual.exploration_std = std
    cfg.init_from = str(run.path)
    model = learner(cfg)
    warm_start(cfg, model)
    ours, theirs = (m.policy.actor.log_std.bias for m in (model, before))
    assert torch.equal(ours, theirs) == kept
    if not kept:
        torch.testing.assert_close(ours.exp(), torch.full((6,), std))


def test_what_differs_is_said(source, capsys):
    cfg = config_of(*SMALL)
    run, _ = source(cfg)
    now = config_of(*SMALL, "base_policy=zero", "randomization=hard")
    now.residual = cfg.residual.copy()
    now.residual.alpha = 0.5
    now.init_from = str(run.path)
    warm_start(now, learner(now))
    said = capsys.readouterr().out
    assert "differs: residual.alpha: 1.0 -> 0.5\n" in said
    assert " keys, Jacobian -> Zero\n" in said
    assert "differs: randomization: " in said
    assert "env." not in said
    assert len(said.splitlines()) <= 6


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["algo=trpo"], "stable_baselines3.PPO learned its policy, sb3_contrib.TRPO"),
        (
            ["algo.policy_kwargs.net_arch=[9]"],
            "[8] -> [9]; type algo.policy_kwargs.net_arch=[8]",
        ),
        (["+algo.policy_kwargs.ortho_init=false"], "absent -> False; leave it out"),
        (["env.observation.goal=1.0"], "env.observation.goal: 0.1 -> 1.0"),
        (["env/observation=paper25"], " -> 1.0\n  and 4 more"),
        (["base_policy=zero"], "had env/observation=markov residual.observe_base"),
    ],
)
def test_what_does_not_fit_is_refused(typed, message, source):
    run, _ = source(config_of(*SMALL))
    cfg = config_of(*SMALL, *typed)
    cfg.init_from = str(run.path)
    model = learner(cfg)
    before = residuals(model)
    with pytest.raises(So101Error) as error:
        warm_start(cfg, model)
    assert message in str(error.value)
    assert str(error.value).startswith(f"init_from={run.path}")
    assert len(str(error.value).splitlines()) <= 6
    np.testing.assert_array_equal(residuals(model), before)


def test_another_order_of_the_observations_is_another_policy(source):
    cfg = config_of(*SMALL)
    run, _ = source(cfg)
    cfg.env.observation = dict(reversed(cfg.env.observation.items()))
    cfg.init_from = str(run.path)
    with pytest.raises(So101Error, match="order: "):
        warm_start(cfg, learner(cfg))


# ---- on the command line ----

WARM = [*PPO_KEYS, "env=paper_push_hard", "init_from=outputs/first"]


@pytest.fixture
def first(run_main):
    code, _, path = run_main(*PPO_KEYS, name="outputs/first")
    assert code == 0
    return RunDir.open(path)


def test_a_warm_started_run_says_where_it_comes_from_and_needs_it_no_more(
    first, run_main
):
    code, said, path = run_main(*WARM, "init_from=latest", name="second")
    assert code == 0
    run = RunDir.open(path)
    assert run.config().init_from == str(first.path)
    found = run.info["init_from"]
    assert (found["name"], found["uid"]) == (first.info["name"], first.info["uid"])
    record = json.loads((path / "provenance.json").read_text())
    assert record["init_from"] == found
    # Reproducing it does need the source, and the same one.
    code, said, _ = run_main("job=reproduce", f"run={path}")
    assert code == 0
    assert f"init_from {first.path}" in said.out
    shutil.move(first.path, "moved")
    assert run_main("job=evaluate", f"run={path}")[0] == 0
    code, said, _ = run_main("job=reproduce", f"run={path}")
    assert code == 2
    assert said.err.startswith(f"error: init_from={first.path}: there is no such")
    assert run_main("job=reproduce", f"run={path}", "init_from=moved")[0] == 0
    for other in (path, "null"):
        code, said, _ = run_main("job=reproduce", f"run={path}", f"init_from={other}")
        assert code == 2
        assert f"init_from={other}: the policy is not the one" in said.err


@pytest.mark.parametrize("algo", ["ppo", pytest.param("sac", marks=pytest.mark.slow)])
def test_a_warm_started_run_that_was_shot_ends_as_one_that_was_not(
    algo,
    run_main,
    shoot,
):
    keys = tiny(algo)
    assert run_main(*keys, name="first")[0] == 0
    warm = [*keys, "env=paper_push_hard", "init_from=first"]
    _, _, whole = run_main(*warm, name="whole")
    for point in (5, 22):
        shoot(point, *warm, name=f"shot-{point}")
    best = whole.parent / "first" / "checkpoints" / "best"
    shutil.move(best, "elsewhere")
    code, said, _ = run_main("job=resume", "run=shot-22")
    assert code == 0, said.err  # past its beginning it needs nobody
    assert outcome(whole.parent / "shot-22") == outcome(whole)
    shutil.copytree(whole / "checkpoints" / "final", best)
    code, said, _ = run_main("job=resume", "run=shot-5")
    assert code == 2
    assert "is not the one that this run began with" in said.err
    shutil.rmtree(best)
    shutil.move("elsewhere", best)
    code, said, _ = run_main("job=resume", "run=shot-5", "init_from=null")
    assert code == 2
    assert "init_from: " in said.err
    shutil.move("first", "moved")
    code, said, _ = run_main("job=resume", "run=shot-5", "init_from=moved")
    assert code == 0, said.err
    assert "starting again from step 0" in said.out
    assert outcome(whole.parent / "shot-5") == outcome(whole)


SOURCE = {"path": "there", "sha256": "ab" * 32}


@pytest.mark.parametrize(
    ("begun", "source", "message"),
    [
        (SOURCE, None, "init_from=null: .*sha256 abababababab -> none"),
        (None, SOURCE, "init_from=there: .*sha256 none -> abababababab"),
        (SOURCE, SOURCE | {"sha256": "cd" * 32}, "-> cdcdcdcdcdcd"),
    ],
)
def test_no_source_is_another_one(begun, source, message):
    with pytest.raises(So101Error, match=message):
        check_same_source({"init_from": begun}, source)
    check_same_source({"init_from": begun}, begun)
    check_same_source({}, None)  # of an earlier version


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        (["init_from=nowhere"], "init_from=nowhere: there is no such directory"),
        (["init_from=latest"], "init_from=latest: no run with checkpoints/best"),
        (["job=evaluate", "init_from=x"], "only a training begins with a run's"),
        (["-m", "init_from=latest"], "in a sweep, each run would begin with the"),
        (["-m", "init_from=x,latest"], "in a sweep, each run would begin with the"),
    ],
)
def test_mistakes_are_answered_before_there_is_a_run(typed, message, run_main):
    code, said, path = run_main(*PPO_KEYS, *typed)
    assert code == 2
    assert message in said.err
    assert len(said.err.splitlines()) <= 2
    assert not (path / "run.json").exists()

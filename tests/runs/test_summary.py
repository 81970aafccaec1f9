"""What is said of a run is no bolder than its numbers."""

import pytest
from conftest import config_of
from run_dirs import create, episode, scores

from so101rl.errors import DivergedError, So101Error
from so101rl.runs.summary import SIGNIFICANCE, run_summary


@pytest.fixture
def run(tmp_path):
    return create(tmp_path / "a run")


@pytest.mark.parametrize(
    ("base", "residual", "said"),
    [
        (40, 90, "Better than its base beyond chance**: won 50, lost 0"),
        (90, 40, "Worse than its base beyond chance**: won 0, lost 50"),
        (40, 50, "Better than its base beyond chance**: won 10, lost 0"),  # overlap
        (40, 44, "No difference from its base shown**: won 4, lost 0"),
    ],
)
def test_the_verdict_is_that_of_the_same_episodes(run, base, residual, said):
    solved = {"base": base, "residual": residual}
    policies = {name: scores(k) for name, k in solved.items()}
    run.write_evaluation({"policies": policies})
    run.write_episodes(
        episode(policy=name, seed=seed, is_success=seed < k)
        for name, k in solved.items()
        for seed in range(100)
    )
    run.finish("finished")
    first, *_ = run_summary(run).splitlines()
    assert first.startswith(f"**{said}")
    assert "one seed" in first


def test_the_page_and_explain_agree_what_chance_is():
    assert config_of("job=explain").job.significance == SIGNIFICANCE


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (So101Error("seed=-1"), "correct the key"),
        (ZeroDivisionError("1 / 0"), "please report it"),
        (OSError("disk full"), "job=resume"),
    ],
)
def test_what_helps_depends_on_the_kind_of_error(run, error, said):
    run.finish("failed", error)
    text = run_summary(run)
    assert said in text
    assert ("job=resume" in text) == (said == "job=resume")


def test_numbers_origin_and_place_are_named(run):
    run.log(4096, {"a": 1.0})
    base = scores(74, jammed=6, wrong_yaw=20)
    run.write_evaluation({"policies": {"base": base, "residual": scores(100)}})
    run.finish("finished")
    text = run_summary(run)
    expected = "74.0 [64.6, 81.6] % of 100 episodes; failures: wrong_yaw 20, jammed 6"
    assert f"- **base**: {expected}\n" in text
    assert (
        "- **residual**: 100.0 [96.3, 100.0] % of 100 episodes; failures: none" in text
    )
    assert "env paper_push, base_policy jacobian, algo ppo; seed 3" in text
    assert "4,096 env steps" in text
    assert f"`{run.info['command']}`" in text
    assert f"job=explain run='{run.path}'`" in text  # quoted, for it has a space


def test_a_warm_start_is_told(tmp_path):
    run = create(tmp_path / "run", init_from={"name": "zero-ppo-s1-calm-otter"})
    assert "began with: the best policy of zero-ppo-s1-calm-otter" in run_summary(run)


def test_one_policy_is_not_compared(run):
    run.write_evaluation({"policies": {"base": scores(40)}})
    run.finish("finished")
    assert run_summary(run).startswith("**Finished**\n\n- **base**: 40.0")


def test_an_early_end_is_told_with_the_command_that_goes_on(run):
    run.log(640, {"a": 1.0})
    run.finish("killed", KeyboardInterrupt())
    text = run_summary(run)
    assert text.startswith("**Killed after 640 env steps**: KeyboardInterrupt: ")
    assert f"python main.py job=resume run='{run.path}'" in text


def test_what_diverged_is_not_to_be_resumed(run):
    run.finish("failed", DivergedError("the reward", "nan"))
    text = run_summary(run)
    assert "other settings" in text and "job=explain" in text
    assert "job=resume" not in text


@pytest.mark.parametrize("status", ["running", "killed"])
def test_what_cannot_go_on_has_no_command(tmp_path, status):
    groups = {"job": "evaluate", "env": "paper_push", "tracking": ["a", "b"]}
    run = create(tmp_path / "run", groups=groups)
    if status == "killed":
        run.finish("killed", KeyboardInterrupt())
    text = run_summary(run)
    assert text.startswith(f"**{status.capitalize()}**")
    assert "python main.py job" not in text
    assert "tracking" not in text

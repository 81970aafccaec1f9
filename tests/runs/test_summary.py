"""A run's summary claims no more than its numbers show."""

import pytest
from conftest import config_of
from run_dirs import create, episode, scores

from so101rl.errors import DivergedError, So101Error
from so101rl.runs.failures import timeout_entry
from so101rl.runs.summary import SIGNIFICANCE, run_summary


@pytest.fixture
def run(tmp_path):
    return create(tmp_path / "a run")


def test_the_verdict_is_that_of_the_same_episodes(run):
    run.finish("finished")
    for base, residual, finding in (
        (90, 40, "Worse than its base beyond chance**: won 0, lost 50"),
        (40, 50, "Better than its base beyond chance**: won 10, lost 0"),  # overlap
        (40, 44, "No difference from its base shown**: won 4, lost 0"),
    ):
        own = {"base": base, "residual": residual}
        run.write_evaluation({"policies": {key: scores(own[key]) for key in own}})
        run.write_episodes(
            episode(policy=name, seed=seed, is_success=seed < own[name])
            for name in own
            for seed in range(100)
        )
        first, *_ = run_summary(run).splitlines()
        assert first.startswith(f"**{finding}") and "one seed" in first
    assert config_of("job=explain").job.significance == SIGNIFICANCE


def test_the_remedy_depends_on_the_kind_of_error(run):
    run.log(640, {"a": 1.0})
    for error, remedy, job in (
        (So101Error("seed=-1"), "correct the key", None),
        (ZeroDivisionError("1 / 0"), "please report it", None),
        (OSError("disk full"), "continue where it stopped", "resume"),
        (DivergedError("the reward", "nan"), "other settings", "explain"),
        (None, "hydra.sweeper.timeout_s", "resume"),
    ):
        run.finish("failed", error)
        if error is None:
            run.mark_failed(timeout_entry(5.0))
        text = run_summary(run)
        assert text.startswith("**Failed after 640 env steps**: ")
        assert remedy in text
        command = f"`python main.py job={job} run='{run.path}'`"  # it has a space
        assert text.count("python main.py job=") == text.count(command) == bool(job)


def test_numbers_origin_and_directory_are_named(tmp_path):
    run = create(tmp_path / "run", init_from={"name": "zero-ppo-s1-calm-otter"})
    run.log(4096, {"a": 1.0})
    base = scores(74, jammed=6, wrong_yaw=20)
    run.write_evaluation({"policies": {"base": base, "residual": scores(100)}})
    run.finish("finished")
    text = run_summary(run)
    for line in (
        "**base**: 74.0 [64.6, 81.6] % of 100 episodes; failures: wrong_yaw 20, jam",
        "**residual**: 100.0 [96.3, 100.0] % of 100 episodes; failures: none",
        "what: env paper_push, base_policy jacobian, algo ppo; seed 3",
        "began with: the best policy of zero-ppo-s1-calm-otter",
        "effort: 4,096 env steps",
        f"command: `{run.info['command']}`",
        f"directory: `{run.path}`",
    ):
        assert f"\n- {line}" in text
    assert f"job=explain run={run.path}`" in text


def test_a_bare_base_is_not_compared_and_what_cannot_be_continued_has_no_command(run):
    run.info["groups"] = {"job": "evaluate", "tracking": ["a", "b"]}
    for status in ("Running", "Killed"):
        text = run_summary(run)
        assert text.startswith(f"**{status}**")
        assert "python main.py job" not in text and "tracking" not in text
        run.finish("killed", KeyboardInterrupt())
    run.write_evaluation({"policies": {"base": scores(40)}})
    run.finish("finished")
    assert run_summary(run).startswith("**Finished**\n\n- **base**: 40.0")

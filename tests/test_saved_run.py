"""`run=` brings a run's config back; what is typed anew moves what depends on it."""

import pytest
from test_cli import finished_run

HARD = """# @package _global_
defaults:
  - paper_push@env
  - override /randomization: hard
"""


@pytest.fixture
def hard(conf):
    """An env that chooses another randomization than the root does."""
    (conf / "env/hard.yaml").write_text(HARD)
    text = "_target_: so101rl.fake.Terms\nspread: 2\n"
    (conf / "randomization/hard.yaml").write_text(text)
    (conf / "randomization/none.yaml").write_text(text.replace("2", "0"))


def spread(command, *typed):
    answer = command("job=evaluate", *typed)
    assert answer.code == 0, answer.err
    return answer.cfgs[0].randomization.get("spread")


def test_a_typed_option_brings_the_groups_that_it_chooses(command, hard):
    plain = finished_run(command)
    assert spread(command, f"run={plain}") is None
    assert spread(command, f"run={plain}", "env=hard") == 2
    assert spread(command, f"run={plain}", "env=hard", "randomization=none") == 0
    assert spread(command, f"run={plain}", "base_policy=zero") is None


def test_a_runs_own_choices_beat_those_of_its_own_options(command, hard):
    run = finished_run(command, "env=hard", "randomization=none")
    assert spread(command, f"run={run}") == 0
    assert spread(command, f"run={run}", "env=hard") == 2
    assert spread(command, f"run={finished_run(command, 'env=hard')}") == 2


def test_typed_options_bring_their_choices_in_a_sweep_too(command, hard):
    run = finished_run(command)
    answer = command("-m", "job=evaluate", f"run={run}", "env=hard,paper_push")
    assert [cfg.randomization.get("spread") for cfg in answer.cfgs] == [2, None]

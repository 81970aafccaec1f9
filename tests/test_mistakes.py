"""What people type wrong, and the answer: the right hint, at once, in short."""

import shlex
import shutil
import textwrap

import pytest
from conftest import CONF, run_cli

from so101rl.config import messages

COLUMNS, MAX_LINES = 80, 6  # of a terminal, for one message

# What is typed, and what the first line of the answer says.
TYPED = [
    # keys
    ("residual.alfa=0.5", "Did you mean residual.alpha?"),
    ("lr=0.001", "Did you mean algo.learning_rate?"),
    ("output_dir=here", "Did you mean hydra.run.dir?"),
    ("env.act_scale.x=1", "Did you mean env.act_scale?"),
    ("algo=sac algo.n_steps=256", "algo=sac has no such key; algo=ppo,"),
    ("job.window=true", "job=train has no such key; job=view has it."),
    ("+seed=3", "there is seed already. Did you mean seed=3?"),
    ("~residual.alpha", "residual.alpha=(removed): expected a value."),
    # groups
    ("algo=PPO", "Did you mean algo=ppo?"),
    ("base_policy=none", "Did you mean base_policy=zero?"),
    ("env.observation=paper25", "Did you mean env/observation=paper25?"),
    ("~algo", "algo=(removed): expected one of its options: crossq, ppo"),
    ("hardware.actuator=bam", "hardware.actuator=bam: expected one of bam_12v"),
    # values
    ("seed=abc", "seed=abc: expected a whole number"),
    ("n_envs=-4", "n_envs=-4: expected a number between 1 and 65536."),
    ("env.act_scale=big", "env.act_scale=big: expected a number like 0.05"),
    ("env.act_scale=nan", "env.act_scale=nan: expected a number"),
    ("++env.act_scale=null", "env.act_scale=null: expected a number"),
    ("env.max_episode_steps=true", "=True: expected a whole number"),
    ("algo.policy=5", "algo.policy=5: expected text"),
    ("algo.policy_kwargs.net_arch=64", "expected a list."),
    ("algo.policy_kwargs.net_arch=[a]", "net_arch[0]=a: expected a whole number"),
    ("residual.alpha=[1,1,1,1,1]", "expected one number or six"),
    ("'residual.alpha={start: 0, end: 1}'", "{start: a, end: b, steps: n}"),
    ("'residual.alpha=\"0.5\"'", "residual.alpha='0.5': expected a number"),
    ("evaluation.video=yes", "evaluation.video=yes: expected true or false."),
    ("evaluation.role=train", "evaluation.role=train: expected report or tune."),
    ("algo._target_=stable_baselines3.Foo", "expected a class that exists"),
    ("+algo.lr=0.1", "lr: PPO has no such key. Did you mean learning_rate?"),
    ("env.act_scale='${env.actscale}'", "Did you mean env.act_scale?"),
    # how it is written
    ("--seed 3", "written without dashes. Did you mean seed=3?"),
    ("seed 3", "without spaces. Did you mean seed=3?"),
    ("residual.alpha:0.5", "Did you mean residual.alpha=0.5?"),
    ("residual.alpha=[1, 1, 1]", "a bracket is open; write lists without spaces"),
    ("seed='\"1'", "cannot be read"),
    ("evaluate run=latest", "Did you mean job=evaluate?"),
    ("old", "expected key=value. Did you mean run=old?"),
    ("--config-name paper_push", "Did you mean env=paper_push?"),
    ("seed=range(3)", "several values need -m (one run each)"),
    ("algo=sac -m seed=1,abc n_envs=3", "seed=abc: expected a whole number"),
    ("-m hydra/sweeper=basic algo=ppo,pppo n_envs=3", "Did you mean algo=ppo?"),
    ("-m hydra/sweeper=basic residual.alfa=1,2", "Did you mean residual.alpha?"),
    # jobs, runs, files
    ("job._target_=os.getcwd", "a function of so101rl"),
    ("job._target_=so101rl.nowhere.job", "a function of so101rl"),
    ("job=resume", "job=resume needs run=RUN_DIR"),
    ("prune=failed", "prune=failed: expected null; only job=runs deletes."),
    ("-m init_from=latest", "init_from=latest: expected a path"),
    ("job=view init_from=old", "init_from=old: expected to be left out"),
    ("job=evaluate run=typo", "run=typo: there is no such directory."),
    ("run=old", "only jobs that read a run take it, such as job=evaluate"),
    ("job=evaluate checkpoint=file.zip", "add trust=true if you know"),
    ("checkpoint=file.zip", "it is for job=evaluate, and this is job=train."),
    ("hydra.run.dir=old", "hydra.run.dir=old: it already holds a run"),
    ("hydra.run.dir=file.zip/x", "file.zip/x: Not a directory."),
]  # fmt: skip

# A file that is written wrong, and what is answered when it is chosen.
GLOBAL = "# @package _global_\n"
WRITTEN = [
    ("experiment", GLOBAL + "residual:\n\talpha: 1\n", "line 3: found character '\\t'"),
    ("experiment", GLOBAL + "sead: 1\n", "mine.yaml: sead: there is no such key."),
    ("experiment", GLOBAL + "seed: abc\n", "seed=abc: expected a whole number."),
    ("experiment", GLOBAL + "evaluation: {tests: {A: x}}\n", "tests=A: expected small"),
    ("experiment", "seed: 1\n", "the first line has to be `# @package _global_`."),
    ("experiment", GLOBAL + "defaults: [algo: sac]\n", "`- override /algo: sac`?"),
    ("experiment", GLOBAL + "n_envs: ${env.foo}\n", "n_envs refers to env.foo"),
    ("base_policy", "gain: 1\n", "base_policy._target_=null: expected the class"),
    ("base_policy", "_target_: so101rl.base_policies.mine.Mine\n", "class of so101rl"),
    ("base_policy", "_target_: so101rl.base_policies.jacobian.Jacobian\n", "needs act"),
    ("base_policy", "- a\n- b\n", "mine.yaml: expected `key: value` lines"),
    ("base_policy", "", "base_policy=null: expected one of the group's options."),
]  # fmt: skip


@pytest.fixture
def answer(tmp_path, monkeypatch, capsys):
    """Run the program where there are only a run, a file and an empty folder."""
    for name in ("old", "empty"):
        (tmp_path / name).mkdir()
    (tmp_path / "old" / "run.json").write_text("{}")
    (tmp_path / "file.zip").write_text("no zip")
    before = sorted(tmp_path.rglob("*"))
    monkeypatch.chdir(tmp_path)

    def run(*words, expected, conf=CONF):
        code = run_cli(*words, conf=conf)
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert sorted(tmp_path.rglob("*")) == before, "something is left behind"
        assert err.startswith("error: ") and expected in err.splitlines()[0], err
        lines = [
            part for one in err.splitlines() for part in textwrap.wrap(one, COLUMNS)
        ]
        assert len(lines) <= MAX_LINES, err

    return run


@pytest.mark.parametrize(("typed", "expected"), TYPED, ids=[line for line, _ in TYPED])
def test_a_mistake_is_answered_in_short_with_the_right_hint_first(
    answer, typed, expected
):
    answer(*shlex.split(typed), expected=expected)


@pytest.fixture(scope="module")
def conf(tmp_path_factory):
    return shutil.copytree(CONF, tmp_path_factory.mktemp("written") / "conf")


@pytest.mark.parametrize(("group", "text", "expected"), WRITTEN)
def test_a_mistake_in_a_file_names_the_file_or_the_key(
    answer, conf, group, text, expected
):
    (conf / group / "mine.yaml").write_text(text)
    answer(f"{group}=mine", expected=expected, conf=conf)


def test_a_gl_backend_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "direct3d")
    code = compile("raise RuntimeError('invalid value')", "/m/gl_context.py", "exec")
    with pytest.raises(RuntimeError) as caught:
        exec(code)
    message = str(messages.user_error(caught.value))
    assert message.startswith("MUJOCO_GL=direct3d: expected egl, osmesa or glfw")
    assert messages.user_error(RuntimeError("invalid value")) is None

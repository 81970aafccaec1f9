"""What people type wrong, and what they are told: the right hint, at once, in short."""

import shlex
import shutil
import sys
import textwrap

import pytest
from conftest import CONF, ROOT

import main
from so101rl.cli import guarded
from so101rl.config import messages

COLUMNS, MOST_LINES = 80, 6  # what a message may take of a terminal

# What is typed, and what the first line of the answer says.
TYPED = [
    # keys
    ("residual.alfa=0.5", "Did you mean residual.alpha?"),
    ("algo.lr=0.001", "Did you mean algo.learning_rate?"),
    ("lr=0.001", "Did you mean algo.learning_rate?"),
    ("learning_rate=1e-4", "Did you mean algo.learning_rate?"),
    ("timesteps=1000", "Did you mean total_timesteps?"),
    ("steps=1000", "Did you mean total_timesteps?"),
    ("num_envs=8", "Did you mean n_envs?"),
    ("alpha=0.5", "Did you mean residual.alpha?"),
    ("output_dir=here", "Did you mean hydra.run.dir?"),
    ("env.reward.succes=1", "Did you mean env.reward.success?"),
    ("algo=sac algo.n_steps=256", "algo=sac has no such key; algo=ppo,"),
    ("tracking=none tracking.uri=http://x", "no such key; tracking=mlflow has it."),
    ("job.window=true", "job=train has no such key; job=view has it."),
    ("+residual.beta=1", "residual.beta: there is no such key."),
    ("+seed=3", "there is seed already. Did you mean seed=3?"),
    ("~residual.alpha", "residual.alpha=(removed): expected a value."),
    # groups
    ("env=paperpush", "Did you mean env=paper_push?"),
    ("algo=PPO", "Did you mean algo=ppo?"),
    ("base_policy=none", "Did you mean base_policy=zero?"),
    ("randomization=off", "Did you mean randomization=none?"),
    ("tracking=false", "Did you mean tracking=none?"),
    ("tracking=[mlflow,wandb]", "tracking=wandb: there is no such option."),
    ("job=reports", "job=reports: there is no such option. Did you mean job=report?"),
    ("experiment=hrad", "Did you mean experiment=hard?"),
    ("env.observation=paper25", "Did you mean env/observation=paper25?"),
    ("observation=paper25", "Did you mean env/observation=paper25?"),
    ("+experiment=hard", "Did you mean experiment=hard?"),
    ("~algo", "algo=(removed): expected one of its options: crossq, ppo"),
    ("algo=null", "algo=null: there is no such option."),
    ("hardware.actuator=bam", "hardware.actuator=bam: expected one of bam_12v"),
    # values
    ("seed=abc", "seed=abc: expected a whole number"),
    ("seed=-1", "seed=-1: expected a number between 0 and"),
    ("n_envs=0", "n_envs=0: expected a number between 1 and 65536."),
    ("n_envs=-4", "n_envs=-4: expected a number between 1 and 65536."),
    ("total_timesteps=200k", "total_timesteps=200k: expected a whole number"),
    ("residual.alpha=2", "residual.alpha=2: expected a number in [0, 1]"),
    ("residual.alpha=-0.5", "residual.alpha=-0.5: expected a number in [0, 1]"),
    ("residual.alpha=[1,1,1,1,1]", "a list of 6 such numbers"),
    ("'residual.alpha={start: 0, end: 1}'", "{start: a, end: b, steps: n}"),
    ("residual.alpha=", "residual.alpha=: expected a number in [0, 1]"),
    ("'residual.alpha=\"0.5\"'", "residual.alpha='0.5': expected a number"),
    ("residual.alpha=0,5", "several values need -m"),
    ("evaluation.stop_at=98", "evaluation.stop_at=98.0: expected a number between"),
    ("evaluation.stop_at=98%", "evaluation.stop_at=98%: expected a number."),
    ("evaluation.video=yes", "evaluation.video=yes: expected true or false."),
    ("algo.gamma=99", "algo.gamma=99: expected a number between 0 and 1."),
    ("algo.learning_rate=", "expected a number like 0.001."),
    ("algo.policy_kwargs.net_arch=64", "expected a list."),
    ("env.start_pose=[0.2,0.0]", "env.start_pose=[0.2, 0.0]: expected 3 values."),
    ("env.start_pose=[0.6,0,0]", "the start is 0.60 m from the arm's base"),
    ("env=paper_push_original", "sheet 148 x 210 mm cannot fit the 160 x 160 mm"),
    ("algo._target_=stable_baselines3.Foo", "expected a class that exists"),
    ("algo._target_=my.Class", "expected an existing class of so101rl, sb3"),
    ("+algo.lr=0.1", "lr: PPO has no such key. Did you mean learning_rate?"),
    ("env.act_scale='${env.actscale}'", "Did you mean env.act_scale?"),
    # how it is written
    ("--seed 3", "written without dashes. Did you mean seed=3?"),
    ("--seed=3", "written without dashes. Did you mean seed=3?"),
    ("--num-envs 8", "Did you mean num_envs=8?"),
    ("residual.alpha = 0.5", "without spaces. Did you mean residual.alpha=0.5?"),
    ("seed= 3", "without spaces. Did you mean seed=3?"),
    ("seed 3", "without spaces. Did you mean seed=3?"),
    ("residual.alpha:0.5", "Did you mean residual.alpha=0.5?"),
    ("residual.alpha=[1, 1, 1]", "a bracket is open; write lists without spaces"),
    ("evaluate run=latest", "Did you mean job=evaluate?"),
    ("PPO", "Did you mean algo=ppo?"),
    ("old", "expected key=value. Did you mean run=old?"),
    ("--config-name paper_push", "Did you mean env=paper_push?"),
    ("seed=1,2,3", "several values need -m (one run each)"),
    ("algo=ppo,sac", "several values need -m (one run each)"),
    ("-m seed=1,abc", "seed=abc: expected a whole number"),
    # jobs, runs, files
    ("job=resume", "job=resume needs run=RUN_DIR"),
    ("job=export", "job=export needs run=RUN_DIR"),
    ("job=explain", "run=null: expected a run directory, or latest."),
    ("job=runs prune=all", "expected checkpoints, failed, or an age in days"),
    ("prune=failed", "prune=failed: expected null; only job=runs deletes."),
    ("init_from=typo", "init_from=typo: there is no such directory."),
    ("job=view init_from=old", "init_from=old: expected to be left out"),
    ("job=evaluate run=typo", "run=typo: there is no such directory."),
    ("job=evaluate run=file.zip", "run=file.zip: there is no such directory."),
    ("job=evaluate run=empty", "run=empty: not a run directory"),
    ("job=evaluate run=latest", "no run with checkpoints/best in outputs/"),
    ("run=old", "only jobs that read a run take it, such as job=evaluate"),
    ("job=evaluate checkpoint=file.zip", "add trust=true if you know"),
    ("job=evaluate checkpoint=no.zip trust=true", "no.zip: there is no such file"),
    ("checkpoint=file.zip", "it is for job=evaluate, and this is job=train."),
    ("replay=file.zip", "it is for job=view, and this is job=train."),
    ("job=view job.window=false replay=file.zip", "replay=file.zip cannot be read"),
    ("hydra.run.dir=old", "hydra.run.dir=old: it already holds a run"),
    ("hydra.run.dir=file.zip/x", "file.zip/x: Not a directory."),
]  # fmt: skip

# A file that is written wrong, with a word to choose it, and what is answered.
GLOBAL = "# @package _global_\n"
WRITTEN = [
    ("experiment", GLOBAL + "residual:\n\talpha: 1\n", "line 3: found character '\\t'"),
    ("experiment", GLOBAL + "seed: 1\n n_envs: 2\n", "mine.yaml, line 3: mapping"),
    ("experiment", GLOBAL + "residual: {alfa: 1}\n", "Did you mean residual.alpha?"),
    ("experiment", GLOBAL + "sead: 1\n", "mine.yaml: sead: there is no such key."),
    ("experiment", GLOBAL + "seed: abc\n", "seed=abc: expected a whole number."),
    ("experiment", GLOBAL + "residual: 3\n", "int is not a subclass of ResidualConf"),
    ("experiment", "seed: 1\n", "the first line has to be `# @package _global_`."),
    ("experiment", GLOBAL + "defaults: [algo: sac]\n", "`- override /algo: sac`?"),
    ("experiment", GLOBAL + "defaults: [override /algo: pppo]\n", "mean algo=ppo?"),
    ("experiment", GLOBAL + "env: {act_scal: 1}\n", "env.act_scal: TaskEnv has no"),
    ("experiment", GLOBAL + "env: {act_scale: big}\n", "act_scale=big: expected a num"),
    ("experiment", GLOBAL + "env: {start_pose: 1}\n", "start_pose=1: expected 3 val"),
    ("experiment", GLOBAL + "n_envs: ${env.foo}\n", "n_envs refers to env.foo"),
    ("base_policy", "gain: 1\n", "base_policy._target_=null: expected the class"),
    ("base_policy", "_target_: so101rl.base_policies.mine.Mine\n", "an existing class"),
    ("base_policy", "_target_: so101rl.base_policies.zero.Zero\ngain: 1\n", "no such"),
    ("base_policy", "_target_: so101rl.base_policies.jacobian.Jacobian\n", "needs act"),
    ("base_policy", "- a\n- b\n", "mine.yaml: expected `key: value` lines"),
    ("base_policy", "", "base_policy=null: expected one of the group's options."),
]  # fmt: skip


@pytest.fixture
def answer(tmp_path, monkeypatch, capsys):
    """Run `main.py` where nothing is but a run, a file and an empty folder."""
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # `guarded` sets it: undone afterwards
    work = tmp_path / "work"
    for name in ("old", "empty"):
        (work / name).mkdir(parents=True)
    (work / "old" / "run.json").write_text("{}")
    (work / "file.zip").write_text("no zip")
    before = sorted(work.rglob("*"))
    monkeypatch.chdir(work)

    def run(*words, conf=CONF):
        monkeypatch.setattr(sys, "argv", ["main.py", "-cp", str(conf), *words])
        try:
            code = guarded(main.main)
        except SystemExit as stop:
            code = stop.code
        out, err = capsys.readouterr()
        assert (code, out) == (2, "")
        assert "Traceback" not in err
        assert sorted(work.rglob("*")) == before, "something is left behind"
        return err

    return run


def check(told, expected):
    first, *rest = told.splitlines()
    assert expected in first
    assert first.startswith("error: ")
    lines = [part for line in [first, *rest] for part in textwrap.wrap(line, COLUMNS)]
    assert len(lines) <= MOST_LINES, told


@pytest.mark.parametrize(("typed", "expected"), TYPED, ids=[line for line, _ in TYPED])
def test_a_mistake_is_answered_in_short_with_the_right_hint_first(
    answer, typed, expected
):
    check(answer(*shlex.split(typed)), expected)


@pytest.mark.parametrize(("group", "text", "expected"), WRITTEN)
def test_a_mistake_in_a_file_names_the_file_or_the_key(
    answer, tmp_path, group, text, expected
):
    conf = tmp_path / "conf"
    shutil.copytree(ROOT / "conf", conf)
    (conf / group / "mine.yaml").write_text(text)
    check(answer(f"{group}=mine", conf=conf), expected)


def test_settings_may_stand_before_and_after_a_flag(answer):
    told = answer("algo=sac", "-m", "seed=1,abc", "n_envs=3")
    check(told, "seed=abc: expected a whole number")


def test_a_gl_backend_that_is_none_is_named(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "direct3d")
    code = compile("raise RuntimeError('invalid value')", "/m/gl_context.py", "exec")
    with pytest.raises(RuntimeError) as caught:
        exec(code)
    told = str(messages.user_error(caught.value))
    assert told.startswith("MUJOCO_GL=direct3d: expected egl, osmesa or glfw")
    assert messages.user_error(RuntimeError("invalid value")) is None

"""What people type wrong, and the answer: the right hint, at once, in short."""

import shlex
import shutil
import textwrap

import pytest
from conftest import CONF, run_cli

from so101rl.config import messages

# What is typed, and what the first line of the answer says.
TYPED = [
    ("residual.alfa=0.5", "Did you mean residual.alpha?"),
    ("act_scal=1", "Did you mean env.act_scale?"),
    ("output_dir=here", "Did you mean hydra.run.dir?"),
    ("algo=sac algo.n_steps=256", "algo=sac has no such key; algo=ppo,"),
    ("+seed=3", "there is seed already. Did you mean seed=3?"),
    ("~residual.alpha", "residual.alpha=(removed): expected a value."),
    ("algo=PPO", "Did you mean algo=ppo?"),
    ("base_policy=none", "Did you mean base_policy=zero?"),
    ("env.observation=paper25", "Did you mean env/observation=paper25?"),
    ("~algo", "algo=(removed): expected one of its options: crossq, ppo"),
    ("hardware.actuator=bam", "hardware.actuator=bam: expected one of bam_12v"),
    ("seed=abc", "seed=abc: expected a whole number"),
    ("env.act_scale=nan", "env.act_scale=nan: expected a number"),
    ("env.act_scale=[0.1,a]", "env.act_scale[1]=a: expected a number"),
    ("env.act_scale=[0.1,0.1]", "env.act_scale=[0.1, 0.1]: expected 6 values"),
    ("env.cameras=64", "env.cameras=64: expected a mapping"),
    ("env.cameras.front=64", "front=64: expected the keys width and height"),
    ("env.cameras.front.widht=64", "expected the keys width and height"),
    ("env.cameras={front:{width:64,height:4.5}}", "height=4.5: expected a whole"),
    ("algo.policy_kwargs.net_arch=[a]", "net_arch[0]=a: expected a whole number"),
    ("residual.alpha=[1,1,1,1,1]", "expected one number or 6 of them"),
    ("evaluation.role=train", "evaluation.role=train: expected report or tune."),
    ("algo._target_=stable_baselines3.Foo", "expected a class that exists"),
    ("+algo.lr=0.1", "lr: PPO has no such key. Did you mean learning_rate?"),
    ("env.act_scale='${env.actscale}'", "Did you mean env.act_scale?"),
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
    ("job._target_=os.getcwd", "a function of so101rl"),
    ("job._target_=so101rl.nowhere.job", "a function of so101rl"),
    ("job=resume", "job=resume needs run=RUN_DIR"),
    ("job=view init_from=old", "init_from=old: expected to be left out"),
    ("job=evaluate checkpoint=file.zip", "add trust=true if you know"),
    ("checkpoint=file.zip", "it is for job=evaluate, and this is job=train."),
    ("hydra.run.dir=old", "hydra.run.dir=old: it already holds a run"),
    ("hydra.run.dir=file.zip/x", "file.zip/x: Not a directory."),
]  # fmt: skip

# A file that is written wrong, and what is answered when it is chosen.
GLOBAL = "# @package _global_\n"
WRITTEN = [
    ("experiment", GLOBAL + "residual:\n\talpha: 1\n", "line 3: found character '\\t'"),
    ("experiment", "seed: 1\n", "the first line has to be `# @package _global_`."),
    ("experiment", GLOBAL + "defaults: [algo: sac]\n", "`- override /algo: sac`?"),
    ("experiment", GLOBAL + "n_envs: ${env.foo}\n", "n_envs refers to env.foo"),
    ("base_policy", "gain: 1\n", "base_policy._target_=null: expected the class"),
    ("base_policy", "_target_: so101rl.base_policies.jacobian.Jacobian\n", "needs act"),
    ("base_policy", "- a\n- b\n", "mine.yaml: expected `key: value` lines"),
    ("base_policy", "", "base_policy=null: expected one of the group's options."),
]  # fmt: skip


@pytest.fixture
def answer(tmp_path, monkeypatch, capsys):
    """Run the program where there are only a run and a file."""
    (tmp_path / "old").mkdir()
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
        assert sum(len(textwrap.wrap(line, 80)) for line in err.splitlines()) <= 6, err

    return run


@pytest.mark.parametrize(("typed", "expected"), TYPED, ids=[line for line, _ in TYPED])
def test_a_mistake_is_answered_in_short_with_the_right_hint(answer, typed, expected):
    answer(*shlex.split(typed), expected=expected)


def test_a_mistake_in_a_file_names_the_file_or_the_key(answer, tmp_path_factory):
    conf = shutil.copytree(CONF, tmp_path_factory.mktemp("written") / "conf")
    for group, text, expected in WRITTEN:
        (conf / group / "mine.yaml").write_text(text)
        answer(f"{group}=mine", expected=expected, conf=conf)
        (conf / group / "mine.yaml").unlink()


def test_a_gl_backend_that_does_not_exist_is_named(monkeypatch):
    monkeypatch.setenv("MUJOCO_GL", "direct3d")
    code = compile("raise RuntimeError('invalid value')", "/m/gl_context.py", "exec")
    with pytest.raises(RuntimeError) as caught:
        exec(code)
    message = str(messages.user_error(caught.value))
    assert message.startswith("MUJOCO_GL=direct3d: expected egl, osmesa or glfw")
    assert messages.user_error(RuntimeError("invalid value")) is None

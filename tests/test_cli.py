import os
import subprocess
import sys
from unittest.mock import Mock

import hydra
import pytest
from conftest import ROOT, finished_run, run_dirs
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from so101rl.config.compose import compose
from so101rl.config.errors import UnknownKeyError
from so101rl.errors import ConfigError, So101Error

BASIC = ["-m", "hydra/sweeper=basic"]


def test_a_job_gets_what_was_typed_with_its_type_in_struct_mode(command):
    (cfg,) = command(
        *("experiment=guide", "total_timesteps=2e5", "env.act_scale=1", "env.limit=x"),
        *("n_threads=2", "+algo.extra=2", "residual.exploration_std=null"),
    ).cfgs
    assert (cfg.seed, cfg.n_envs, cfg.algo.extra, cfg.n_threads) == (0, 64, 2, 2)
    assert (cfg.env.act_scale, cfg.env.limit) == (1, "x")
    assert (cfg.residual.alpha, cfg.residual.exploration_std) == (0.5, None)
    assert isinstance(cfg.total_timesteps, int) and cfg.total_timesteps == 200_000
    assert "hydra" not in cfg
    with pytest.raises(Exception, match="sed"):
        cfg.sed = 1
    typed = command("experiment=guide", "residual.alpha=0.7", "++algo.extra=2")
    assert typed.cfgs[0].residual.alpha == 0.7
    runs = os.listdir("outputs/paper_push/jacobian-ppo")
    assert len(runs) == len(run_dirs()) == 2  # although of one second


def test_a_camera_is_typed_by_its_name_and_a_scale_per_joint_as_a_list(command):
    whole = ["env.cameras={front:{width:40,height:36}}", "env.act_scale=[1,2]"]
    keys = ["env.cameras.front.width=40", "env.cameras.front.height=36"]
    (one,) = command(*whole).cfgs
    many = command(*BASIC, "seed=1,2", *keys).cfgs
    assert len(many) == 2
    for cfg in (one, *many):
        assert cfg.env.cameras == {"front": {"width": 40, "height": 36}}
    assert one.env.act_scale == [1, 2]


def test_the_environment_never_reaches_a_config(command, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    answer = command("env.name=${oc.env:SECRET}")
    assert (answer.code, "env.name" in answer.err) == (2, True)
    assert "hunter2" not in answer.out + answer.err


def test_an_error_in_a_job_is_short_and_a_bug_keeps_its_traceback(
    command, job, monkeypatch
):
    def refuse(*_, **__):
        raise ConfigError("env.act_scale", got=-1, expected="a number > 0")

    small = (2, "error: env.act_scale=-1: expected a number > 0.\n")
    job.job = refuse
    answer = command()
    assert (answer.code, answer.err) == small
    assert not os.path.exists("outputs")
    job.Env, job.job = refuse, lambda cfg: hydra.utils.instantiate(cfg.env)
    answer = command()
    assert (answer.code, answer.err) == small  # although Hydra wraps it
    monkeypatch.setenv("SO101RL_DEBUG", "1")
    with pytest.raises(hydra.errors.InstantiationException):
        command()
    job.job = lambda cfg: 1 / 0
    with pytest.raises(ZeroDivisionError):
        command()
    job.job = Mock(side_effect=KeyboardInterrupt)
    answer = command()
    assert (answer.code, answer.err.splitlines()[-1]) == (130, "interrupted")


def test_failed_jobs_of_a_sweep_are_named_and_stop_no_other(command, job):
    seeds = []

    def fail_at_two(cfg):
        seeds.append(cfg.seed)
        if cfg.seed == 2:
            raise So101Error("two is bad")

    job.job = fail_at_two
    answer = command(*BASIC, "seed=1,2,3")
    assert (answer.code, seeds) == (2, [1, 2, 3])
    job_line, _, last = answer.err.splitlines()  # `_` is Hydra's
    assert (job_line, last) == ("--- job 1 failed: two is bad", "error: two is bad")


def test_run_brings_its_own_config_and_typed_keys_win(command):
    own = ["env=pick_place", "env.lift_height=0.3", "seed=5", "algo.net.layers=[8]"]
    run = finished_run(command, *own)
    (cfg,) = command("job=evaluate", "run=latest", "n_envs=3").cfgs
    assert (cfg.seed, cfg.n_envs, cfg.env.lift_height, cfg.run) == (5, 3, 0.3, run)
    answer = command("job=evaluate", f"run={run}", "env.lift_heigt=0.2")
    assert "Did you mean env.lift_height?" in answer.err
    (cfg,) = command("job=evaluate", f"run={run}", "env=paper_push").cfgs
    assert "lift_height" not in cfg.env  # a typed group replaces the whole node
    assert (cfg.env.horizon, cfg.algo.net.layers) == (400, [8])
    assert len(run_dirs()) == 1  # reading makes no directory
    assert sorted(os.listdir(run)) == [".hydra", "checkpoints", "run.json"]


# ---- help, completion, Python ----

HEAVY = ("torch", "mujoco", "mlflow", "stable_baselines3", "gymnasium", "numpy")
ASKING = f"""
import contextlib, io, sys
from so101rl import cli
for words in (["--cfg", "job"], ["-sc", "query=bash"], ["--help"]):
    sys.argv = ["main.py", *words]
    out = io.StringIO()
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(out):
        assert cli.main() == 0
    assert "residual.alpha=" in out.getvalue() or "alpha: 1.0" in out.getvalue()
print(out.getvalue())
print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)
"""


def test_help_fits_a_screen_has_every_job_and_imports_nothing_heavy(monkeypatch):
    monkeypatch.setenv("COMP_LINE", "python main.py residual.")
    command = [sys.executable, "-c", ASKING]
    done = subprocess.run(command, capture_output=True, text=True, cwd=ROOT)
    assert done.stderr == "[]\n"
    lines = done.stdout.splitlines()
    assert len(lines) <= 62 and max(map(len, lines)) <= 110
    assert "algo: crossq, ppo" in done.stdout and "outputs/<env>" in done.stdout
    jobs = {path.stem for path in (ROOT / "conf/job").glob("*.yaml")} - {"train"}
    assert {job for job in jobs if f"job={job}" not in done.stdout} == set()


def test_the_shell_completes(command, monkeypatch):
    for typed, words in {
        "algo=p": ["algo=ppo"],
        "algo=sac algo.": ["algo._target_=", "algo.tau=", "algo.total_timesteps="],
        "env/observation=m": ["env/observation=markov"],
        "job=evaluate run=typo se": [],  # and no message in the middle of the line
    }.items():
        monkeypatch.setenv("COMP_LINE", f"python main.py {typed}")
        answer = command("-sc", "query=bash")
        assert (answer.out.split(), answer.err) == (words, "")


def test_compose_gives_python_the_same_also_within_a_program_of_hydra(
    command, job, conf
):
    def compose_again(cfg):
        inner = compose(["seed=3", "algo=sac"], conf=conf)
        assert (inner.seed, inner.total_timesteps) == (3, 500)
        assert HydraConfig.get().job.name == "so101rl"

    job.job = compose_again
    assert command().code == 0
    with pytest.raises(UnknownKeyError, match=r"residual\.alpha"):
        compose(["residual.alfa=1"], conf=conf)
    assert not GlobalHydra.instance().is_initialized()


@pytest.fixture
def closed_pipe():
    """A pipe whose reader has gone."""
    reading, writing = os.pipe()
    os.close(reading)
    with open(writing, "w") as pipe:
        yield pipe


def test_a_job_whose_output_cannot_be_written_goes_on(
    command, job, monkeypatch, closed_pipe
):
    job.job = lambda cfg: [print("x" * 100_000, flush=True) for _ in range(3)] and None
    monkeypatch.setattr(sys, "stdout", closed_pipe)
    assert command().code == 0


def test_both_programs_are_the_same_in_any_directory(tmp_path, closed_pipe):
    for program in ([str(ROOT / "main.py")], ["-m", "so101rl"]):
        words, keys = [sys.executable, *program], {"cwd": tmp_path, "text": True}
        done = subprocess.run([*words, "algo=pppo"], capture_output=True, **keys)
        assert (done.returncode, done.stdout) == (2, "")
        assert "Did you mean algo=ppo?" in done.stderr
        keys |= {"stdout": closed_pipe, "stderr": subprocess.PIPE}
        done = subprocess.run([*words, "--help"], **keys)
        assert (done.returncode, done.stderr) == (0, "")
    assert list(tmp_path.iterdir()) == []

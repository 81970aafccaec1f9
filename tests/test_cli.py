import os
import subprocess
import sys

import hydra
import pytest
from conftest import ROOT, finished_run, run_dirs
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

from so101rl import cli
from so101rl.config.compose import compose
from so101rl.config.errors import UnknownKeyError
from so101rl.errors import ConfigError, So101Error
from so101rl.files import PACKAGE
from so101rl.sweeps.context import program_words

BASIC = ["-m", "hydra/sweeper=basic"]
TOO_SMALL = "env.act_scale=-1: expected a number > 0."


def refuse(*_, **__):
    raise ConfigError("env.act_scale", got=-1, expected="a number > 0")


# ---- what a job gets ----


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


def test_runs_of_one_second_and_jobs_of_a_sweep_get_their_own_folders(command):
    for _ in range(2):
        command()
    runs = os.listdir("outputs/paper_push/jacobian-ppo")
    assert len(runs) == len(run_dirs()) == 2
    answer = command(*BASIC, "seed=1,2", "algo=ppo,sac")
    assert [cfg.seed for cfg in answer.cfgs] == [1, 1, 2, 2]
    (sweep,) = os.scandir("multirun")
    assert {path.name for path in os.scandir(sweep) if path.is_dir()} == set("0123")


def test_the_environment_never_reaches_a_config(command, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    answer = command("env.name=${oc.env:SECRET}")
    assert answer.code == 2
    assert "hunter2" not in answer.out + answer.err
    assert "env.name" in answer.err


# ---- what goes wrong in a job ----


def test_an_error_inside_a_job_is_short_and_wrapped_by_hydra_as_well(
    command, job, monkeypatch
):
    job.job = refuse
    answer = command()
    assert (answer.code, answer.err) == (2, f"error: {TOO_SMALL}\n")
    assert not os.path.exists("outputs")
    job.Env, job.job = refuse, lambda cfg: hydra.utils.instantiate(cfg.env)
    answer = command()
    assert (answer.code, answer.err) == (2, f"error: {TOO_SMALL}\n")
    monkeypatch.setenv("SO101RL_DEBUG", "1")
    with pytest.raises(hydra.errors.InstantiationException):
        command()


def test_a_bug_keeps_its_traceback_and_ctrl_c_is_130(command, job):
    job.job = lambda cfg: 1 / 0
    with pytest.raises(ZeroDivisionError):
        command()

    def stop(cfg):
        raise KeyboardInterrupt

    job.job = stop
    answer = command()
    assert answer.code == 130
    assert answer.err.endswith("\ninterrupted\n")


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


# ---- run= ----


def test_run_brings_its_own_config_and_typed_keys_win(command):
    run = finished_run(
        command,
        "env=pick_place",
        "env.lift_height=0.3",
        "seed=5",
        "algo.net.layers=[8]",
    )
    before = sorted(run_dirs())
    (cfg,) = command("job=evaluate", "run=latest", "n_envs=3").cfgs
    assert (cfg.seed, cfg.n_envs, cfg.env.lift_height, cfg.run) == (5, 3, 0.3, run)
    answer = command("job=evaluate", f"run={run}", "env.lift_heigt=0.2")
    assert "Did you mean env.lift_height?" in answer.err
    (cfg,) = command("job=evaluate", f"run={run}", "env=paper_push").cfgs
    assert "lift_height" not in cfg.env  # a typed group replaces the whole node
    assert (cfg.env.horizon, cfg.algo.net.layers) == (400, [8])
    assert sorted(run_dirs()) == before  # reading makes no directory
    assert sorted(os.listdir(run)) == [".hydra", "checkpoints", "run.json"]


def test_runs_can_be_swept_over(command):
    runs = finished_run(command, "seed=1"), finished_run(command, "env=pick_place")
    answer = command(*BASIC, "job=evaluate", f"run={','.join(runs)}", "n_envs=1,2")
    wanted = [(run, n) for run in runs for n in (1, 2)]
    assert [(cfg.run, cfg.n_envs) for cfg in answer.cfgs] == wanted


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
    assert len(lines) <= 60 and max(map(len, lines)) <= 110
    for words in ("algo: crossq, ppo", "outputs/<env>", "-m"):
        assert words in done.stdout
    examples = "\n".join(line for line in lines if "python main.py" in line)
    jobs = {path.stem for path in (ROOT / "conf/job").glob("*.yaml")} - {"train"}
    assert {job for job in jobs if f"job={job}" not in examples} == set()


COMPLETIONS = {
    "algo=p": ["algo=ppo"],
    "algo=sac algo.": ["algo._target_=", "algo.tau=", "algo.total_timesteps="],
    "env/observation=m": ["env/observation=markov"],
    "algo=typo algo.": [],  # and no message in the middle of the line
    "job=evaluate run=typo se": [],
}


@pytest.mark.parametrize("typed", COMPLETIONS)
def test_the_shell_completes(command, monkeypatch, typed):
    monkeypatch.setenv("COMP_LINE", f"python main.py {typed}")
    answer = command("-sc", "query=bash")
    assert answer.out.split() == COMPLETIONS[typed]
    assert answer.err == ""


def test_compose_gives_python_the_same_also_within_a_program_of_hydra(
    command, job, conf
):
    seen = []

    def compose_again(cfg):
        inner = compose(["seed=3", "algo=sac"], conf=conf)
        seen.append((inner.seed, inner.total_timesteps, HydraConfig.get().job.name))
        seen.append(GlobalHydra.instance().is_initialized())

    job.job = compose_again
    assert command().code == 0
    assert seen == [(3, 500, "so101rl"), True]
    with pytest.raises(UnknownKeyError, match=r"residual\.alpha"):
        compose(["residual.alfa=1"], conf=conf)
    assert not GlobalHydra.instance().is_initialized()


# ---- output that nobody reads ----


def test_a_job_whose_output_cannot_be_written_goes_on(command, job, monkeypatch):
    reading, writing = os.pipe()
    os.close(reading)
    seen = []

    def print_much(cfg):
        for _ in range(3):
            print("x" * 100_000, flush=True)
        seen.append(cfg.seed)

    job.job = print_much
    with open(writing, "w") as pipe:
        monkeypatch.setattr(sys, "stdout", pipe)
        assert command("seed=3").code == 0
    assert seen == [3]


def test_a_closed_pipe_ends_the_program_quietly(tmp_path):
    command = [sys.executable, str(ROOT / "main.py"), "--help"]
    streams = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, cwd=tmp_path, **streams) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 0


# ---- main.py, python -m so101rl, so101rl ----


@pytest.mark.parametrize("program", [[str(ROOT / "main.py")], ["-m", "so101rl"]])
def test_both_programs_are_the_same_in_any_directory(program, tmp_path):
    done = subprocess.run(
        [sys.executable, *program, "algo=pppo"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "Did you mean algo=ppo?" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_jobs_of_a_sweep_are_called_as_the_program_was(monkeypatch):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")  # `main` sets it: undone afterwards
    for started, words in [
        (str(ROOT / "main.py"), (str(ROOT / "main.py"),)),
        (str(PACKAGE / "__main__.py"), ("-m", "so101rl")),
        ("/usr/bin/so101rl", ("-m", "so101rl")),
    ]:
        monkeypatch.setattr(sys, "argv", [started, "--seed", "3"])
        assert cli.main() == 2  # and argv has the name that a run records
        assert sys.argv[0] == (started if words[0] != "-m" else "so101rl")
        assert program_words(cli.job) == words

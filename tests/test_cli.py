import os
import subprocess
import sys

import hydra
import pytest
from conftest import CONF, ROOT, finished_run, run_dirs
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig

import main
from so101rl.cli import guarded
from so101rl.config.compose import compose
from so101rl.errors import ConfigError, So101Error, UnknownKeyError

# what is typed -> what the answer must contain
MISTAKES = {
    "residual={alfa:1}": "Did you mean residual.alpha?",
    "env.act_scal=1": "Did you mean env.act_scale?",
    "act_scale=0.1": "Did you mean env.act_scale?",
    "env.act_scale.x=1": "Did you mean env.act_scale?",
    "algo.net={layer:[3]}": "Did you mean algo.net.layers?",
    "base_polcy=zero": "Did you mean base_policy?",
    "algo=xyz": "options of algo: ppo, sac",
    "algo=null": "options of algo: ppo, sac",
    "env/observation=paper52": "Did you mean env/observation=paper25?",
    "experiment=gide": "Did you mean experiment=guide?",
    "job=trian": "Did you mean job=train?",
    "train": "Did you mean job=train?",
    "n_envs=lots": "n_envs=lots: expected a whole number",
    "n_envs=1.5": "n_envs=1.5: expected a whole number",
    "n_threads=abc": "n_threads",
    "env.act_scale=big": "env.act_scale=big: expected a number like 0.05",
    "env.act_scale=nan": "env.act_scale=nan: expected a number",
    "env.act_scale=null": "env.act_scale=null: expected a number",
    "++env.act_scale=big": "env.act_scale=big: expected a number",
    "env.horizon=true": "env.horizon=True: expected a whole number",
    "env.name=5": "env.name=5: expected text",
    "env.sizes=3": "env.sizes=3: expected a list",
    "env.sizes=[a]": "env.sizes[0]=a: expected a number",
    "total_timesteps=-5": "total_timesteps=-5: expected a number >= 1",
    "evaluation.n_episodes=0": "evaluation.n_episodes=0",
    "residual.penalty=-1": "residual.penalty=-1",
    "residual.alpha=big": "residual.alpha=big",
    "residual.alpha=true": "residual.alpha=True",
    "env.act_scale=${foo}": "foo",
    "seed='1": "cannot be read",
    "seed=range(3)": "need -m",
    "--seed": "written without dashes",
    "job._target_=os.getcwd": "a function of so101rl",
    "job._target_=so101rl.nowhere.job": "a function of so101rl",
    "hydra.run.dir=/dev/null/x": "/dev/null",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_mistake_gets_one_short_message(command, typed):
    answer = command(typed)
    assert answer.code == 2
    assert MISTAKES[typed] in answer.err
    assert answer.err.startswith("error: ")
    assert len(answer.err.splitlines()) <= 6
    assert "Traceback" not in answer.err
    assert answer.out == ""
    assert answer.cfgs == []
    assert not os.path.exists("outputs")


@pytest.mark.parametrize(
    "typed", ["seed=1,abc", "residual.alfa=1,2", "algo=ppo,pppo", "n_envs=4,0"]
)
def test_a_mistake_in_a_sweep_is_found_before_the_first_job(command, typed):
    answer = command("-m", "hydra/sweeper=basic", typed, "env.horizon=100")
    assert answer.code == 2
    assert len(answer.err.splitlines()) <= 6
    assert answer.cfgs == []
    assert not os.path.exists("multirun")


def test_defaults_reach_the_job_in_struct_mode(command):
    (cfg,) = command().cfgs
    assert (cfg.seed, cfg.n_envs, cfg.total_timesteps) == (0, 64, 1000)
    assert "hydra" not in cfg
    with pytest.raises(Exception, match="sed"):
        cfg.sed = 1


@pytest.mark.parametrize(
    ("typed", "alpha"),
    [
        ("0", 0),
        ("0.5", 0.5),
        ("[0,0,0.5,1,1,1]", [0, 0, 0.5, 1, 1, 1]),
        ("{start:0,end:1,steps:9}", {"start": 0, "end": 1, "steps": 9}),
    ],
)
def test_alpha_is_a_number_a_list_or_a_schedule(command, typed, alpha):
    (cfg,) = command(f"residual.alpha={typed}").cfgs
    assert cfg.residual.alpha == alpha


def test_right_values_pass_and_large_counts_may_be_written_short(command):
    (cfg,) = command(
        "total_timesteps=2e5", "env.act_scale=1", "env.limit=x", "n_threads=2"
    ).cfgs
    assert cfg.total_timesteps == 200_000
    assert isinstance(cfg.total_timesteps, int)
    assert (cfg.env.act_scale, cfg.env.limit, cfg.n_threads) == (1, "x", 2)


def test_a_preset_sets_keys_and_typed_keys_win(command):
    assert command("experiment=guide").cfgs[0].residual.alpha == 0.5
    typed = command("experiment=guide", "residual.alpha=0.7")
    assert typed.cfgs[0].residual.alpha == 0.7


def test_two_runs_of_one_second_get_two_directories(command, tmp_path):
    for _ in range(3):
        command()
    runs = list((tmp_path / "work/outputs/paper_push/jacobian-ppo").iterdir())
    assert len(runs) == 3
    assert all((run / ".hydra/config.yaml").is_file() for run in runs)


def test_a_sweep_runs_every_job_in_its_own_folder(command, tmp_path):
    answer = command("-m", "hydra/sweeper=basic", "seed=1,2", "algo=ppo,sac")
    assert answer.code == 0
    assert [cfg.seed for cfg in answer.cfgs] == [1, 1, 2, 2]
    (sweep,) = (tmp_path / "work/multirun").iterdir()
    assert {path.name for path in sweep.iterdir() if path.is_dir()} == set("0123")


def test_an_error_inside_a_job_is_short_too(command, job, monkeypatch):
    def fail(cfg):
        raise ConfigError("env.act_scale", got=-1, expected="a number > 0")

    job.job = fail
    answer = command()
    assert answer.code == 2
    assert answer.err == "error: env.act_scale=-1: expected a number > 0.\n"
    monkeypatch.setenv("SO101RL_DEBUG", "1")
    with pytest.raises(ConfigError):
        command()


def test_an_error_wrapped_by_hydra_is_unwrapped(command, job):
    class Env:
        def __init__(self, *, act_scale, **rest):
            raise ConfigError("env.act_scale", got=act_scale, expected="less")

    job.Env = Env
    job.job = lambda cfg: hydra.utils.instantiate(cfg.env)
    answer = command()
    assert (answer.code, answer.err) == (
        2,
        "error: env.act_scale=0.05: expected less.\n",
    )


def test_a_mistake_is_told_while_the_job_still_winds_up(conf, job, tmp_path):
    code = (
        "import pathlib, sys, threading, time, types\n"
        f"sys.path.insert(0, {str(ROOT)!r})\n"
        "from so101rl import cli, errors\n"
        "from so101rl.config import from_run\n"
        f"from_run.PACKAGE = pathlib.Path({str(tmp_path / 'package')!r})\n"
        "import main\n"
        "def job(cfg):\n"
        "    threading.Thread(target=time.sleep, args=(30,)).start()\n"
        "    raise errors.ConfigError('seed', got=0, expected='more')\n"
        "sys.modules['so101rl.fake'] = types.SimpleNamespace(job=job)\n"
        f"sys.argv = ['main.py', '-cp', {str(conf)!r}]\n"
        "sys.exit(cli.guarded(main.main))\n"
    )
    arguments = [sys.executable, "-c", code]
    with subprocess.Popen(arguments, cwd=tmp_path, stderr=subprocess.PIPE) as process:
        assert process.stderr.readline() == b"error: seed=0: expected more.\n"
        assert process.poll() is None
        process.kill()


def test_a_key_that_the_class_does_not_take_is_named(command, job):
    class Zero:
        def __init__(self, *, gain=1.0):
            pass

    job.Zero = Zero
    job.job = lambda cfg: hydra.utils.instantiate(cfg.base_policy)
    answer = command("base_policy=zero", "+base_policy.gian=2")
    assert answer.code == 2
    assert "gian" in answer.err
    assert len(answer.err.splitlines()) <= 6


def test_the_environment_never_reaches_a_config(command, monkeypatch):
    monkeypatch.setenv("SECRET", "hunter2")
    answer = command("env.name=${oc.env:SECRET}")
    assert answer.code == 2
    assert "hunter2" not in answer.out + answer.err
    assert "env.name" in answer.err


@pytest.mark.parametrize(
    "typed",
    [
        "env._target_=os.system",
        "algo._target_=so101rl.jobs.doctor.subprocess.Popen",
        "+algo.x._target_=benchmarks.run.Nothing",
    ],
)
def test_only_known_classes_are_called(command, typed):
    answer = command(typed)
    assert answer.code == 2
    assert typed.partition("=")[0].lstrip("+") in answer.err
    assert "class of so101rl" in answer.err


@pytest.mark.parametrize("word", ["+algo.extra=2", "++algo.extra=2"])
def test_a_key_that_no_yaml_has_can_be_added(command, word):
    answer = command(word)
    assert answer.code == 0
    assert answer.cfgs[0].algo.extra == 2


def test_a_bug_keeps_its_traceback(command, job):
    def fail(cfg):
        raise ZeroDivisionError

    job.job = fail
    with pytest.raises(ZeroDivisionError):
        command()


def test_ctrl_c_exits_with_130(command, job):
    def stop(cfg):
        raise KeyboardInterrupt

    job.job = stop
    answer = command()
    assert (answer.code, answer.err) == (130, "interrupted\n")


def test_one_failed_job_does_not_stop_a_sweep(command, job):
    seeds = []

    def fail_at_two(cfg):
        seeds.append(cfg.seed)
        if cfg.seed == 2:
            raise So101Error("two is bad")

    job.job = fail_at_two
    answer = command("-m", "hydra/sweeper=basic", "seed=1,2,3")
    assert seeds == [1, 2, 3]
    assert answer.code == 2
    assert "two is bad" in answer.err


def test_a_failed_job_of_a_sweep_is_told_without_hydras_words(command, job):
    class Zero:
        def __init__(self):
            raise ConfigError("env.act_scale", got=-1, expected="a number > 0")

    job.Zero = Zero
    job.job = lambda cfg: hydra.utils.instantiate(cfg.base_policy)
    answer = command("-m", "hydra/sweeper=basic", "seed=1,2", "base_policy=zero")
    told = "env.act_scale=-1: expected a number > 0."
    *failed, _, last = answer.err.splitlines()  # `_` is Hydra's
    assert failed == [f"--- job 0 failed: {told}", f"--- job 1 failed: {told}"]
    assert last == f"error: {told}"


def test_run_brings_its_own_config_and_typed_keys_win(command):
    run = finished_run(
        command, "env=pick_place", "env.lift_height=0.3", "seed=5", "n_envs=2"
    )
    (cfg,) = command("job=evaluate", f"run={run}", "n_envs=3").cfgs
    assert (cfg.seed, cfg.n_envs, cfg.env.lift_height, cfg.run) == (5, 3, 0.3, run)
    (cfg,) = command("job=evaluate", f"run={run}", "env.lift_height=0.2").cfgs
    assert (cfg.env.lift_height, cfg.n_envs) == (0.2, 2)
    answer = command("job=evaluate", f"run={run}", "env.lift_heigt=0.2")
    assert "Did you mean env.lift_height?" in answer.err


def test_a_typed_group_replaces_the_whole_node(command):
    run = finished_run(command, "env=pick_place", "algo.net.layers=[8]")
    (cfg,) = command("job=evaluate", f"run={run}", "env=paper_push").cfgs
    assert "lift_height" not in cfg.env
    assert cfg.env.horizon == 400
    assert cfg.algo.net.layers == [8]


def test_a_group_within_a_group_comes_from_the_run_unless_typed(command):
    run = finished_run(command, "env/observation=paper25", "env.horizon=9")
    (cfg,) = command("job=evaluate", f"run={run}").cfgs
    assert (cfg.env.horizon, list(cfg.env.observation.parts)) == (9, ["qpos"])
    (cfg,) = command("job=evaluate", f"run={run}", "env/observation=markov").cfgs
    assert (cfg.env.horizon, list(cfg.env.observation.parts)) == (9, ["qpos", "goal"])


def test_latest_is_the_run_started_last(command):
    first, second = finished_run(command, "seed=1"), finished_run(command, "seed=2")
    os.utime(f"{first}/.hydra/config.yaml", (1, 1))
    answer = command("job=evaluate", "run=latest")
    assert [(cfg.run, cfg.seed) for cfg in answer.cfgs] == [(second, 2)]
    assert answer.out == f"run=latest is {second}\n"
    os.utime(f"{second}/.hydra/config.yaml", (0, 0))
    assert command("job=evaluate", "run=latest").cfgs[0].run == first


def test_latest_passes_over_runs_without_a_policy(command):
    first, second = finished_run(command), finished_run(command)
    os.rmdir(f"{second}/checkpoints/best")
    assert command("job=evaluate", "run=latest").cfgs[0].run == first
    os.rmdir(f"{first}/checkpoints/best")
    answer = command("job=evaluate", "run=latest")
    assert answer.code == 2
    assert "no run with checkpoints/best" in answer.err


def test_runs_can_be_swept_over(command):
    runs = finished_run(command, "seed=1"), finished_run(command, "env=pick_place")
    answer = command(
        "-m",
        "hydra/sweeper=basic",
        "job=evaluate",
        f"run={','.join(runs)}",
        "n_envs=1,2",
    )
    assert [(cfg.run, cfg.n_envs) for cfg in answer.cfgs] == [
        (run, n) for run in runs for n in (1, 2)
    ]


def test_reading_a_run_makes_no_output_directory(command):
    run = finished_run(command)
    before = sorted(run_dirs())
    assert command("job=evaluate", "run=latest").code == 0
    assert sorted(run_dirs()) == before
    assert not os.path.exists(".hydra")
    assert sorted(os.listdir(run)) == [".hydra", "checkpoints", "run.json"]


@pytest.mark.parametrize(
    ("run", "reason"),
    [
        ("latest", "no run with checkpoints/best in outputs/"),
        ("outputs/none", "no such directory"),
        (".", "not a run directory"),
    ],
)
def test_a_run_that_is_none_is_named(command, run, reason):
    answer = command("job=evaluate", f"run={run}")
    assert answer.code == 2
    assert f"run={run}" in answer.err
    assert reason in answer.err


@pytest.mark.parametrize(
    ("old", "new", "reason"),
    [
        ("_target_: so101rl.fake.Zero", "_target_: os.system", "would call os.system"),
        ("seed: 0", "sead: 0", "no key 'sead'"),
        ("seed: 0", "seed: [", "cannot read"),
        ("n_envs: 64", "n_envs: many", "n_envs does not fit"),
    ],
)
def test_a_foreign_or_broken_run_is_refused(command, old, new, reason):
    run = finished_run(command, "base_policy=zero")
    path = f"{run}/.hydra/config.yaml"
    with open(path) as file:
        text = file.read()
    assert old in text
    with open(path, "w") as file:
        file.write(text.replace(old, new))
    answer = command("job=evaluate", f"run={run}")
    assert answer.code == 2
    assert reason in answer.err
    assert answer.cfgs == []


def test_help_teaches(command):
    answer = command("--help")
    assert answer.code == 0
    for words in ("algo: ppo, sac", "job=evaluate run=latest", "outputs/<env>", "-m"):
        assert words in answer.out


def test_help_fits_a_screen_and_has_an_example_of_every_job(monkeypatch, capsys):
    monkeypatch.setenv("HYDRA_FULL_ERROR", "1")
    monkeypatch.setattr(sys, "argv", ["main.py", "-cp", CONF, "--help"])
    with pytest.raises(SystemExit):
        guarded(main.main)
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) <= 60
    assert max(map(len, lines)) <= 110
    examples = "\n".join(line for line in lines if "python main.py" in line)
    jobs = {path.stem for path in (ROOT / "conf/job").glob("*.yaml")} - {"train"}
    assert {job for job in jobs if f"job={job}" not in examples} == set()


@pytest.mark.parametrize(
    ("typed", "offered"),
    [
        ("algo=", ["algo=ppo", "algo=sac"]),
        ("algo=p", ["algo=ppo"]),
        ("algo=sac algo.", ["algo._target_=", "algo.tau=", "algo.total_timesteps="]),
        ("residual.al", ["residual.alpha="]),
        ("env/observation=m", ["env/observation=markov"]),
        ("algo=typo algo.", []),  # and no message in the middle of the line
        ("job=evaluate run=typo se", []),
    ],
)
def test_the_shell_completes(command, monkeypatch, typed, offered):
    monkeypatch.setenv("COMP_LINE", f"python main.py {typed}")
    answer = command("-sc", "query=bash")
    assert answer.out.split() == offered
    assert answer.err == ""


@pytest.mark.usefixtures("job")
def test_compose_gives_scripts_the_same_config_and_checks(conf):
    cfg = compose(["seed=3", "algo=sac"], conf=conf)
    assert (cfg.seed, cfg.total_timesteps) == (3, 500)
    with pytest.raises(UnknownKeyError, match=r"residual\.alpha"):
        compose(["residual.alfa=1"], conf=conf)


def test_compose_works_within_a_program_of_hydra(command, job, conf):
    seen = []

    def compose_again(cfg):
        seen.append((compose(["seed=3"], conf=conf).seed, HydraConfig.get().job.name))
        seen.append(GlobalHydra.instance().is_initialized())

    job.job = compose_again
    assert command().code == 0
    assert seen == [(3, "main"), True]
    compose(conf=conf)
    assert not GlobalHydra.instance().is_initialized()


HEAVY = ("torch", "mujoco", "mlflow", "stable_baselines3", "gymnasium", "numpy")


@pytest.mark.parametrize("flags", [["--help"], ["--cfg", "job"], ["-sc", "query=bash"]])
def test_asking_imports_nothing_heavy(flags, monkeypatch):
    monkeypatch.setenv("COMP_LINE", "python main.py residual.")
    code = (
        "import runpy, sys\n"
        f"sys.argv = ['main.py', *{flags}]\n"
        "try:\n"
        f"    runpy.run_path({str(ROOT / 'main.py')!r}, run_name='__main__')\n"
        "except SystemExit as stop:\n"
        "    assert not stop.code, stop.code\n"
        f"print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT
    )
    assert done.stderr == "[]\n"


def test_the_script_itself_exits_with_2(tmp_path):
    done = subprocess.run(
        [sys.executable, str(ROOT / "main.py"), "--seed", "3"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 2
    assert "Did you mean seed=3?" in done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("value", ["0", "1.5", "-0.5", "often"])
def test_a_share_that_ends_training_is_a_share(command, value):
    answer = command(f"evaluation.stop_at={value}")
    assert answer.code == 2
    assert "evaluation.stop_at" in answer.err and value in answer.err
    assert len(answer.err.splitlines()) <= 3
    assert not answer.cfgs


@pytest.mark.parametrize("value", ["null", "1", "0.95"])
def test_a_share_that_ends_training_may_be_all_or_none(command, value):
    assert command(f"evaluation.stop_at={value}").code == 0


def test_what_the_schema_calls_optional_may_be_null(command):
    (cfg,) = command("residual.exploration_std=null").cfgs
    assert cfg.residual.exploration_std is None

"""Every yaml composes, and what it describes can be built."""

from importlib import import_module

import numpy as np
import pytest
from conftest import ROOT, config_of, make_env
from hydra.errors import InstantiationException
from learners import TINY

from so101rl.build import build_algo, build_env
from so101rl.config.compose import compose
from so101rl.config.messages import user_error
from so101rl.config.schema import GROUPS
from so101rl.envs.paper_push import InfeasibleError
from so101rl.envs.wrappers.sb3_vec_env import SB3VecEnv
from so101rl.errors import So101Error

CONF = ROOT / "conf"
ON_POLICY = ("ppo", "trpo", "recurrent_ppo")
ROLLOUTS = ["algo.n_steps=4", "algo.batch_size=8"]  # of two environments


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def error_of(*typed: str) -> So101Error:
    """The short message for the user when this cannot be built."""
    with pytest.raises((InstantiationException, So101Error)) as caught:
        cfg = config_of("n_threads=1", "algo.batch_size=256", *typed)
        build_algo(cfg, SB3VecEnv(build_env(cfg, 2)))
    error = user_error(caught.value)
    assert error is not None and len(str(error).splitlines()) <= 3
    return error


@pytest.mark.parametrize("option", options("env"))
def test_every_env_builds(option):
    typed = [f"env={option}"]
    if option == "paper_push_original":
        error = error_of(*typed)
        assert isinstance(error, InfeasibleError)
        typed.append("env.check_feasibility=false")
        fit = "sheet 148 x 210 mm cannot fit the 160 x 160 mm square at any yaw"
        for text in (fit, "the square is 0.65 m from the arm's base", typed[-1]):
            assert text in str(error)
    env = make_env(*typed)
    obs, _ = env.reset(seed=0)
    assert obs in env.observation_space
    env.step(env.action_space.sample())


@pytest.mark.parametrize("option", options("env/observation"))
def test_every_observation_builds(option):
    env = make_env(f"env/observation={option}", "residual.observe_base_action=false")
    obs, _ = env.reset(seed=3)
    names = list(env.env.observation)
    literal = np.concatenate([env.env.obs[name] for name in names], axis=1)
    if option == "paper25":  # of which each counts as it is
        assert names == ["qpos", "qvel", "object_pose", "goal", "ee_pos"]
        assert obs.shape == (2, 25)
        np.testing.assert_array_equal(obs, literal.astype(np.float32))
    assert env.single_observation_space.shape == literal.shape[1:]
    with_base = make_env(f"env/observation={option}")
    assert with_base.single_observation_space.shape == (literal.shape[1] + 6,)


def test_every_part_builds():
    for group in ("base_policy", "randomization", "hardware"):
        for option in options(group):
            env = make_env(f"{group}={option}")
            assert bool(env.env.randomization.terms) == (option != "none")
            env.reset(seed=0)
            assert env.base_action.shape == (2, 6)


def test_every_actuator_has_the_gains_of_its_preset():
    presets = config_of().hardware.presets
    assert set(presets) >= {"official", "bam_7v4", "bam_12v"}
    for name in presets:
        env = make_env(f"hardware.actuator={name}")
        gains = env.env.hardware.model.actuator_gainprm[:, 0]
        np.testing.assert_allclose(gains, presets[name].kp)


@pytest.mark.parametrize("option", options("algo"))
def test_every_algorithm_builds_from_its_yaml_alone(option):
    assert option in TINY  # training, saving and resuming are tested with it
    rollouts = ROLLOUTS if option in ON_POLICY else []
    cfg = config_of(f"algo={option}", "n_threads=1", *rollouts)
    env = SB3VecEnv(build_env(cfg, 2))
    action, _ = build_algo(cfg, env).predict(env.reset(), deterministic=True)
    assert action.shape == (2, 6)
    assert cfg.total_timesteps == cfg.algo.total_timesteps


def test_every_job_is_a_function_and_what_is_left_composes():
    folders = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra"}
    assert folders - {"experiment", "sweep"} == set(GROUPS)
    for option in options("job"):
        module, _, name = config_of(f"job={option}").job._target_.rpartition(".")
        assert callable(getattr(import_module(module), name))
    for group in ("tracking", "experiment"):
        for option in options(group):
            compose([f"{group}={option}"])


MISTAKES = {
    "env.act_scale=0": "env.act_scale=0",
    "env.physics_hz=100": "a whole multiple of env.control_hz = 30",
    "env.home_qpos=[0,0,0]": "env.home_qpos",
    "env.home_qpos=[0,0,9,0,0,0]": "env.home_qpos",
    "env.start_pose=[0.25,0.06,0.0]": "already solved",
    "env.hold_steps=0": "env.hold_steps=0",
    "env.scene.pairs.sheet_table.friction=-1": "friction=-1",
    "env.scene.pairs.sheet_table.geoms=[object,tabel]": "table",
    "~env.reward.time": "time",
    "+env.observation.depth=1": "env.observation.depth",
    "env.observation.object_pose=[1,1]": "env.observation.object_pose",
    "hardware.presets.bam_12v.kp=-1": "kp=-1",
    "hardware.max_delay=-1": "hardware.max_delay",
    "hardware.max_speed=0": "hardware.max_speed",
    "algo.batch_size=1": "batch_size",  # the rest is what the learners refuse
    "algo.device=tpu": "tpu",
}


def test_a_value_that_cannot_work_is_named():
    for typed, named in MISTAKES.items():
        assert named in str(error_of(typed))

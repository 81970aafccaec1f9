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
ROLLOUTS = ["algo.n_steps=4", "algo.batch_size=8"]  # of two environments
SMALL_BATCHES = dict.fromkeys(["ppo", "trpo", "recurrent_ppo"], ROLLOUTS)


def options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml"))


def error_of(*typed: str) -> So101Error:
    """The short message for the user when this cannot be built."""
    with pytest.raises((InstantiationException, So101Error)) as caught:
        cfg = config_of("n_threads=1", "algo.batch_size=256", *typed)
        build_algo(cfg, SB3VecEnv(build_env(cfg, 2)))
    error = user_error(caught.value)
    assert error is not None, "a traceback instead of a short message"
    assert len(str(error).splitlines()) <= 3
    return error


def test_every_group_has_options_and_every_folder_is_a_group():
    folders = {path.name for path in CONF.iterdir() if path.is_dir()} - {"hydra"}
    assert folders - {"experiment", "sweep"} == set(GROUPS)
    assert all(options(group) for group in GROUPS)


@pytest.mark.parametrize("option", options("env"))
def test_every_env_builds(option):
    typed = [f"env={option}"]
    if option == "paper_push_original":
        error = error_of(*typed)
        assert isinstance(error, InfeasibleError)
        for text in (
            "sheet 148 x 210 mm cannot fit the 160 x 160 mm square at any yaw",
            "the square is 0.65 m from the arm's base",
            "env.check_feasibility=false",
        ):
            assert text in str(error)
        typed.append("env.check_feasibility=false")
    env = make_env(*typed)
    obs, _ = env.reset(seed=0)
    assert obs in env.observation_space
    env.step(env.action_space.sample())


@pytest.mark.parametrize("option", options("env/observation"))
def test_every_observation_builds(option):
    env = make_env(f"env/observation={option}", "residual.observe_base_action=false")
    obs, _ = env.reset(seed=3)
    names = list(env.env.observation)
    if option == "paper25":  # of which each counts as it is
        assert names == ["qpos", "qvel", "object_pose", "goal", "ee_pos"]
        literal = np.concatenate([env.env.obs[name] for name in names], axis=1)
        assert obs.shape == (2, 25)
        np.testing.assert_array_equal(obs, literal.astype(np.float32))
    size = sum(env.env.obs[name].shape[1] for name in names)
    assert env.single_observation_space.shape == (size,)
    with_base = make_env(f"env/observation={option}")
    assert with_base.single_observation_space.shape == (size + 6,)


PARTS = [
    (group, option)
    for group in ("base_policy", "randomization")
    for option in options(group)
]


@pytest.mark.parametrize(("group", "option"), PARTS)
def test_every_part_builds(group, option):
    env = make_env(f"{group}={option}")
    assert bool(env.env.randomization.terms) == (option != "none")
    env.reset(seed=0)
    assert env.base_action.shape == (2, 6)


@pytest.mark.parametrize("option", options("hardware"))
def test_every_hardware_builds(option):
    presets = config_of(f"hardware={option}").hardware.presets
    assert set(presets) >= {"official", "bam_7v4", "bam_12v"}
    for name in presets:
        env = make_env(f"hardware={option}", f"hardware.actuator={name}")
        gains = env.env.hardware.model.actuator_gainprm[:, 0]
        np.testing.assert_allclose(gains, presets[name].kp)


@pytest.mark.parametrize("option", options("algo"))
def test_every_algorithm_builds_from_its_yaml_alone(option):
    assert option in TINY  # training, saving and resuming are tested with it
    cfg = config_of(f"algo={option}", "n_threads=1", *SMALL_BATCHES.get(option, []))
    env = SB3VecEnv(build_env(cfg, 2))
    model = build_algo(cfg, env)
    action, _ = model.predict(env.reset(), deterministic=True)
    assert action.shape == (2, 6)
    assert cfg.total_timesteps == cfg.algo.total_timesteps


@pytest.mark.parametrize("option", options("job"))
def test_every_job_is_a_function(option):
    module, _, name = config_of(f"job={option}").job._target_.rpartition(".")
    assert callable(getattr(import_module(module), name))


@pytest.mark.parametrize("group", ["tracking", "experiment"])
def test_what_is_left_composes(group):
    for option in options(group):
        compose([f"{group}={option}"])


MISTAKES = {
    "env.act_scale=0": "env.act_scale=0",
    "env.leash=-1": "env.leash=-1",
    "env.max_episode_steps=0": "env.max_episode_steps=0",
    "env.physics_hz=100": "a whole multiple of env.control_hz = 30",
    "env.control_hz=0": "env.control_hz=0",
    "env.home_qpos=[0,0,0]": "env.home_qpos",
    "env.home_qpos=[0,0,9,0,0,0]": "env.home_qpos",
    "env.start_pose=[0.25,0.06,0.0]": "already solved",
    "env.start_pose=[0.6,0,0]": "the start is 0.60 m from the arm's base",
    "env.hold_steps=0": "env.hold_steps=0",
    "env.scene.object_mass=0": "object_mass",
    "env.scene.object_size=[0.1,-0.1,0.001]": "object_size",
    "env.scene.pairs.sheet_table.friction=-1": "friction=-1",
    "env.scene.iterations=0": "iterations=0",
    "env.scene.pairs.sheet_table.geoms=[object,tabel]": "table",
    "+env.reward.speed=1": "speed",
    "~env.reward.time": "time",
    "+env.observation.depth=1": "env.observation.depth",
    "env.observation.object_pose=[1,1]": "env.observation.object_pose",
    "hardware.actuator=bam": "official, bam_7v4, bam_12v",
    "hardware.presets.bam_12v.kp=-1": "kp=-1",
    "hardware.max_delay=-1": "hardware.max_delay",
    "hardware.max_speed=0": "hardware.max_speed",
    "base_policy.stiffness=0": "base_policy.stiffness=0",
    "algo.batch_size=1": "batch_size",  # the rest is what the learners refuse
    "algo.policy=Mlp": "Policy Mlp unknown",
    "algo.device=tpu": "tpu",
    "algo.policy_kwargs.net_arch=[-5]": "negative",
}


@pytest.mark.parametrize("typed", MISTAKES)
def test_a_value_that_cannot_work_is_named(typed):
    zero = ["base_policy=zero"] if typed == "hardware.actuator=bam" else []
    assert MISTAKES[typed] in str(error_of(typed, *zero))

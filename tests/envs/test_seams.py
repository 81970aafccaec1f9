"""Robots, arms, observations and base policies that the core has never seen."""

import io
import json
from contextlib import suppress

import numpy as np
import pytest
import toys
from conftest import OFF_POLICY, PPO_KEYS, SHORT, config_of, make_env, run_cli
from finished import edit_json, interrupted, outcome
from omegaconf import OmegaConf, open_dict

import so101rl
from so101rl.base_policies import base
from so101rl.build import build_env, build_task
from so101rl.errors import So101Error
from so101rl.hardware.base import UnsafeCommandError
from so101rl.hardware.guard import Guard
from so101rl.runs.run_dir import RunDir
from so101rl.training.trainer import Trainer

REAL = ["packages=[toys]", "hardware._target_=toys.FakeHardware", "tracking=none",
        "+hardware.note=fake", "base_policy=zero", "evaluation.n_episodes=2",
        "evaluation.figure=false", "env.max_episode_steps=20"]  # fmt: skip
HARD = "+randomization@evaluation.tests.hard=hard"
SPOT = {"_target_": "so101rl.scene.parts.Spot", "radius": 0.02}
SPOT |= {"centre": [0.2, 0.2], "rgba": [0, 0, 1, 1]}
BOX = {"_target_": "so101rl.scene.parts.Box", "size": [0.1, 0.1, 0.1], "mass": 0.1}
BOX |= {"rgba": [0, 0, 1, 1]}
GROUPS = {"state": {"qpos": 1.0, "goal": 0.1}, "image": {"camera/front": 1}}


@pytest.fixture
def trained(tmp_path, monkeypatch):
    """Train with a changed config; returns the run and its trainer."""
    monkeypatch.chdir(tmp_path)

    def train(change, *typed, name="run", start=None):
        cfg = config_of(*SHORT, *typed)
        with open_dict(cfg):
            change(cfg)
        trainer = Trainer(cfg)
        own = {"base_policy": trainer.identity}
        run = RunDir.create(tmp_path / name, cfg=cfg, command="main.py", **own)
        trainer.run(run, start=start)
        return run, trainer

    return train


def test_a_two_joint_robot_trains_with_two_actions_through_the_same_core(
    trained, tmp_path
):
    def change(cfg):
        env = cfg.env
        env._target_ = "toys.Point"
        env.robot = {"_target_": "toys.TwoJoints", "model_path": f"{tmp_path}/toy.xml"}
        env.home_qpos, env.start_pose, env.reward = [0.3, 0.3], [0.0], {"gap": 1.0}
        env.observation = {"qpos": 1.0, "ee_pos": 0.2, "height": 1.0}
        env.scene.parts, env.scene.pairs = {"spot": SPOT}, {}
        for key in ("hold_steps", "rest_speed", "reach_scale", "near", "stuck_steps"):
            env.pop(key)

    run, trainer = trained(change, "base_policy=zero", "randomization=none", *PPO_KEYS)
    assert trainer.model.action_space.shape == (2,)
    task = run.task()
    assert (task.robot, task.actions) == ("toy", ("shoulder", "elbow"))
    rows = run.episodes()
    assert {row["failure"] for row in rows} <= {"short", "none"}
    assert all(0 < row["final_gap_m"] < 1 for row in rows)
    assert "task/gap_m" in run.metrics()[1]


def test_a_real_arm_is_evaluated_with_an_operators_marks(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    toys.EVENTS.clear()
    monkeypatch.setattr("sys.stdin", io.StringIO("y\nperhaps\njammed\n"))
    assert (
        run_cli("job=evaluate", "job.referee=operator", *REAL, "hydra.run.dir=real")
        == 0
    )
    assert toys.EVENTS == ["open", "reset", "reset", "close"]
    out = capsys.readouterr().out
    assert "randomization.terms.actuator_kp is left out: FakeHardware" in out
    assert "'perhaps' is no mark" in out
    rows = RunDir.open("real").episodes()
    assert [row["failure"] for row in rows] == ["none", "jammed"]
    # Closed also when the marks end early, a policy fails or the person gives up.
    for name, stdin, target in (
        ("marks", io.StringIO(""), "so101rl.base_policies.zero.Zero"),
        ("raises", io.StringIO("y\ny\n"), "toys.Steps"),
        ("stopped", Interrupted(), "so101rl.base_policies.zero.Zero"),
    ):
        toys.EVENTS.clear()
        monkeypatch.setattr("sys.stdin", stdin)
        typed = [f"base_policy._target_={target}", f"hydra.run.dir={name}"]
        wrong = ["+base_policy.wrong=raises"] if "toys" in target else []
        with suppress(RuntimeError):  # a bug keeps its traceback
            typed += ["job=evaluate", "job.referee=operator", *wrong]
            assert run_cli(*REAL, *typed) != 0
        assert toys.EVENTS.count("close") == 1
        status = json.loads((tmp_path / name / "run.json").read_text())["status"]
        assert status == ("killed" if name == "stopped" else "failed")
    capsys.readouterr()
    for typed, said in (
        ([], "hardware=FakeHardware: expected a simulated one to train with"),
        (["job=evaluate", HARD], "evaluation.tests=hard: expected none: FakeHardware"),
    ):
        toys.EVENTS.clear()
        assert run_cli(*REAL, *typed, "hydra.run.dir=refused") == 2
        assert said in capsys.readouterr().err
        assert toys.EVENTS == []


class Interrupted(io.StringIO):
    """Ctrl+C while somebody is asked."""

    def readline(self, *_):
        raise KeyboardInterrupt


def test_building_an_arm_moves_nothing():
    toys.EVENTS.clear()
    cfg = config_of(*REAL)
    env = build_task(cfg, 1)
    assert toys.EVENTS == []
    assert env.dropped[:2] == ["sheet_table_friction", "grip"]
    with pytest.raises(Exception, match="before reset"):
        env.step(np.zeros((1, 6)))


def test_a_guard_limits_ramps_counts_and_watches_the_clock():
    arm = toys.FakeArm(2)
    toys.EVENTS[:] = ["open"]
    low, high = np.array([-1.0, -1.0]), np.array([1.0, 1.0])
    guard = Guard(
        arm, lower=low, upper=high, max_step=0.4, ramp_steps=4, timeout_s=0.5,
        clock=lambda: arm.now,
    )  # fmt: skip
    one = np.array([0])
    guard.reset(one, np.array([[0.0, 0.9]]))
    sent = [guard.step(np.array([[5.0, 0.95]]))[0] for _ in range(5)]
    np.testing.assert_allclose(np.diff(sent, axis=0)[:, 0], [0.2, 0.3, 0.4, 0.0])
    np.testing.assert_allclose(sent[0], [0.1, 0.95])
    assert guard.interventions == {"step": 5, "limits": 1}
    arm.now += 1.0
    with pytest.raises(UnsafeCommandError, match=r"a command came 1\.0"):
        guard.step(np.zeros((1, 2)))
    with pytest.raises(
        UnsafeCommandError, match=r"command\(\).*\(2,\): expected \(1, 2\)"
    ):
        guard.step(np.zeros(2))
    toys.EVENTS[:] = ["open"]
    for angles in ([[0.0, 1.1]], [[np.nan, 0.0]], [[0.0]]):
        with pytest.raises(UnsafeCommandError, match=r"reset angle.*: expected"):
            guard.reset(one, np.array(angles))
    assert toys.EVENTS == ["open"]


def test_cameras_of_the_base_policy_alone_are_drawn_where_it_looks(monkeypatch):
    cfg = config_of("env.max_episode_steps=4", "randomization=none", "n_threads=1")
    with open_dict(cfg):
        cfg.env.cameras = {"front": {"width": 8, "height": 8}}
        steps_policy(cfg)
    monkeypatch.setattr(toys.Steps, "needs", frozenset({"qpos", "camera/front"}))
    odd = {"looks": lambda self, ids: ids % 2 == 1, "act": lambda self, obs, ids: moved}
    for name, call in odd.items():
        monkeypatch.setattr(toys.Steps, name, call)
    moved, drawn, env = np.full((3, 6), 0.5), [], build_env(cfg, 3)
    hardware = env.env.hardware
    pictures = hardware.images
    monkeypatch.setattr(
        hardware, "images", lambda *a: drawn.append(list(a[1])) or pictures(*a)
    )
    env.reset(seed=0)
    first = env.env.obs["camera/front"].copy()
    for _ in range(3):
        env.step(moved)
    assert drawn == [[0, 1, 2], [1], [1], [1]]
    now = env.env.obs["camera/front"]
    assert [(now[i] != first[i]).any() for i in range(3)] == [False, True, False]
    env.step(moved)  # the episodes end, and new ones begin
    assert drawn[-1] == [0, 1, 2]


def steps_policy(cfg, **keys):
    cfg.base_policy = {"_target_": "toys.Steps", **keys}


def test_one_base_policy_serves_a_whole_run_with_ids_of_their_own(
    trained, monkeypatch, capsys
):
    toys.Steps.made.clear()
    run, trainer = trained(steps_policy, HARD, "randomization=none", *PPO_KEYS)
    (policy,) = toys.Steps.made
    assert (policy.n, policy.closed) == (4 + 2 + 3, 1)
    used = [set(np.ravel(ids)) for ids in policy.asked]
    roles = ({0, 1, 2, 3}, {4, 5}, {6, 7, 8})
    assert all(any(ids <= role for role in roles) for ids in used)
    assert set().union(*used) == set(range(9))
    state = trainer._vec_env.state_dict()["env"]["base_policy"]
    assert len(state["steps"]) == 4  # of the training's environments alone
    assert run.info["base_policy"] == {"says": "one"}
    edit_json(run.path / "run.json", status="killed")
    monkeypatch.setattr(toys.Steps, "identity", lambda self: {"says": "two"})
    assert run_cli("packages=[toys]", "job=resume", f"run={run.path}") == 2
    both = "began with the base policy {'says': 'one'}, this one is {'says': 'two'}"
    assert both in capsys.readouterr().err


def test_a_base_policy_is_asked_once_more_only_where_time_ran_out():
    cfg = config_of("env.max_episode_steps=5", "randomization=none", "n_threads=1")
    steps_policy(cfg)
    with open_dict(cfg):
        cfg.env.observation["base/phase"] = 1.0
    env = build_env(cfg, 3)
    policy = env.base_policy
    env.reset(seed=[7, 8, 9])
    seeds = policy.seeds.copy()
    assert len(set(seeds)) == 3
    for _ in range(4):
        env.step(np.zeros((3, 6)))
    policy.asked.clear()
    obs, *_, info = env.step(np.zeros((3, 6)))
    assert policy.asked == [[0, 1, 2], [0, 1, 2]]  # the final one, and the first
    phase = env.layout.names.index("base/phase")
    assert phase == len(env.layout.names) - 1
    np.testing.assert_allclose(obs[:, -7], 0.01)
    np.testing.assert_allclose(info["final_obs"][0][-7], 0.06)
    assert not set(policy.seeds) & set(seeds)
    env.env.autoreset = False
    env.reset(seed=[7, 8, 9])
    np.testing.assert_array_equal(policy.seeds, seeds)
    env.env.elapsed[1] = 3
    for _ in range(4):
        env.step(np.zeros((3, 6)))
    assert policy.asked[-1] == [0, 2]  # the one that ended stands still


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ("raises", "the server is gone"),
        ("nan", "action of base policy Steps is not finite"),
        ("batch", r"Steps must have the shape \(4, 6\), got \(1, 6\)"),
        ("text", "Steps is no array of numbers"),
    ],
)
def test_a_base_policy_that_fails_ends_the_run_truthfully(wrong, message, trained):
    toys.Steps.made.clear()
    with pytest.raises((So101Error, RuntimeError), match=message):
        trained(lambda cfg: steps_policy(cfg, wrong=wrong), *PPO_KEYS)
    assert RunDir.open("run").info["status"] == "failed"
    assert toys.Steps.made[0].closed == 1


@pytest.mark.parametrize("wrong", ["float32", "list", "hangs"])
def test_a_base_policy_may_be_sloppy(wrong, trained, monkeypatch, capsys):
    monkeypatch.setattr(base, "CLOSE_TIMEOUT_S", 0.05)
    run, _ = trained(lambda cfg: steps_policy(cfg, wrong=wrong), *PPO_KEYS)
    assert RunDir.open(run.path).info["status"] == "finished"
    hung = "base policy Steps did not close within" in capsys.readouterr().out
    assert hung == (wrong == "hangs")


@pytest.mark.parametrize(
    "algo",
    [["algo=ppo", *PPO_KEYS[:2]], ["algo=sac", *OFF_POLICY[:3]]],
    ids=["ppo", "sac"],
)
def test_pictures_train_go_on_exactly_and_are_not_saved_by_the_env(
    algo, trained, capsys
):
    def change(cfg):
        cfg.keep_checkpoints = 9
        cfg.env.cameras = {"front": {"width": 40, "height": 36}}
        cfg.env.observation = GROUPS
        cfg.algo.policy = "MultiInputPolicy"
        cfg.algo.policy_kwargs = {}

    run, trainer = trained(change, *algo)
    space = trainer.model.observation_space
    assert (space["image"].shape, space["image"].dtype) == ((3, 36, 40), np.uint8)
    env = trainer._vec_env.env
    saved = env.state_dict()
    assert "camera/front" not in saved["env"]["obs"]
    twin = make_env(n=1).env  # any other env: what follows is about this one
    assert "camera/front" not in twin.sensors.shapes
    before = [env.step(np.full((4, 6), 0.1))[0] for _ in range(3)]
    env.load_state_dict(saved)
    again = [env.step(np.full((4, 6), 0.1))[0] for _ in range(3)]
    np.testing.assert_equal(before, again)
    assert len({picture["image"].tobytes() for picture in before}) == 3
    killed = interrupted(run.path, run.path.with_name("killed"), 64)
    assert run_cli("job=resume", f"run={killed}") == 0
    assert outcome(killed) == outcome(run.path)
    loaded = so101rl.load(run.path)
    assert len(loaded.play([3])) == 1
    obs, _ = loaded.make_env(2).reset(seed=0)
    assert loaded.act(obs).shape == (2, 6)
    with pytest.raises(So101Error, match="expected a dict of base_action, im"):
        loaded.act(obs["state"])
    assert run_cli("job=export", f"run={run.path}") == 2
    assert "policies of one vector" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"observation": {"qpos": 1, "state": {"qpos": 1}}}, "or groups of them"),
        ({"observation": {}}, "env.observation=nothing: expected at least one"),
        ({"observation": {"camera/front": 1}}, "camera/front=.*expected one of"),
        ({"observation": {"qpos": -1}}, "env.observation.qpos=-1: expected one scale"),
        ({"act_scale": [0.1, 0.2]}, r"env.act_scale=\[0.1, 0.2\]: expected 6 values"),
        ({"control": {"leash": 0}}, "env.control.leash=0: expected a number > 0"),
        ({"cameras": {"front": {"width": 8}}}, r"front=\{.width.: 8\}: expected"),
        (
            {"cameras": {"front": {"width": 8.5, "height": 8}}},
            "width=8.5: expected a w",
        ),
        ({"observation": {"state": {}}}, "env.observation.state=nothing: expected"),
        ({"observation": {"ee_jac": 1}}, r"ee_jac=an array \(n, 6, 6\): expected one"),
        ({"observation": {"base_action": {"qpos": 1}}}, "=base_action: expected ano"),
        ({"scene": {"parts": {"table": SPOT}}}, "parts=table: expected a name that"),
        ({"scene": {"parts": {"shoulder_pan": BOX}}}, "parts=shoulder_pan: expected a"),
        ({"scene": {"parts": {"object": {"rgba": [0, 1]}}}}, "rgba=.*expected 4 val"),
        ({"scene": {"parts": {"object": {"mass": 0}}}}, "parts.object.mass=0"),
        ({"scene": {"pairs": {"sheet_table": {"condim": 2}}}}, "condim=2: expected"),
    ],
)
def test_a_mistake_at_a_seam_is_named(keys, message):
    cfg = config_of("randomization=none")
    if "observation" in keys:
        cfg.env.observation = {}
    cfg.env = OmegaConf.unsafe_merge(OmegaConf.to_container(cfg.env), keys)
    with pytest.raises(Exception, match=message) as error:
        build_env(cfg, 1)
    cause = error.value.__cause__ or error.value
    assert isinstance(cause, So101Error)

"""Episodes step by step, on disk."""

import numpy as np
import pytest
from conftest import config_of, make_env
from run_dirs import create

from so101rl.evaluation.evaluate import evaluate_policies
from so101rl.files import FileError
from so101rl.policies.policy import NoResidual
from so101rl.runs.trajectories import (
    POSE,
    Trajectory,
    read_trajectories,
    write_trajectories,
)
from so101rl.seeds import episode_seeds

KEYS = ["env.max_episode_steps=15", "evaluation.n_episodes=3", "seed=0"]
KEYS += ["evaluation.video=false", "evaluation.figure=false"]


class Constant(NoResidual):
    def act(self, obs):
        return np.full((len(obs), 6), 0.5)


def test_the_steps_behind_every_row_are_kept_from_where_its_seed_puts_it(tmp_path):
    cfg = config_of(*KEYS)
    run = create(tmp_path / "run", cfg=cfg)
    policies = {"base": NoResidual(6), "residual": Constant(6)}
    evaluate_policies(cfg, run, make_env(*KEYS), policies, step=0)
    found = read_trajectories(run.path / "trajectories.npz")
    rows = run.episodes()
    assert len(rows) == sum(len(episodes) for episodes in found.values()) == 6
    for row in rows:
        steps = found[row["policy"]][row["episode"]]
        for name, values in steps.arrays().items():
            is_state = name == "tip" or name.startswith(POSE)
            assert len(values) == row["length"] + is_state
        ends = [steps.numbers["distance_m"][-1], steps.residual_l2.mean()]
        wanted = [row["final_distance_m"], row["mean_residual_l2"]]
        assert ends == pytest.approx(wanted, rel=1e-5)
        assert steps.residual_l2.any() == (row["policy"] == "residual")
    env = make_env(*KEYS, n=1)
    for seed, steps in zip(episode_seeds(0, "report", 3), found["base"], strict=True):
        env.reset(seed=[seed])
        start = env.env.poses["object"][0].astype(np.float32)
        np.testing.assert_array_equal(steps.poses["object"][0], start)
        tip, _ = env.env.kinematics.fk(env.env.hardware.arm.read()[0])
        np.testing.assert_allclose(steps.tip[0], tip[0], atol=1e-6)


def made_up(length):
    rng = np.random.default_rng(length)
    return Trajectory(
        poses={"object": rng.normal(size=(length + 1, 7))},
        tip=rng.normal(size=(length + 1, 3)),
        numbers={"gap_m": rng.normal(size=length)},
        residual_l2=rng.normal(size=length),
        clipped=rng.normal(size=length),
    )


def test_what_is_written_is_read_with_the_same_bytes_and_a_damaged_file_named(tmp_path):
    episodes = {"base": [made_up(3), made_up(5)], "residual": [made_up(1)]}
    for name in "ab":
        write_trajectories(tmp_path / name, episodes)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
    found = read_trajectories(tmp_path / "a")
    for policy, written in episodes.items():
        for one, other in zip(written, found[policy], strict=True):
            assert len(other) == len(one)
            for name, values in one.arrays().items():
                wanted = values.astype(np.float32)
                np.testing.assert_array_equal(other.arrays()[name], wanted)
    path = tmp_path / "t.npz"
    write_trajectories(path, {"base": [made_up(3)]})
    whole = path.read_bytes()
    for content in (b"", b"PK", whole[: len(whole) // 2]):
        path.write_bytes(content)
        with pytest.raises(FileError, match=r"t\.npz"):
            read_trajectories(path)
    arrays = {f"base/{name}": np.zeros(3) for name in made_up(3).arrays()}
    np.savez(path, **arrays, **{"base/length": np.array([3])})
    with pytest.raises(FileError, match="pose/object has 3 rows"):
        read_trajectories(path)

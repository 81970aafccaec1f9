"""Episodes step by step, on disk."""

import csv

import numpy as np
import pytest
from conftest import PPO_KEYS, make_env

from so101rl.evaluation.rollout import run_episodes
from so101rl.files import FileError
from so101rl.policies.policy import NoResidual
from so101rl.runs.trajectories import (
    NAMES,
    STATES,
    read_trajectories,
    write_trajectories,
)
from so101rl.seeds import episode_seeds


@pytest.fixture(scope="module")
def played():
    env = make_env("env.max_episode_steps=15")
    return run_episodes(env, NoResidual(), episode_seeds(0, "report", 3))


def test_what_is_written_is_read(played, tmp_path):
    path = tmp_path / "t.npz"
    write_trajectories(path, {"base": [e.trajectory for e in played]})
    found = read_trajectories(path)
    assert list(found) == ["base"]
    assert len(found["base"]) == len(played)
    for episode, read in zip(played, found["base"], strict=True):
        for name in NAMES:
            assert len(getattr(read, name)) == episode.length + (name in STATES)
            wanted = getattr(episode.trajectory, name).astype(np.float32)
            np.testing.assert_array_equal(getattr(read, name), wanted)


def test_the_same_episodes_give_the_same_bytes(played, tmp_path):
    for name in "ab":
        write_trajectories(tmp_path / name, {"base": [e.trajectory for e in played]})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_an_episode_starts_where_its_seed_puts_it(played):
    env = make_env("env.max_episode_steps=15", n=1)
    for episode in played:
        env.reset(seed=[episode.seed])
        start = env.env.true_pose[0]
        np.testing.assert_array_equal(episode.trajectory.object_pose[0], start)
        tip, _ = env.env.kinematics.fk(env.env.hardware.arm.read()[0])
        np.testing.assert_allclose(episode.trajectory.tip[0], tip[0], atol=1e-12)


def test_a_run_keeps_the_steps_behind_its_table(run_main):
    code, said, path = run_main(*PPO_KEYS)
    assert code == 0, said.err
    found = read_trajectories(path / "trajectories.npz")
    with (path / "episodes.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == sum(len(episodes) for episodes in found.values()) == 6
    for row in rows:
        steps = found[row["policy"]][int(row["episode"])]
        assert len(steps.distance_m) == int(row["length"])
        final = float(row["final_distance_m"])
        assert steps.distance_m[-1] == pytest.approx(final, rel=1e-6)
        size = float(row["mean_residual_l2"])
        assert steps.residual_l2.mean() == pytest.approx(size, rel=1e-5)
    assert not any(steps.residual_l2.any() for steps in found["base"])


@pytest.mark.parametrize("content", [b"", b"PK", None])
def test_a_damaged_file_is_named(played, tmp_path, content):
    path = tmp_path / "t.npz"
    write_trajectories(path, {"base": [e.trajectory for e in played]})
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2] if content is None else content)
    with pytest.raises(FileError, match=r"t\.npz"):
        read_trajectories(path)


def test_an_array_that_lacks_rows_is_refused(tmp_path):
    path = tmp_path / "t.npz"
    arrays = {f"base/{name}": np.zeros(3) for name in NAMES}
    np.savez(path, **arrays, **{"base/length": np.array([3])})
    with pytest.raises(FileError, match="object_pose has 3 rows"):
        read_trajectories(path)

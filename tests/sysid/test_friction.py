"""`job=friction`: the sheet slides as Coulomb says, and the job says so."""

import dataclasses

import numpy as np
import pytest
from conftest import config_of, make_env
from PIL import Image

from so101rl.errors import ConfigError
from so101rl.hardware.base import NotSimulatedError, ObjectTracker
from so101rl.jobs.friction import friction as friction_job
from so101rl.sysid import friction

PAIR = "env.scene.pairs.sheet_table"
G = 9.81
OTHER = [f"{PAIR}.friction=0.3", "env.scene.object_mass=0.008", f"{PAIR}.spin=0.05"]


def pulled(*typed):
    env = make_env(
        "job=friction",
        "randomization=none",
        "env.control_hz=360",
        *typed,
        n=friction.WORLDS,
    )
    return env.env.scene, friction.pull(env.env, rise=2.0, speed=0.2)


@pytest.fixture(scope="module")
def usual():
    return pulled()


@pytest.fixture(scope="module", params=[(), OTHER], ids=["usual", "other"])
def case(request, usual):
    """Friction, mass [kg], spin [m] and what happened."""
    scene, pulls = pulled(*request.param) if request.param else usual
    pair = scene.pairs["sheet_table"]
    return pair.friction, scene.object_mass, pair.spin, pulls


def test_it_slides_and_slides_on_at_friction_times_weight(case):
    mu, mass, _, pulls = case
    assert pulls.slides_at() == pytest.approx(mu * mass * G, rel=0.04)
    assert pulls.slides_on_at() == pytest.approx(mu * mass * G, rel=0.01)


def test_what_is_let_go_slows_by_friction_times_gravity(case):
    mu, _, _, pulls = case
    assert pulls.slows_by() == pytest.approx(mu * G, rel=0.05)


def test_it_turns_where_the_corners_slide_and_spin(case):
    mu, mass, spin, pulls = case
    radius = np.sqrt(0.105**2 + 0.148**2) / 2
    # The work per angle that four corners do, each with a quarter of the weight.
    moment = 4 * (mass * G / 4) * np.sqrt((mu * radius) ** 2 + spin**2)
    assert pulls.turns_at(radius) == pytest.approx(moment, rel=0.04)


def test_evenly_spread_weight_turns_at_the_mean_radius(usual):
    scene, _ = usual
    x, y = (
        (np.arange(1000) + 0.5) / 1000 * length - length / 2
        for length in scene.object_size[:2]
    )
    mean = np.hypot(*np.meshgrid(x, y)).mean()
    expected = friction.coulomb(scene).even_moment
    assert expected == pytest.approx(0.5 * 0.005 * G * mean, rel=1e-4)


def test_nothing_moves_under_a_weaker_pull(usual):
    _, pulls = usual
    weak = pulls.force < 0.95 * 0.5 * 0.005 * G
    assert np.abs(pulls.moved[weak]).max() < friction.SLID / 2


def test_what_did_not_slide_is_said_to_need_more(usual):
    _, pulls = usual
    stuck = dataclasses.replace(pulls, moved=np.zeros_like(pulls.moved))
    assert stuck.slides_at() == np.inf


@pytest.mark.parametrize(
    "typed", [[f"{PAIR}.friction=0.0"], [f"{PAIR}.geoms=[object,gripper_body]"]]
)
def test_without_friction_there_is_nothing_to_test(typed):
    env = make_env("randomization=none", *typed, n=1)
    with pytest.raises(friction.NoFrictionError, match=r"env\.scene\.pairs"):
        friction.coulomb(env.env.scene)


@pytest.mark.parametrize("word", ["job.rise=0", "job.speed=-0.1", "job.speed=.inf"])
def test_a_pull_that_cannot_be_is_refused(word, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=word.partition("=")[0]):
        friction_job(config_of("job=friction", "n_threads=1", word))


def test_the_job_prints_and_draws(run_main, tmp_path):
    code, said, _ = run_main("job=friction", "job.rise=1.0")
    assert code == 0, said.err
    assert "begins to slide at a pull of [mN]" in said.out
    assert "env.scene.pairs.sheet_table.friction" in said.out
    assert "randomization.terms.sheet_table_friction" in said.out
    *_, path = said.out.split()
    with Image.open(tmp_path / path) as picture:
        assert np.ptp(np.asarray(picture)) > 100
    assert not list(tmp_path.rglob(".hydra"))


def test_a_real_object_cannot_be_pulled_at():
    class Camera(ObjectTracker):
        def read(self):
            return np.zeros((1, 7))

        def place(self, ids, pose):
            return None

    with pytest.raises(NotSimulatedError, match=r"Camera.*hardware=sim"):
        Camera().pull(np.zeros((1, 6)))

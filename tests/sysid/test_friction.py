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


@pytest.fixture(scope="module", params=[[], OTHER], ids=["usual", "other"])
def case(request):
    """The scene and what happened."""
    typed = ["job=friction", "randomization=none", "env.control_hz=360"]
    env = make_env(*typed, *request.param, n=friction.WORLDS)
    return env.env.scene, friction.pull(env.env, rise=2.0, speed=0.2)


def test_the_sheet_slides_and_turns_as_coulomb_says(case):
    scene, pulls = case
    pair, mass = scene.pairs["sheet_table"], scene.object_mass
    force = pair.friction * mass * G
    assert pulls.slides_at() == pytest.approx(force, rel=0.04)
    assert pulls.slides_on_at() == pytest.approx(force, rel=0.01)
    assert pulls.slows_by() == pytest.approx(pair.friction * G, rel=0.05)
    assert np.abs(pulls.moved[pulls.force < 0.95 * force]).max() < friction.SLID / 2
    radius = np.sqrt(0.105**2 + 0.148**2) / 2
    # The work per angle that four corners do, each with a quarter of the weight.
    moment = 4 * (mass * G / 4) * np.hypot(pair.friction * radius, pair.spin)
    assert pulls.turns_at(radius) == pytest.approx(moment, rel=0.04)
    assert friction.coulomb(scene).moment == pytest.approx(moment)
    stuck = dataclasses.replace(pulls, moved=np.zeros_like(pulls.moved))
    assert stuck.slides_at() == np.inf


def test_evenly_spread_weight_turns_at_the_mean_radius(case):
    scene, _ = case
    x, y = (
        (np.arange(1000) + 0.5) / 1000 * length - length / 2
        for length in scene.object_size[:2]
    )
    weight = scene.pairs["sheet_table"].friction * scene.object_mass * G
    expected = weight * np.hypot(*np.meshgrid(x, y)).mean()
    even_moment = friction.coulomb(scene).even_moment
    assert even_moment == pytest.approx(expected, rel=1e-4)


@pytest.mark.parametrize("key", ["friction=0.0", "geoms=[object,gripper_body]"])
def test_without_friction_there_is_nothing_to_test(key):
    env = make_env("randomization=none", f"{PAIR}.{key}", n=1)
    with pytest.raises(friction.NoFrictionError, match=r"env\.scene\.pairs"):
        friction.coulomb(env.env.scene)


@pytest.mark.parametrize("word", ["job.rise=0", "job.speed=-0.1", "job.speed=.inf"])
def test_a_pull_that_cannot_be_is_refused(word):
    with pytest.raises(ConfigError, match=word.partition("=")[0]):
        friction_job(config_of("job=friction", "n_threads=1", word))


def test_the_job_prints_and_draws(run_main, tmp_path):
    code, said, _ = run_main("job=friction", "job.rise=1.0")
    assert code == 0, said.err
    assert "begins to slide at a pull of [mN]" in said.out
    assert f"{PAIR}.friction" in said.out
    assert "randomization.terms.sheet_table_friction" in said.out
    with Image.open(tmp_path / said.out.split()[-1]) as picture:
        assert np.ptp(np.asarray(picture)) > 100
    assert not list(tmp_path.rglob(".hydra"))


def test_a_real_object_cannot_be_pulled_at():
    class Camera(ObjectTracker):
        read = place = None

    with pytest.raises(NotSimulatedError, match=r"Camera.*hardware=sim"):
        Camera().pull(np.zeros((1, 6)))

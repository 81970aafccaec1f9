"""`job=friction`: the sheet slides as Coulomb says, and the job says so."""

import numpy as np
import pytest
from conftest import config_of, make_env
from PIL import Image

from so101rl.errors import So101Error
from so101rl.hardware.base import NotSimulatedError, ObjectTracker
from so101rl.jobs.friction import friction as friction_job
from so101rl.sysid import friction

PAIR = "env.scene.pairs.sheet_table"
G = 9.81
OTHER = [
    f"{PAIR}.friction=0.3",
    "env.scene.parts.object.mass=0.008",
    f"{PAIR}.spin=0.05",
]


@pytest.mark.parametrize("other", [[], OTHER], ids=["usual", "other"])
def test_the_sheet_slides_and_turns_as_coulomb_says(other):
    typed = ["job=friction", "randomization=none", "env.control_hz=360", *other]
    task = make_env(*typed, n=friction.WORLDS).env
    scene, pulls = task.scene, friction.pull(task, rise=2.0, speed=0.2)
    pair, mass = scene.pairs["sheet_table"], scene.parts["object"].mass
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
    # Evenly spread, the weight acts at the mean distance from the middle.
    x, y = (
        ((np.arange(1000) + 0.5) / 1000 - 0.5) * w
        for w in scene.parts["object"].size[:2]
    )
    even_moment = force * np.hypot(*np.meshgrid(x, y)).mean()
    assert friction.coulomb(scene).even_moment == pytest.approx(even_moment, rel=1e-4)


@pytest.mark.parametrize(
    ("word", "message"),
    [
        (f"{PAIR}.friction=0.0", r"env\.scene\.pairs\.sheet_table\.friction is 0"),
        (f"{PAIR}.geoms=[object,gripper_body]", "no pair lets a box and the table"),
        ("job.speed=.inf", r"job\.speed=inf"),
    ],
)
def test_a_pull_that_shows_nothing_is_refused(word, message):
    with pytest.raises(So101Error, match=message):
        friction_job(config_of("job=friction", "n_threads=1", word))


def test_the_job_prints_and_draws(run_main, tmp_path):
    code, said, _ = run_main("job=friction", "job.rise=1.0")
    assert code == 0, said.err
    slides, key = "begins to slide at a pull of [mN]", f"{PAIR}.friction"
    for words in (slides, key, "randomization.terms.sheet_table_friction"):
        assert words in said.out
    with Image.open(tmp_path / said.out.split()[-1]) as picture:
        assert np.ptp(np.asarray(picture)) > 100
    assert not list(tmp_path.rglob(".hydra"))


def test_a_real_object_cannot_be_pulled_at():
    class Camera(ObjectTracker):
        read = place = None

    with pytest.raises(NotSimulatedError, match=r"Camera.*hardware=sim"):
        Camera().pull("object", np.zeros((1, 6)))

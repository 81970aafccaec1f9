"""`job=friction`: pull at the simulated object and compare with what Coulomb says."""

import copy
from contextlib import closing
from pathlib import Path

from omegaconf import DictConfig

from so101rl.build import build_env
from so101rl.figures.friction import figure_friction
from so101rl.sysid.friction import WORLDS, coulomb, pull
from so101rl.sysid.report import advice, report


def friction(cfg: DictConfig) -> None:
    """Measure how the object slides and turns on the table, print it and draw it.

    The randomization of the config is only named, not applied.
    """
    plain = copy.deepcopy(cfg)
    plain.randomization.terms = {}
    plain.env.control_hz = cfg.env.physics_hz  # not to miss the moment when it slips
    with closing(build_env(plain, WORLDS)) as env:
        expected = coulomb(env.env.scene)
        pulls = pull(env.env, rise=cfg.job.rise, speed=cfg.job.speed)
    terms = [
        f"randomization.terms.{name}"
        for name, term in cfg.randomization.terms.items()
        if term.quantity in (f"friction/{expected.pair}", f"{expected.object}_mass")
    ]
    print("\n".join([*report(pulls, expected), *advice(expected, terms)]))
    print(figure_friction(Path(cfg.job.directory), pulls=pulls, expected=expected))

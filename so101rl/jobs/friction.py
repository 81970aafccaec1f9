"""`job=friction`: pull at the simulated sheet and compare with what Coulomb says."""

import copy
from collections.abc import Sequence
from pathlib import Path

from omegaconf import DictConfig

from so101rl.build import build_env
from so101rl.figures.friction import figure_friction
from so101rl.sysid.friction import WORLDS, Coulomb, Pulls, coulomb, pull


def friction(cfg: DictConfig) -> None:
    """Measure how the sheet slides and turns on the table, print it and draw it.

    Args:
        cfg: Composed config; randomization is left out of it.
    """
    plain = copy.deepcopy(cfg)
    plain.randomization.terms = {}
    plain.env.control_hz = cfg.env.physics_hz  # not to miss the moment when it slips
    env = build_env(plain, WORLDS)
    expected = coulomb(env.env.scene)
    pulls = pull(env.env, rise=cfg.job.rise, speed=cfg.job.speed)
    env.close()
    terms = [
        f"randomization.terms.{name}"
        for name, term in cfg.randomization.terms.items()
        if term.quantity in (f"friction/{expected.pair}", "object_mass")
    ]
    print("\n".join([*report(pulls, expected), *advice(expected.pair, terms)]))
    print(figure_friction(Path(cfg.job.directory), pulls=pulls, expected=expected))


def report(pulls: Pulls, expected: Coulomb) -> list[str]:
    """The lines that are printed: measured against what Coulomb says."""
    rows = (
        ("begins to slide at a pull of [mN]", pulls.slides_at(), expected.force, 1e3),
        ("keeps sliding at [mN]", pulls.slides_on_at(), expected.force, 1e3),
        ("let go, it slows by [m/s^2]", pulls.slows_by(), expected.slowing, 1),
        (
            "begins to turn at a moment of [mN m]",
            pulls.turns_at(expected.radius),
            expected.moment,
            1e3,
        ),
    )
    lines = [f"{'':38}measured  Coulomb"]
    for words, found, right, unit in rows:
        off = round(100 * (found / right - 1), 1) + 0.0  # no -0.0
        lines.append(
            f"{words:38}{unit * found:#8.3g} {unit * right:#8.3g}  {off:+.1f} %"
        )
    even = 1e3 * expected.even_moment
    return [
        *lines,
        f"Sliding at that speed it hops, by up to {1e3 * pulls.hops():.2f} mm.",
        "It turns like a plate on its four corners; one that lies flat, as paper does, "
        f"would turn at {even:.3g} mN m.",
    ]


def advice(pair: str, terms: Sequence[str]) -> list[str]:
    """Which config keys to change if that looks wrong.

    Args:
        pair: name of the contact pair.
        terms: keys of the randomization terms that change it in an episode.
    """
    lines = [
        f"If that looks wrong: env.scene.pairs.{pair}.friction scales all four, "
        "env.scene.object_mass all but the slowing."
    ]
    if terms:
        lines.append(f"Episodes differ from it by {' and '.join(terms)}.")
    return lines

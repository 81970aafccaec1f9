"""What `job=friction` prints: measured against what Coulomb friction predicts."""

from collections.abc import Sequence

from so101rl.sysid.friction import Coulomb, Pulls


def report(pulls: Pulls, expected: Coulomb) -> list[str]:
    """The measured values beside the predicted ones, one line each."""
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
    for name, measured, predicted, unit in rows:
        error = round(100 * (measured / predicted - 1), 1) + 0.0  # no -0.0
        values = f"{unit * measured:#8.3g} {unit * predicted:#8.3g}"
        lines.append(f"{name:38}{values}  {error:+.1f} %")
    even = 1e3 * expected.even_moment
    return [
        *lines,
        f"Sliding at that speed it hops, by up to {1e3 * pulls.hops():.2f} mm.",
        "It turns like a plate on its four corners; one that lies flat would turn at "
        f"{even:.3g} mN m.",
    ]


def advice(expected: Coulomb, terms: Sequence[str]) -> list[str]:
    """Which config keys change the friction.

    Args:
        expected: names the object and its contact pair.
        terms: keys of the randomization terms that change it in an episode.
    """
    lines = [
        f"If that looks wrong: env.scene.pairs.{expected.pair}.friction scales all "
        f"four, env.scene.parts.{expected.object}.mass all but the slowing."
    ]
    if terms:
        lines.append(f"Episodes differ from it by {' and '.join(terms)}.")
    return lines

"""How often intervals hold the truth and tests err, measured by simulation.

    python benchmarks/coverage.py            some minutes
    python benchmarks/coverage.py --quick    only show that it runs

Seed means are drawn from populations whose true mean is known. Each draw gives an
interval; the result is the share of intervals that hold the true mean. The intervals
are those of so101rl.statistics, computed for many draws at once. No time is measured:
the same versions give the same numbers.
"""

import argparse
import json
import sys
import warnings
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))  # this folder is no part of the installed package

from benchmarks.measure import machine  # noqa: E402
from so101rl.files import write_atomic  # noqa: E402
from so101rl.statistics import detectable, seeds_needed, shape_warning, wilson  # noqa: E402
from so101rl.statistics.intervals import bca_ends, t_ends  # noqa: E402
from so101rl.statistics.iqm import CUT, iqm_ends  # noqa: E402
from so101rl.statistics.paired_test import improvement_ends, sign_flip_p  # noqa: E402

RESULTS = ROOT / "benchmarks" / "results"
LEVEL = 0.95  # nominal coverage of every interval
ALPHA = 0.05  # nominal level of every test
SEEDS = (3, 5, 10, 20)
PAIRS = (6, 8, 10, 12)  # of the sign-flip test
POINTS = 100_000  # equally likely values of a population
EPISODES = 100  # of one seed, where a seed mean is a success rate
CHUNK = 2000  # draws at once
FULL = {"draws": 10_000, "resamples": 2000}
SHORT = {"draws": 50, "resamples": 50}
METHODS = ("t", "bca", "percentile", "iqm")
Ends = tuple[np.ndarray, np.ndarray]


def populations() -> dict[str, np.ndarray]:
    """Equally likely seed means by name; their mean and IQM are the true values."""
    return {
        "normal": stats.norm.ppf(_grid(), 0.8, 0.05),
        "uniform": _grid(),
        "logistic": stats.logistic.ppf(_grid(), 0.8, 0.05),
        "Beta(19, 1), near 1": stats.beta.ppf(_grid(), 19, 1),
        "the same, of 100 episodes": success_rates(19, 1),
        "lognormal, sigma 1": stats.lognorm.ppf(_grid(), 1.0),
        "half of the seeds fail": failing(0.5),
        "one seed in five fails": failing(0.2),
        "one seed in ten fails": failing(0.1),
    }


def success_rates(a: float, b: float) -> np.ndarray:
    """Success rates of 100 episodes, for Beta distributed success probabilities."""
    k = np.arange(EPISODES + 1)
    chances = stats.betabinom.pmf(k, EPISODES, a, b)
    return np.repeat(k / EPISODES, np.round(POINTS * chances).astype(int))


def failing(share: float) -> np.ndarray:
    """Seeds that reach about 95 %, except a share that stays at about 10 %."""
    n = round(share * POINTS)
    failed = stats.norm.ppf(_grid(n), 0.10, 0.03)
    return np.concatenate([failed, stats.norm.ppf(_grid(POINTS - n), 0.95, 0.02)])


def intervals(
    population: np.ndarray, n: int, draws: int, resamples: int
) -> dict[str, Any]:
    """Coverage of every method [%], and all shape warnings on the same draws."""
    mean, iqm = population.mean(), stats.trim_mean(population, CUT)
    rng = np.random.default_rng(n)
    hits: dict[str, list[np.ndarray]] = {method: [] for method in METHODS}
    oddities: list[str | None] = []
    for chunk, size in enumerate(_chunks(draws)):
        values = rng.choice(population, (size, n))
        # Draws that are all equal have no bootstrap: they count as missed.
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            hits["t"].append(_holds(t_ends(values, LEVEL), mean))
            found = bca_ends(values, LEVEL, resamples, chunk)
            hits["bca"].append(_holds(found, mean))
            found = percentile_ends(values, resamples, chunk)
            hits["percentile"].append(_holds(found, mean))
            hits["iqm"].append(_holds(iqm_ends(values, LEVEL)[1:], iqm))
        oddities += [shape_warning(dict(enumerate(row))) for row in values.tolist()]
    t, silent = (
        np.concatenate(hits["t"]),
        np.array([odd is None for odd in oddities]),
    )
    counts = Counter(odd for odd in oddities if odd)
    return {
        "n": n,
        **{method: _percent(np.concatenate(hits[method])) for method in METHODS},
        "warned": {odd: 100 * k / draws for odd, k in sorted(counts.items())},
        "t_where_silent": _percent(t[silent]) if silent.any() else None,
    }


def percentile_ends(values: np.ndarray, resamples: int, seed: int) -> Ends:
    """The usual bootstrap of the mean, for contrast."""
    found = stats.bootstrap(
        (values,),
        np.mean,
        n_resamples=resamples,
        axis=-1,
        confidence_level=LEVEL,
        method="percentile",
        batch=100,
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return found.low, found.high


def pooled(draws: int) -> dict[str, float]:
    """Coverage [%] with and without pooling; five seeds, whose rates have sd 0.15."""
    rng = np.random.default_rng(0)
    rates = np.clip(rng.normal(0.5, 0.15, (draws, 5)), 0, 1)
    wins = rng.binomial(EPISODES, rates)
    ends = {k: wilson(k, 5 * EPISODES, LEVEL) for k in set(wins.sum(-1).tolist())}
    low, high = np.array([ends[k] for k in wins.sum(-1).tolist()]).T
    return {
        "wilson_of_500": _percent(_holds((low, high), 0.5)),
        "t_over_5": _percent(_holds(t_ends(wins / EPISODES, LEVEL), 0.5)),
    }


def improvements(n: int, draws: int) -> list[dict[str, Any]]:
    """Coverage of P(A > B) [%], for independent and for correlated arms."""
    rng, rows = np.random.default_rng(n), []
    for truth in (0.5, 0.75, 0.9, 0.97):
        row = {"n": n, "truth": truth}
        for name, shared in (("apart", 0.0), ("correlated", 0.5)):
            b, own = rng.normal(size=(2, draws, n))
            a = shared * b + np.sqrt(1 - shared**2) * own
            a += np.sqrt(2) * stats.norm.ppf(truth)
            points = (a[:, :, None] > b[:, None, :]).mean((1, 2))
            known = {p: improvement_ends(p, n, n, LEVEL) for p in set(points.tolist())}
            low, high = np.array([known[p] for p in points.tolist()]).T
            row[name] = _percent(_holds((low, high), truth))
        rows.append(row)
    return rows


def sign_flips(n: int, draws: int) -> dict[str, Any]:
    """How often the sign-flip test claims a difference [%], false and true ones.

    `none` and `skewed` are symmetric and skewed differences of mean 0. `shown` are as
    large as `detectable` returns, `shown_of_8` as it returns for the smallest p of
    eight comparisons; None where so few pairs cannot claim anything.
    """
    rng = np.random.default_rng(n)
    normal = rng.normal(size=(draws, n))
    skewed = rng.lognormal(sigma=1.0, size=(draws, n)) - np.exp(0.5)
    found: dict[str, float | None] = {
        "none": _claimed(normal, ALPHA),
        "skewed": _claimed(skewed, ALPHA),
    }
    for name, alpha in (("shown", ALPHA), ("shown_of_8", ALPHA / 8)):
        found[name] = None
        if n >= seeds_needed(1, alpha):
            found[name] = _claimed(normal + detectable(n, 1, alpha=alpha), alpha)
    return {"n": n, **found}


def _claimed(differences: np.ndarray, alpha: float) -> float:
    parts = np.array_split(differences, len(_chunks(len(differences))))
    p = np.concatenate([sign_flip_p(part, exact=True) for part in parts])
    return _percent(p <= alpha)


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate everything and write json and table."""
    options = _parser().parse_args(arguments)
    settings = SHORT if options.quick else FULL
    draws = settings["draws"]
    where = machine()
    result = {
        "settings": settings | {"level": LEVEL, "alpha": ALPHA},
        "machine": {key: where[key] for key in ("system", "versions")},
        "commit": where["commit"],
        "dirty": where["dirty"],
        "intervals": [
            _printed({"population": name, **intervals(population, n, **settings)})
            for name, population in populations().items()
            for n in SEEDS
        ],
        "pooled": _printed(pooled(draws)),
        "improvement": [_printed(row) for n in SEEDS for row in improvements(n, draws)],
        "sign_flip": [_printed(sign_flips(n, draws)) for n in PAIRS],
    }
    path = options.out / "coverage.json"
    write_atomic(path, json.dumps(result, indent=1) + "\n")
    write_atomic(options.out / "coverage.md", table(result))
    print(f"written: {path}")


def table(result: dict[str, Any]) -> str:
    """The result as Markdown."""
    settings, flips = result["settings"], result["sign_flip"]
    odd = result["pooled"]
    lines = [
        "<!-- written by benchmarks/coverage.py; do not edit -->",
        "",
        f"Coverage [%] of {100 * LEVEL:.0f} % intervals at {_slashes(SEEDS, 0)} seeds:",
        "",
        "| seed means | t | BCa | percentile | IQM | warned | t where silent |",
        "|---|---|---|---|---|---|---|",
        *(_line(name, rows) for name, rows in _by("population", result["intervals"])),
        "",
        "P(A > B), coverage [%] at as many seeds of each arm, and where the arms "
        "correlate by 0.5:",
        "",
        "| truth [%] | apart | correlated |",
        "|--:|---|---|",
        *(
            f"| {100 * truth:.0f} | {_column('apart', rows)} "
            f"| {_column('correlated', rows)} |"
            for truth, rows in _by("truth", result["improvement"])
        ),
        "",
        f"Sign-flip test at {ALPHA}, claims [%] at {_slashes(PAIRS, 0)} pairs:",
        "",
        "| differences | claimed |",
        "|---|---|",
        f"| normal, mean 0 | {_column('none', flips)} |",
        f"| lognormal, mean 0 | {_column('skewed', flips)} |",
        f"| normal, as large as `detectable` says | {_column('shown', flips)} |",
        f"| the same, of 8 comparisons | {_column('shown_of_8', flips)} |",
        "",
        f"Five seeds of {EPISODES} episodes whose rates differ by sd 0.15: Wilson over "
        f"the {5 * EPISODES} pooled episodes",
        f"covers {odd['wilson_of_500']:.1f} %, t over the five seed means "
        f"{odd['t_over_5']:.1f} %.",
        "",
        f"{settings['draws']:,} draws each (standard error at most "
        f"{50 / settings['draws'] ** 0.5:.1f}), {settings['resamples']:,} resamples. "
        "Draws of equal",
        "means have no bootstrap, no IQM interval and a t without width: all missed.",
    ]
    return "\n".join(lines) + "\n"


def _line(name: str, rows: Sequence[dict[str, Any]]) -> str:
    cells = [name, *(_column(method, rows) for method in METHODS)]
    cells.append(_slashes([sum(row["warned"].values()) for row in rows], 0))
    cells.append(_column("t_where_silent", rows))
    return f"| {' | '.join(cells)} |"


def _column(key: str, rows: Sequence[dict[str, Any]]) -> str:
    return _slashes([row[key] for row in rows], 1)


def _slashes(values: Sequence[float | None], digits: int) -> str:
    return " / ".join("-" if v is None else f"{v:.{digits}f}" for v in values)


def _by(key: str, rows: Sequence[dict[str, Any]]) -> list[tuple[Any, list[Any]]]:
    names = dict.fromkeys(row[key] for row in rows)
    return [(name, [row for row in rows if row[key] == name]) for name in names]


def _grid(n: int = POINTS) -> np.ndarray:
    return (np.arange(n) + 0.5) / n


def _chunks(draws: int) -> list[int]:
    return [min(CHUNK, draws - start) for start in range(0, draws, CHUNK)]


def _holds(ends: Ends, truth: float) -> np.ndarray:
    return (ends[0] <= truth) & (truth <= ends[1])


def _percent(found: np.ndarray) -> float:
    return round(float(100 * found.mean()), 2)


def _printed(row: dict[str, Any]) -> dict[str, Any]:
    print(row, flush=True)
    return row


def _parser() -> argparse.ArgumentParser:
    assert __doc__ is not None
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, default=RESULTS)
    parser.add_argument("--quick", action="store_true", help="only show that it runs")
    return parser


if __name__ == "__main__":
    main()

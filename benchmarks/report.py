"""Table and figures of `results/*.json`."""

import json
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.measure import Row, commit_text
from so101rl.figures.style import GROUP_COLOURS, STYLE

ORDER = (
    "stepping",
    "rival",
    "memory",
    "peer",
    "ppo",
    "sac",
    "startup",
    "overhead",
    "saving",
)
FAR = 3  # largest factor over a target that is drawn
MET, MISSED = "#009E73", "#D55E00"


def read(folder: Path) -> dict[str, Any]:
    """The existing results by name, in the order of the table."""
    paths = {name: folder / f"{name}.json" for name in ORDER}
    return {
        name: json.loads(path.read_text())
        for name, path in paths.items()
        if path.exists()
    }


def is_met(row: dict[str, Any]) -> bool:
    """Whether a row's median reaches its target."""
    if row["sense"] == ">=":
        return bool(row["median"] >= row["target"])
    return bool(row["median"] <= row["target"])


def write_table(folder: Path) -> Path:
    """Write `table.md`: one line per row, medians with their range."""
    lines = ["<!-- written by benchmarks/run.py; do not edit -->", ""]
    for name, result in read(folder).items():
        lines += [f"**{result['title']}** ({_where(result)})", ""]
        lines += ["| | median | min to max | target | |", "|---|--:|--:|--:|---|"]
        lines += [_line(row) for row in result["rows"]]
        lines.append("")
        if name == "stepping":
            lines += [*_curve_lines(result["extra"]["curve"]), ""]
    path = folder / "table.md"
    path.write_text("\n".join(lines))
    return path


def line_of(row: Row) -> str:
    """A row as a line for the terminal."""
    found = row.to_dict()
    median, low, high = (_number(found[key]) for key in ("median", "min", "max"))
    text = f"{row.label}: {median} {row.unit} ({low} to {high})"
    if row.target is not None:
        verdict = "met" if is_met(found) else "missed"
        text += f", target {row.sense} {row.target:g}: {verdict}"
    return text


def _line(row: dict[str, Any]) -> str:
    median, low, high = (_number(row[key]) for key in ("median", "min", "max"))
    cells = [row["label"], f"{median} {row['unit']}", f"{low} to {high}", "", ""]
    if row["target"] is not None:
        cells[3] = f"{row['sense']} {row['target']:g}"
        cells[4] = "met" if is_met(row) else "missed"
    return f"| {' | '.join(cells)} |"


def _curve_lines(curve: dict[str, dict[str, list[float]]]) -> list[str]:
    """Median speeds over the batch width."""
    env, bare = (
        {n: statistics.median(values) for n, values in curve[kind].items()}
        for kind in ("env", "bare")
    )
    rows = {
        "environment [env steps/s]": [_number(env[n]) for n in env],
        "bare physics [env steps/s]": [_number(bare[n]) for n in env],
        "environment / bare physics": [_number(env[n] / bare[n]) for n in env],
    }
    head = ["envs in the batch, randomization=default", *env]
    lines = [f"| {' | '.join(head)} |", "|---|" + "--:|" * len(env)]
    return lines + [f"| {label} | {' | '.join(row)} |" for label, row in rows.items()]


def _where(result: dict[str, Any]) -> str:
    where, load = result["machine"], result["load"]
    commit = commit_text(where)
    return (
        f"{where['usable_cpus']} cores, load {load['before'][0]:g} before and "
        f"{load['after'][0]:g} after, {result['repeats']} repeats, commit {commit}"
    )


def _number(value: float) -> str:
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.2f}" if abs(value) < 10 else f"{value:.1f}"


def draw(folder: Path) -> Path | None:
    """Write `speed.png`; returns None if one of its measurements is missing."""
    results = read(folder)
    if not {"stepping", "rival", "ppo"} <= set(results):
        return None
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 6.2), layout="constrained")
        curve, bars = figure.subplots(2, 1, height_ratios=[1, 1.15])
        left, right = curve.get_subplotspec().subgridspec(1, 2).subplots()
        curve.remove()
        _draw_curve(left, results["stepping"]["extra"]["curve"])
        _draw_speeds(right, results)
        rows = [row for result in results.values() for row in result["rows"]]
        _draw_targets(bars, [row for row in rows if row["target"] is not None])
        figure.suptitle(
            _where(results["stepping"]), x=0.01, ha="left", fontsize=9, color="#555555"
        )
        path = folder / "speed.png"
        figure.savefig(path, metadata={"Software": None})
    return path


def write_race(folder: Path) -> Path:
    """Write `race.md`: the time to a policy that solves the task, per stack."""
    race = json.loads((folder / "race.json").read_text())
    runs, settings = race["runs"], race["settings"]
    wanted = f"{settings['wanted']:.0%}"
    lines = [
        "<!-- written by benchmarks/race.py; do not edit -->",
        "",
        f"| task | stack | {wanted} held out reached | wall clock [s] | env steps "
        "| held-out success at the end |",
        "|---|---|---|---|---|---|",
    ]
    kinds = {(run["env"], run["stack"]) for run in runs}
    for env, stack in sorted(kinds, key=lambda kind: (kind[0], kind[1] != "ours")):
        mine = [r for r in runs if (r["env"], r["stack"]) == (env, stack)]
        lines.append(_race_line(env, stack, mine, settings["cap_s"][env]))
    commits = sorted({run["commit"][:8] for run in runs})
    lines += [
        "",
        "Median over the seeds, in brackets the range of the successful ones; a seed",
        "without success counts as slower. Held-out success: of the policy with the",
        "best score when the run stopped; mean, lowest to highest seed.",
        f"{race['machine']['usable_cpus']} cores ({race['machine']['cpu']}), commit "
        f"{', '.join(commits)}.",
    ]
    path = folder / "race.md"
    path.write_text("\n".join(lines) + "\n")
    return path


def _race_line(env: str, stack: str, runs: list[dict[str, Any]], cap: float) -> str:
    there = [run for run in runs if run["reached_s"] is not None]
    seconds = _median_of([run["reached_s"] for run in there], len(runs))
    steps = _median_of([run["curve"][-1][1] / 1e3 for run in there], len(runs))
    ends = [run["held_out"] for run in runs]
    mean = statistics.mean(ends)
    held_out = f"{mean:.1%} ({min(ends):.0%} to {max(ends):.0%})"
    cells = [
        env,
        {"ours": "this package", "classic": "classic"}[stack],
        f"{len(there)} of {len(runs)} seeds",
        seconds or f"more than {cap:.0f}",
        f"{steps} thousand" if steps else "",
        held_out,
    ]
    return f"| {' | '.join(cells)} |"


def _median_of(values: list[float], n: int) -> str:
    """Median of `n` runs of which only `values` succeeded; empty if most failed."""
    middle = statistics.median([*values, *[float("inf")] * (n - len(values))])
    if middle == float("inf"):
        return ""
    return f"{middle:,.0f} ({min(values):,.0f} to {max(values):,.0f})"


def draw_race(folder: Path) -> Path:
    """Write `race.png`: success of every run over its wall clock."""
    race = json.loads((folder / "race.json").read_text())
    runs, wanted = race["runs"], race["settings"]["wanted"]
    envs = sorted({run["env"] for run in runs})
    with rc_context(STYLE):
        figure = Figure(figsize=(10, 3.4), layout="constrained")
        panels = figure.subplots(1, len(envs), squeeze=False)[0]
        for axes, env in zip(panels, envs, strict=True):
            labels = {"ours": "this package", "classic": "classic stack"}
            for run in (run for run in runs if run["env"] == env):
                colour = GROUP_COLOURS[run["stack"] != "ours"]
                seconds, _, success = zip(*run["curve"], strict=True)
                label = labels.pop(run["stack"], None)
                axes.plot(seconds, success, color=colour, lw=1.3, label=label)
                if run["reached_s"] is not None:
                    axes.plot(seconds[-1], success[-1], "o", color=colour, ms=5)
            axes.axhline(wanted, color="#777777", lw=1, ls=":")
            axes.set_ylim(0, 1.03)
            axes.set_xlim(left=0)
            axes.set_xlabel("seconds since the program was started")
            axes.set_ylabel("success, select episodes")
            axes.set_title(env)
            axes.legend(loc="lower right")
        path = folder / "race.png"
        figure.savefig(path, metadata={"Software": None})
    return path


def _draw_curve(axes: Axes, curve: dict[str, dict[str, list[float]]]) -> None:
    labels = {"bare": "bare physics, same states", "env": "whole environment"}
    for colour, kind in zip(
        ("#777777", GROUP_COLOURS[0]), ("bare", "env"), strict=True
    ):
        widths = [int(n) for n in curve[kind]]
        speeds = curve[kind].values()
        middle = [statistics.median(values) / 1e3 for values in speeds]
        low, high = [min(v) / 1e3 for v in speeds], [max(v) / 1e3 for v in speeds]
        axes.plot(widths, middle, "o-", color=colour, ms=4, label=labels[kind])
        axes.fill_between(widths, low, high, color=colour, alpha=0.2, lw=0)
    axes.set_xscale("log", base=4)
    axes.set_xticks(widths, [str(n) for n in widths])
    axes.set_ylim(bottom=0)
    axes.set_xlabel("environments in the batch")
    axes.set_ylabel("1000 env steps/s")
    axes.set_title("Speed over batch width")
    axes.legend()


def _draw_speeds(axes: Axes, results: dict[str, Any]) -> None:
    rows = [
        *results["rival"]["rows"],
        *(row for row in results["ppo"]["rows"] if row["label"].startswith("PPO, ")),
    ]
    rows = [row for row in rows if row["unit"] == "env steps/s"]
    middle = [row["median"] / 1e3 for row in rows]
    low = [(row["median"] - row["min"]) / 1e3 for row in rows]
    high = [(row["max"] - row["median"]) / 1e3 for row in rows]
    ours = [row["label"].startswith(("ours", "PPO, ours")) for row in rows]
    colours = [GROUP_COLOURS[0] if mine else GROUP_COLOURS[1] for mine in ours]
    places = range(len(rows))
    axes.barh(places, middle, 0.62, color=colours)
    axes.errorbar(middle, places, xerr=[low, high], fmt="none", color="black", lw=1.3)
    for place, row in zip(places, rows, strict=True):
        text = f"{row['median'] / 1e3:.1f}"
        end = (row["max"] / 1e3, place)
        axes.annotate(text, end, (5, 0), textcoords="offset points", va="center")
    axes.set_yticks(places, [row["label"] for row in rows])
    axes.invert_yaxis()
    axes.margins(x=0.12)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("1000 env steps/s")
    axes.set_title("Against the classic stack")


def _draw_targets(axes: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """How far each number is from its target: right of 1 is met."""

    def share(row: dict[str, Any], key: str) -> float:
        value = row[key] / row["target"]
        return min(float(value if row["sense"] == ">=" else 1 / value), FAR)

    places = range(len(rows))
    middle = [share(row, "median") for row in rows]
    ends = [sorted((share(row, "min"), share(row, "max"))) for row in rows]
    spread = [
        [m - low for m, (low, _) in zip(middle, ends, strict=True)],
        [high - m for m, (_, high) in zip(middle, ends, strict=True)],
    ]
    colours = [MET if is_met(row) else MISSED for row in rows]
    axes.barh(places, middle, 0.62, color=colours)
    axes.errorbar(middle, places, xerr=spread, fmt="none", color="black", lw=1.3)
    axes.axvline(1, color="black", lw=1)
    for place, row, (_, high) in zip(places, rows, ends, strict=True):
        unit = "" if row["unit"] == "x" else f" {row['unit']}"
        text = (
            f"{_number(row['median'])}{unit} (target {row['sense']} {row['target']:g})"
        )
        axes.annotate(
            text, (max(high, 1), place), (5, 0), textcoords="offset points", va="center"
        )
    axes.set_yticks(places, [row["label"] for row in rows])
    axes.invert_yaxis()
    axes.set_xlim(0, 1.35 * max(1.0, *(high for _, high in ends)))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel(
        f"share of the target reached (1 = met, {FAR} and more end at {FAR})"
    )
    axes.set_title("Targets")

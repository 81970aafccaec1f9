"""Tables and figures of a study, made from finished run directories.

`python -m so101rl.report RUN_DIR... --out experiments/NAME`
"""

import argparse
import csv
import io
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from so101rl.errors import So101Error
from so101rl.figures import curve, figure_study, figure_summary
from so101rl.files import write_atomic
from so101rl.rundir import RunDir, find_runs
from so101rl.statistics import MIN_SEEDS, Interval, oddity, t_interval, wilson

__all__ = ["figure_summary", "main", "study_table"]

KEYS = ("env", "base_policy", "algo", "alpha")
POLICIES = ("base", "residual")


class ReportError(So101Error):
    """Runs that cannot make one honest table."""


@dataclass(frozen=True)
class Row:
    """One run as a row of `results.csv`; None stands for what it does not have."""

    run: str
    uid: str
    status: str
    commit: str | None
    dirty: bool | None
    env: str
    base_policy: str
    algo: str
    alpha: str
    seed: int
    base_success: float | None
    residual_success: float | None
    n_episodes: int | None
    env_steps: int
    wall_clock_s: float
    folder: str
    reason: str

    @property
    def group(self) -> tuple[str, ...]:
        """What runs have in common that differ in the seed only."""
        return tuple(getattr(self, key) for key in KEYS)

    @property
    def counts(self) -> bool:
        """Whether the run ended well and has both results."""
        results = (self.base_success, self.residual_success)
        return self.status == "finished" and None not in results

    def success(self, policy: str) -> float:
        """Success rate of `base` or `residual`."""
        rate: float = getattr(self, f"{policy}_success")
        return rate


def study_table(runs: Sequence[RunDir], out_dir: str | Path) -> Path:
    """Write `results.csv`, `table.md` and `figure.png` of a study.

    Runs with the same env, base policy, algorithm and alpha are seeds of one arm.

    Args:
        runs: all runs of the study, those that failed too.
        out_dir: folder of the study.

    Returns:
        Path of `table.md`.
    """
    if not runs:
        raise ReportError("no runs; right are folders that hold a run.json below")
    out = Path(out_dir)
    pairs = sorted(((_row(run), run) for run in runs), key=_order)
    rows = [row for row, _ in pairs]
    _refuse_duplicates(rows)
    groups = {
        group: [row for row in rows if row.group == group]
        for group in dict.fromkeys(row.group for row in rows)
    }
    write_atomic(out / "results.csv", _csv(rows))
    write_atomic(out / "table.md", _markdown(groups))
    if any(row.counts for row in rows):
        _figure(out / "figure.png", groups, {row.uid: run for row, run in pairs})
    return out / "table.md"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m so101rl.report", description=__doc__
    )
    parser.add_argument(
        "runs", nargs="+", help="run directories, or folders above them"
    )
    parser.add_argument("--out", required=True, help="folder of the study")
    options = parser.parse_args(arguments)
    try:
        for folder in options.runs:
            if not Path(folder).is_dir():
                raise ReportError(f"{folder} is no folder")
        print(study_table(find_runs(options.runs), options.out))
    except So101Error as error:
        print(error, file=sys.stderr)
        return 2
    return 0


def _row(run: RunDir) -> Row:
    info, evaluation = run.info, run.evaluation() or {"policies": {}}
    scores = evaluation["policies"]
    groups, git = info["groups"], info["git"] or {}
    missing = [key for key in KEYS[:3] if key not in groups]
    if missing:
        raise ReportError(f"{run.path}: run.json names no {', '.join(missing)}")
    lines = run.metrics()
    return Row(
        run=info["name"],
        uid=info["uid"],
        status=info["status"],
        commit=git.get("commit"),
        dirty=git.get("dirty"),
        env=groups["env"],
        base_policy=groups["base_policy"],
        algo=groups["algo"],
        alpha=str(run.config().residual.alpha),
        seed=info["seed"],
        base_success=scores.get("base", {}).get("success_rate"),
        residual_success=scores.get("residual", {}).get("success_rate"),
        n_episodes=scores.get("residual", {}).get("n_episodes"),
        env_steps=lines[-1]["step"] if lines else 0,
        wall_clock_s=info["wall_clock_s"],
        folder=run.path.name,
        reason=_reason(info, evaluation["policies"]),
    )


def _reason(info: Mapping[str, Any], policies: Mapping[str, Any]) -> str:
    """Why a run gives no result, in one line; empty if it does."""
    if info["error"]:
        error = info["error"]
        return " ".join(f"{error['class']}: {error['message']}".split())[:200]
    missing = [policy for policy in POLICIES if policy not in policies]
    return f"no evaluation of {' and '.join(missing)}" if missing else ""


def _order(pair: tuple[Row, RunDir]) -> tuple[Any, ...]:
    row, run = pair
    return (*row.group, row.seed, run.info["started"], row.uid)


def _refuse_duplicates(rows: Sequence[Row]) -> None:
    seen: dict[tuple[Any, ...], Row] = {}
    for row in rows:
        twin = seen.setdefault((*row.group, row.seed), row) if row.counts else row
        if twin is not row:
            raise ReportError(
                f"{twin.run} and {row.run} are the same arm with the same seed "
                f"{row.seed}; leave one of them out"
            )


def _csv(rows: Sequence[Row]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, Row.__annotations__, lineterminator="\n")
    writer.writeheader()
    writer.writerows(vars(row) for row in rows)
    return text.getvalue()


def _markdown(groups: dict[tuple[str, ...], list[Row]]) -> str:
    lines = [
        "<!-- generated by so101rl.report from results.csv; do not edit -->",
        "",
        "| env | base policy | algo | alpha | seeds | episodes | base success [%] "
        "| residual success [%] | |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    notes: list[str] = []
    for group, rows in groups.items():
        good = [row for row in rows if row.counts]
        lost = len(rows) - len(good)
        seeds = f"{len(good)} of {len(rows)}" if lost else str(len(good))
        episodes = "/".join(sorted({str(row.n_episodes) for row in good})) or "-"
        cells = [_percent(good, policy) for policy in POLICIES]
        marks = ["PRELIMINARY"] if len(good) < MIN_SEEDS else []
        marks += ["INCOMPLETE"] if lost else []
        lines.append(
            "| "
            + " | ".join([*group, seeds, episodes, *cells, ", ".join(marks)])
            + " |"
        )
        notes += _notes(group, good)
    lines += ["", "Mean over seeds [95 % t interval over seed means, not clipped]."]
    lines.append("W: the seed means are equal or one; Wilson interval of one seed.")
    lines.append(f"PRELIMINARY: fewer than {MIN_SEEDS} seeds.")
    rows = [row for members in groups.values() for row in members]
    lines += notes + _failed(rows) + _provenance(rows)
    return "\n".join(lines) + "\n"


def _notes(group: tuple[str, ...], good: Sequence[Row]) -> list[str]:
    said = []
    for policy in POLICIES:
        look = None
        if good and _varies(good, policy):
            look = oddity([row.success(policy) for row in good])
        if look:
            said.append(
                f"- {' / '.join(group)}: the {policy} seed means look {look}; "
                "the interval may cover too little."
            )
    return said


def _failed(rows: Sequence[Row]) -> list[str]:
    lost = [row for row in rows if not row.counts]
    if not lost:
        return []
    listed = [
        f"- {row.run} ({' / '.join(row.group)}, seed {row.seed}): "
        f"{row.status}, {row.reason}"
        for row in lost
    ]
    return ["", f"**{len(lost)} of {len(rows)} runs gave no result:**", "", *listed]


def _provenance(rows: Sequence[Row]) -> list[str]:
    commits = sorted({str(row.commit)[:10] for row in rows})
    lines = ["", f"Commit: {', '.join(commits)}."]
    if len(commits) > 1:
        lines.append("**The runs come from different commits.**")
    if any(row.dirty for row in rows):
        lines.append("**Some runs come from code that was not committed.**")
    return lines


def _percent(rows: Sequence[Row], policy: str) -> str:
    if not rows:
        return "-"
    found = _interval(rows, policy)
    mark = "" if _varies(rows, policy) else " W"
    ends = f"[{100 * found.low:.1f}, {100 * found.high:.1f}]"
    return f"{100 * found.mean:.1f} {ends}{mark}"


def _interval(rows: Sequence[Row], policy: str) -> Interval:
    """T over seed means; Wilson within one seed where the seeds do not differ.

    Equal seed means give t no width, though their episodes are as few as ever. This
    is the rule for one seed, and for a base without chance on the same episodes.
    """
    if _varies(rows, policy):
        return t_interval([row.success(policy) for row in rows])
    rate, n = rows[0].success(policy), min(row.n_episodes or 0 for row in rows)
    return Interval(rate, *wilson(round(rate * n), n))


def _varies(rows: Sequence[Row], policy: str) -> bool:
    return len({row.success(policy) for row in rows}) > 1


def _figure(
    path: Path, groups: dict[tuple[str, ...], list[Row]], runs: dict[str, RunDir]
) -> None:
    differ = [i for i in range(len(KEYS)) if len({group[i] for group in groups}) > 1]
    common = [i for i in range(len(KEYS)) if i not in differ]
    one = next(iter(groups))
    curves, finals, intervals = {}, {}, {}
    for group, rows in groups.items():
        good = [row for row in rows if row.counts]
        if not good:
            continue
        label = " / ".join(_short(KEYS[i], group[i]) for i in differ)
        label = f"{label}\n{len(good)} of {len(rows)} seeds".strip()
        curves[label] = [
            curve(runs[row.uid].metrics(), "eval/success_rate") for row in good
        ]
        finals[label] = {p: [row.success(p) for row in good] for p in POLICIES}
        intervals[label] = {p: _interval(good, p) for p in POLICIES}
    title = " / ".join(_short(KEYS[i], one[i]) for i in common)
    if min(len(rates["base"]) for rates in finals.values()) < MIN_SEEDS:
        title += f"   PRELIMINARY: fewer than {MIN_SEEDS} seeds"
    figure_study(path, curves, finals, intervals, title)


def _short(key: str, value: str) -> str:
    return f"alpha {value}" if key == "alpha" else value


if __name__ == "__main__":
    sys.exit(main())
